"""Reads features of entities from Redis: one pipelined round trip for all views and entities.

Belongs here: values, statuses, event times, TTL. Does not: names to versions (served.py), HTTP (serving/), Feast (store.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import psycopg
import redis
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.online import codec
from millwright.online.served import Served, ServedView, Wanted
from millwright.online.stores import from_micros, micros

Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]


class BadEntity(ValueError):
    """An entity row that lacks a join key or has one of a wrong type."""


class FeatureValue(BaseModel):
    """One feature of one entity. `value` is None unless the status is PRESENT; `event_timestamp` is UTC."""

    model_config = ConfigDict(frozen=True)

    value: Any = None
    status: Status
    event_timestamp: datetime | None = None


class OnlineRow(BaseModel):
    """One entity, its features in the order asked for: `<view id>:<feature>` → value."""

    model_config = ConfigDict(frozen=True)

    entity: dict[str, Any]
    features: dict[str, FeatureValue]


class OnlineAnswer(BaseModel):
    """What was asked for: `features` are `<view id>:<feature>`, `rows` in the order of the entity rows."""

    model_config = ConfigDict(frozen=True)

    features: list[str]
    rows: list[OnlineRow]


def read_online(
    conn: psycopg.Connection[Any] | None,
    client: redis.Redis,
    definitions: Definitions,
    features: Sequence[str] | FeatureView,
    entity_rows: Sequence[Mapping[str, Any]],
    *,
    project: str,
    now: datetime | None = None,
) -> OnlineAnswer:
    """Features of entities with statuses and event times; values older than the view's TTL are OUTSIDE_MAX_AGE.

    `features`: a view, or references `machine_vitals:temperature_last` (the active version) and `machine_vitals_v1:…`.
    `conn`: where the catalog says which version is active; without it the definitions must have only one.
    Raises UnknownFeature, BadEntity, redis.RedisError, Undecodable.
    """
    served = Served.from_definitions(definitions) if conn is None else Served.from_catalog(conn)
    references = [features.id] if isinstance(features, FeatureView) else features
    return answer(client, served.wanted(references), entity_rows, project=project, now=now)


def answer(
    client: redis.Redis,
    wanted: Sequence[Wanted],
    entity_rows: Sequence[Mapping[str, Any]],
    *,
    project: str,
    now: datetime | None = None,
) -> OnlineAnswer:
    """As `read_online`, for features that are resolved already."""
    columns = read(client, wanted, entity_rows, project=project, now=now)
    names = [f"{want.view.view_id}:{want.feature}" for want in wanted]
    rows = [
        OnlineRow(entity=dict(row), features={name: column[index] for name, column in zip(names, columns, strict=True)})
        for index, row in enumerate(entity_rows)
    ]
    return OnlineAnswer(features=names, rows=rows)


def read(
    client: redis.Redis,
    wanted: Sequence[Wanted],
    entity_rows: Sequence[Mapping[str, Any]],
    *,
    project: str,
    now: datetime | None = None,
) -> list[list[FeatureValue]]:
    """Values by wanted feature, then by entity row. Entities that occur twice are read once."""
    instant = micros(now or datetime.now(UTC))
    views = {want.view.view_id: want.view for want in wanted}
    names = {view_id: list(dict.fromkeys(w.feature for w in wanted if w.view.view_id == view_id)) for view_id in views}
    asked: dict[tuple[str, bytes], int] = {}
    places: dict[str, list[int]] = {}
    for view_id, view in views.items():
        keys = [entity_key(project, view, row) for row in entity_rows]
        places[view_id] = [asked.setdefault((view_id, key), len(asked)) for key in keys]
    fields = {
        view_id: [codec.timestamp_field(view_id), *(codec.field(view_id, name) for name in names[view_id])] for view_id in views
    }
    pipeline = client.pipeline(transaction=False)
    for view_id, key in asked:
        pipeline.hmget(cast(str, key), cast(list[str], fields[view_id]))
    replies = cast(list[list[bytes | None]], pipeline.execute() if asked else [])
    decoded = [
        dict(zip(names[view_id], decode_row(reply, views[view_id].ttl, instant), strict=True))
        for (view_id, _), reply in zip(asked, replies, strict=True)
    ]
    return [[decoded[place][want.feature] for place in places[want.view.view_id]] for want in wanted]


def entity_key(project: str, view: ServedView, row: Mapping[str, Any]) -> bytes:
    """Redis key of the entity that `row` names. Raises BadEntity."""
    if missing := sorted(set(view.join_keys) - set(row)):
        raise BadEntity(f"{view.view_id} needs the join key {', '.join(missing)}; given: {', '.join(map(str, row)) or 'none'}")
    try:
        return codec.encode_key(project, view.join_keys, row)
    except ValueError as error:
        raise BadEntity(str(error)) from None


def decode_row(reply: Sequence[bytes | None], ttl: timedelta | None, now: int) -> list[FeatureValue]:
    """Values of one HMGET of the _ts field and then features; `now` in microseconds, `ttl` None or zero: any age.

    Raises Undecodable.
    """
    stamp = reply[0]
    if stamp is None:
        return [FeatureValue(status="NOT_FOUND")] * (len(reply) - 1)
    event = codec.decode_timestamp(stamp)
    instant = from_micros(event)
    if ttl and now - event > ttl / timedelta(microseconds=1):
        return [FeatureValue(status="OUTSIDE_MAX_AGE", event_timestamp=instant)] * (len(reply) - 1)
    return [_value(data, instant) for data in reply[1:]]


def _value(data: bytes | None, instant: datetime) -> FeatureValue:
    if data is None:
        return FeatureValue(status="NOT_FOUND", event_timestamp=instant)
    value = codec.decode_value(data)
    return FeatureValue(value=value, status="NULL_VALUE" if value is None else "PRESENT", event_timestamp=instant)
