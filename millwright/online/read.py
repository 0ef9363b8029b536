"""Reads features of entities from Redis: one round trip for all views and entities, decoded whole columns at a time.

Belongs here: values, statuses, event times, TTL. Does not: names to versions (served.py), the round trip (lookup.py), bytes
(codec.py), HTTP (serving/), Feast (store.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import psycopg
import redis
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.durations import MICROSECOND
from millwright.online import codec
from millwright.online.lookup import Fields, Reply, lookup
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
    columns = [column.told() for column in read(client, wanted, entity_rows, project=project, now=now)]
    names = [f"{want.view.view_id}:{want.feature}" for want in wanted]
    rows = [
        OnlineRow(entity=dict(row), features={name: column[index] for name, column in zip(names, columns, strict=True)})
        for index, row in enumerate(entity_rows)
    ]
    return OnlineAnswer(features=names, rows=rows)


class Column(NamedTuple):
    """A feature of each entity: its value (None unless the status is PRESENT), status, and event time in µs (None: no row)."""

    values: Sequence[Any]
    statuses: Sequence[Status]
    events: Sequence[int | None]

    def told(self) -> list[FeatureValue]:
        """As a list of values with their status and time."""
        return [
            FeatureValue(value=value, status=status, event_timestamp=None if event is None else from_micros(event))
            for value, status, event in zip(self.values, self.statuses, self.events, strict=True)
        ]


def read(
    client: redis.Redis,
    wanted: Sequence[Wanted],
    entity_rows: Sequence[Mapping[str, Any]],
    *,
    project: str,
    now: datetime | None = None,
    keep_old: bool = False,
) -> list[Column]:
    """The wanted features of each entity row. Entities that occur twice are read once.

    Columns of one view have the same `events`. `keep_old`: values that are OUTSIDE_MAX_AGE are told too.
    Raises BadEntity, redis.RedisError, Undecodable.
    """
    question = Question(Plan(wanted, project=project), entity_rows)
    return question.columns(lookup(client, question.asked), now, keep_old=keep_old)


class Plan:
    """How some features are read, whatever the entities: made once, asked often."""

    def __init__(self, wanted: Sequence[Wanted], *, project: str) -> None:
        views = {want.view.view_id: want.view for want in wanted}
        names = {view: list(dict.fromkeys(w.feature for w in wanted if w.view.view_id == view)) for view in views}
        self.wanted = wanted
        self.views = [
            (
                view,
                _fields(view_id, tuple(names[view_id])),
                _key_encoder(project, tuple(view.join_keys.items())),
                len(names[view_id]),
            )
            for view_id, view in views.items()
        ]
        starts = dict(zip(views, itertools.accumulate(map(len, names.values()), initial=0), strict=False))
        self.places = [starts[w.view.view_id] + names[w.view.view_id].index(w.feature) for w in wanted]


@lru_cache(maxsize=256)
def plan_of(served: Served, references: tuple[str, ...], project: str) -> Plan:
    """The plan of `served.wanted(references)`, kept: clients ask the same again and again. Raises UnknownFeature."""
    return Plan(served.wanted(references), project=project)


class Question:
    """What has to be asked of Redis for features of entities, and what its replies mean; however they travel.

    `asked`: fields and keys, as `lookup` takes them. Raises BadEntity.
    """

    def __init__(self, plan: Plan, entity_rows: Sequence[Mapping[str, Any]]) -> None:
        self._plan = plan
        self._places = [_places(view, encode, entity_rows) for view, _, encode, _ in plan.views]
        self.asked = [(fields, list(keys)) for (_, fields, _, _), (keys, _) in zip(plan.views, self._places, strict=True)]

    def columns(self, replies: Sequence[Reply], now: datetime | None = None, *, keep_old: bool = False) -> list[Column]:
        """A column for each wanted feature; columns of one view have the same `events`. Raises Undecodable."""
        instant = micros(now or datetime.now(UTC))
        found: list[Column] = []
        start = 0
        for (view, _, _, count), (keys, rows) in zip(self._plan.views, self._places, strict=True):
            found += _columns(replies[start : start + len(keys)], count, rows, view.ttl, instant, keep_old)
            start += len(keys)
        return [found[place] for place in self._plan.places]


@lru_cache(maxsize=1024)
def _fields(view_id: str, names: tuple[str, ...]) -> Fields:
    return Fields([codec.timestamp_field(view_id), *(codec.field(view_id, name) for name in names)])


@lru_cache(maxsize=1024)
def _key_encoder(project: str, join_keys: tuple[tuple[str, str], ...]) -> Callable[[Mapping[str, Any]], bytes]:
    return codec.key_encoder(project, dict(join_keys))


def _places(
    view: ServedView, encode: Callable[[Mapping[str, Any]], bytes], entity_rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[bytes, int], list[int] | None]:
    """The keys that are asked for with their places, and the place of each row's key; None where they are the rows' own."""
    try:
        keys = [encode(row) for row in entity_rows]
    except KeyError as error:
        missing = sorted(next(set(view.join_keys) - set(row) for row in entity_rows if error.args[0] not in row))
        given = next(", ".join(map(str, row)) for row in entity_rows if error.args[0] not in row)
        raise BadEntity(f"{view.view_id} needs the join key {', '.join(missing)}; given: {given or 'none'}") from None
    except ValueError as error:
        raise BadEntity(str(error)) from None
    asked: dict[bytes, int] = {}
    rows = [asked.setdefault(key, len(asked)) for key in keys]
    return asked, rows if len(asked) < len(keys) else None


def _row(reply: Reply, ttl: timedelta | None, now: int, keep_old: bool) -> list[Column]:
    """As `_columns`, for one entity: what columns make faster for many costs twice as much for one."""
    stamp, *fields = reply
    (event,) = codec.decode_timestamps([stamp])
    oldest = now - ttl // MICROSECOND if ttl else None
    late = oldest is not None and event is not None and event < oldest
    events, columns = [event], []
    for data in fields:
        value = None if data is None else codec.decode_value(data)
        status: Status = "PRESENT" if value is not None else "NOT_FOUND" if data is None else "NULL_VALUE"
        if event is None or late:
            status, value = ("OUTSIDE_MAX_AGE", value if keep_old else None) if late else ("NOT_FOUND", None)
        columns.append(Column([value], [status], events))
    return columns


def _columns(
    replies: Sequence[Reply], count: int, rows: list[int] | None, ttl: timedelta | None, now: int, keep_old: bool
) -> list[Column]:
    """Columns of the replies of one view, whose first field is the event timestamp."""
    if not replies:
        return [Column([], [], [])] * count
    if len(replies) == 1 and rows is None:
        return _row(replies[0], ttl, now, keep_old)
    stamps, *fields = zip(*replies, strict=True)
    events = codec.decode_timestamps(stamps)
    oldest = now - ttl // MICROSECOND if ttl else None
    old = [oldest is not None and event is not None and event < oldest for event in events]
    hidden = any(old) or None in events
    columns = []
    for field in fields:
        values = codec.decode_values(field)
        statuses: list[Status] = [
            "PRESENT" if value is not None else "NOT_FOUND" if data is None else "NULL_VALUE"
            for value, data in zip(values, field, strict=True)
        ]
        if hidden:
            for place, (event, late) in enumerate(zip(events, old, strict=True)):
                if event is None or late:
                    statuses[place] = "OUTSIDE_MAX_AGE" if late else "NOT_FOUND"
                    values[place] = values[place] if late and keep_old else None
        columns.append(Column(values, statuses, events))
    if rows is None:
        return columns
    spread = [events[row] for row in rows]
    return [Column([one.values[row] for row in rows], [one.statuses[row] for row in rows], spread) for one in columns]
