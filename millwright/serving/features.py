"""Features over HTTP: as Feast's feature server answers them, and by rows.

Belongs here: routes, the shape of answers. Does not: reading (online/), names to versions (online/served.py), keys (access.py).
Feast is not imported: its feature server's contract (contract.py) is spoken without it, but for what only Feast can compute.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from millwright.online.read import Column, OnlineAnswer, Plan, plan_of
from millwright.online.served import Served, Wanted
from millwright.online.stores import from_micros
from millwright.registry.on_demand import OnDemand
from millwright.serving.access import problems, scope
from millwright.serving.catalog import Known
from millwright.serving.contract import OnlineFeaturesAnswer, OnlineFeaturesRequest, RowsRequest, entity_rows
from millwright.serving.direct import Direct
from millwright.serving.problems import Refused
from millwright.serving.state import State

MAX_VALUES = 100_000

_EPOCH = "1970-01-01T00:00:00Z"
_PROBLEMS = problems(401, 403, 404, 413, 415, 422, 503)
router = APIRouter(route_class=Direct, tags=["features"])


@router.post("/get-online-features", response_model=OnlineFeaturesAnswer, responses=_PROBLEMS, dependencies=[scope("read")])
async def get_online_features(body: OnlineFeaturesRequest, request: Request) -> Response:
    """Features of entities, as Feast's feature server answers them, with honest statuses and the views' TTL."""
    state: State = request.scope["app"].state.platform
    if bool(body.features) == (body.feature_service is not None):
        raise Refused(422, "no_features", "give either features or feature_service")
    known = await state.catalog.known()
    references, theirs = _split(body, known)
    found = await _vectors(state, known.views, references, body) if references else Vectors({}, [])
    if theirs:
        found = found.beside(await _of_feast(state, known.on_demand, theirs, body))
    results = [_keys_vector(values) for values in body.entities.values()] + list(found.vectors.values())
    metadata: dict[str, Any] = {"feature_names": [*body.entities, *found.vectors]}
    if body.include_feature_view_version_metadata:
        metadata["feature_view_metadata"] = found.versions
    return _json({"metadata": metadata, "results": results, "status": True})


class Vectors(NamedTuple):
    """Results by name, and the versions that were read."""

    vectors: dict[str, dict[str, Any]]
    versions: list[dict[str, Any]]

    def beside(self, others: dict[str, dict[str, Any]]) -> Vectors:
        """With more of them. Raises Refused for a name that both have."""
        _check_names([*self.vectors, *others])
        return Vectors(self.vectors | others, self.versions)


def _split(body: OnlineFeaturesRequest, known: Known) -> tuple[tuple[str, ...], list[str] | str]:
    """What our catalog answers, and what Feast itself has to: its on-demand views, or a service that is no view of ours."""
    service, there = body.feature_service, known.on_demand
    if service is not None:
        model = known.models.models.get(service)
        if model is not None and model.status != "retired":
            return tuple(model.definition.features), []
        ours = service in known.views.views or service in known.views.active or service not in there.services
        return ((service,), []) if ours else ((), service)
    if not there.views:
        return tuple(body.features), []
    theirs = [reference for reference in body.features if reference.partition(":")[0] in there.views]
    return tuple(reference for reference in body.features if reference not in theirs), theirs


async def _vectors(state: State, served: Served, references: tuple[str, ...], body: OnlineFeaturesRequest) -> Vectors:
    """Raises UnknownFeature, Refused, and as `_read`."""
    shape = _shape_of(served, references, state.project)
    names = shape.full_names if body.full_feature_names else shape.names
    _check_names(names)
    columns = await _read(state, shape, entity_rows(body.entities))
    times: dict[int, list[str]] = {}  # columns of one view share them
    vectors: dict[str, dict[str, Any]] = {}
    for name, column in zip(names, columns, strict=True):
        stamps = times.get(id(column.events))
        if stamps is None:
            stamps = times[id(column.events)] = [_EPOCH if event is None else rfc3339(event) for event in column.events]
        vectors[name] = {"values": _plain_column(column.values), "statuses": column.statuses, "event_timestamps": stamps}
    return Vectors(vectors, _versions(shape.wanted) if body.include_feature_view_version_metadata else [])


async def _of_feast(
    state: State, there: OnDemand, asked: list[str] | str, body: OnlineFeaturesRequest
) -> dict[str, dict[str, Any]]:
    """Raises Refused, NotComputed, redis.RedisError, psycopg.Error."""
    rows = entity_rows(body.entities)
    if len(rows) * (len(asked) if isinstance(asked, list) else 1) > MAX_VALUES:
        raise Refused(422, "too_many", f"{len(rows)} entities are too many for one request: ask in parts")
    answer = await asyncio.to_thread(state.feast.answer, there, asked, body.entities, full=body.full_feature_names)
    named = zip(answer["metadata"]["feature_names"], answer["results"], strict=True)
    none = [_EPOCH] * len(rows)
    return {name: {"event_timestamps": none, **vector} for name, vector in named if name not in body.entities}


def _check_names(names: list[str]) -> None:
    if len(set(names)) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise Refused(422, "ambiguous", f"{', '.join(doubled)} would occur twice: ask once, or set full_feature_names")


@router.post("/v1/features/online", response_model=OnlineAnswer, responses=_PROBLEMS, dependencies=[scope("read")])
async def features_online(body: RowsRequest, request: Request) -> Response:
    """Features of entities by rows: each with its value, status and event time, under the name of the version that was read."""
    state: State = request.scope["app"].state.platform
    shape = await _shape(state, tuple(body.features))
    names = [f"{want.view.view_id}:{want.feature}" for want in shape.wanted]
    told = dict(zip(names, map(_told_column, await _read(state, shape, body.entities)), strict=True))
    rows = [
        {"entity": entity, "features": {name: column[place] for name, column in told.items()}}
        for place, entity in enumerate(body.entities)
    ]
    return _json({"features": list(told), "rows": rows})


class _Shape:
    """What was asked for, whatever the entities; kept, since a client asks the same again and again."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.wanted = plan, plan.wanted
        self.names = [want.feature for want in plan.wanted]
        self.full_names = [f"{want.view_name}__{want.feature}" for want in plan.wanted]


