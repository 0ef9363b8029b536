"""Reads of a view's history for the online store: the latest current row of each entity, as of one snapshot.

Belongs here: which entities changed, their latest rows. Does not: Redis, watermarks (online/), writing history (history.py).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from millwright.definitions import Entity, FeatureView

Days = tuple[date, date]
_SAMPLED_BYTES = 32 * 1024**2


def newest(conn: psycopg.Connection[Any], view: FeatureView) -> datetime | None:
    """The greatest created or superseded time that the caller's snapshot sees (the view's clock); None without rows."""
    row = conn.execute(
        sql.SQL(
            "select greatest((select max(created_timestamp) from {history}), "
            "(select max(superseded_timestamp) from {history} where superseded_timestamp < 'infinity'))"
        ).format(history=_history(view))
    ).fetchone()
    return row[0] if row else None


def changed_since(conn: psycopg.Connection[Any], view: FeatureView, watermark: datetime) -> bool:
    """Whether a row was created or superseded after `watermark`."""
    row = conn.execute(
        sql.SQL(
            "select exists (select from {history} where created_timestamp > {watermark}) "
            "or exists (select from {history} where superseded_timestamp > {watermark} and superseded_timestamp < 'infinity')"
        ).format(history=_history(view), watermark=sql.Literal(watermark))
    ).fetchone()
    return bool(row and row[0])


def latest_rows(entity: Entity, view: FeatureView, *, since: datetime | None = None, days: Days | None = None) -> sql.Composed:
    """Query: one row an entity with its join keys, event_timestamp, created_timestamp and features of its latest current row.

    `since`: only entities with a row created or superseded after it (the entity's event_timestamp is null when no current row
    is left); `days`: only entities with a current row in the inclusive UTC days; neither: all with any row, now or ever.
    """
    keys = _comma(_keys(entity))
    distinct = sql.SQL("select distinct {keys} from {history}").format(keys=keys, history=_history(view))
    if days is not None:
        first, last = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days)
        within = sql.SQL(" where superseded_timestamp = 'infinity' and event_timestamp >= {} and event_timestamp < {}")
        return _latest(entity, view, distinct + within.format(sql.Literal(first), sql.Literal(last + timedelta(days=1))))
    if since is None:
        return _latest(entity, view, distinct)
    changed = sql.SQL(
        "select {keys} from {history} where created_timestamp > {after} union "
        "select {keys} from {history} where superseded_timestamp > {after} and superseded_timestamp < 'infinity'"
    ).format(keys=keys, history=_history(view), after=sql.Literal(since))
    return _latest(entity, view, changed)


def sample_rows(conn: psycopg.Connection[Any], entity: Entity, view: FeatureView, limit: int) -> sql.Composed:
    """Query: as `latest_rows`, for at most `limit` entities from random pages, of which at most _SAMPLED_BYTES are read."""
    size = conn.execute("select pg_relation_size(%s::regclass)", [_history(view).as_string()]).fetchone()
    percent = min(100.0, 100.0 * _SAMPLED_BYTES / max(size[0], 1)) if size else 100.0
    some = sql.SQL("select distinct {} from {} tablesample system ({}) limit {}").format(
        _comma(_keys(entity)), _history(view), sql.Literal(percent), sql.Literal(limit)
    )
    return _latest(entity, view, some)


def _latest(entity: Entity, view: FeatureView, entities: sql.Composable) -> sql.Composed:
    keys = _keys(entity)
    names = [*(sql.Identifier(name) for name in ("event_timestamp", "created_timestamp")), *_features(view)]
    return sql.SQL(
        "select {entity_keys}, {columns} from ({entities}) entities left join lateral ("
        "select {names} from {history} history where {same} and superseded_timestamp = 'infinity' "
        "order by event_timestamp desc limit 1) latest on true"
    ).format(
        entity_keys=_of("entities", keys),
        columns=_of("latest", names),
        entities=entities,
        names=_comma(names),
        history=_history(view),
        same=sql.SQL(" and ").join(sql.SQL("history.{0} = entities.{0}").format(key) for key in keys),
    )


def _keys(entity: Entity) -> list[sql.Identifier]:
    return [sql.Identifier(name) for name in entity.keys]


def _history(view: FeatureView) -> sql.Identifier:
    return sql.Identifier("features", f"{view.id}_history")


def _features(view: FeatureView) -> list[sql.Identifier]:
    return [sql.Identifier(feature.name) for feature in view.features]


def _comma(names: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(names)


def _of(table: str, names: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(table), name) for name in names)