@lru_cache(maxsize=256)
def _shape_of(served: Served, references: tuple[str, ...], project: str) -> _Shape:
    return _Shape(plan_of(served, references, project))


async def _shape(state: State, references: tuple[str, ...]) -> _Shape:
    """Raises UnknownFeature, psycopg.Error."""
    return _shape_of(await state.catalog.served(), references, state.project)


async def _read(state: State, shape: _Shape, rows: Sequence[dict[str, Any]]) -> list[Column]:
    """Raises Refused for too many values, BadEntity, redis.RedisError, Undecodable."""
    if len(rows) * len(shape.wanted) > MAX_VALUES:
        what = f"{len(rows)} entities × {len(shape.wanted)} features are more than {MAX_VALUES} values: ask in parts"
        raise Refused(422, "too_many", what)
    return await state.read(shape.plan, rows)


def rfc3339(event: int) -> str:
    """Microseconds since 1970 as text, UTC."""
    return from_micros(event).isoformat().replace("+00:00", "Z")


def _versions(wanted: Sequence[Wanted]) -> list[dict[str, Any]]:
    views = dict.fromkeys(want.view.view_id for want in wanted)
    return [{"name": view_id, "version": int(view_id.rpartition("_v")[2])} for view_id in views]


def _keys_vector(values: list[Any]) -> dict[str, Any]:
    return {"values": values, "statuses": ["PRESENT"] * len(values), "event_timestamps": [_EPOCH] * len(values)}


def _told_column(column: Column) -> list[dict[str, Any]]:
    times = [None if event is None else rfc3339(event) for event in column.events]
    values = _plain_column(column.values)
    return [
        {"value": value, "status": status, "event_timestamp": time}
        for value, status, time in zip(values, column.statuses, times, strict=True)
    ]


def _plain_column(values: Sequence[Any]) -> Sequence[Any]:
    """Numbers that JSON does not have as protobuf writes them."""
    if all(type(value) is not float or isfinite(value) for value in values):
        return values
    return [_PLAIN[str(value)] if type(value) is float and not isfinite(value) else value for value in values]


_PLAIN = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _json(answer: dict[str, Any]) -> Response:
    return Response(orjson.dumps(answer, default=_base64), media_type="application/json")


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(type(value).__name__)
