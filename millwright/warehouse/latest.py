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
    keys = [sql.Identifier(name) for name in entity.keys]
    names = [*(sql.Identifier(name) for name in ("event_timestamp", "created_timestamp")), *_features(view)]
    return sql.SQL(
        "select {changed_keys}, {columns} from ({changed}) changed left join lateral ("
        "select {names} from {history} history where {same} and superseded_timestamp = 'infinity' "
        "order by event_timestamp desc limit 1) latest on true"
    ).format(
        changed_keys=_of("changed", keys),
        columns=_of("latest", names),
        changed=_entities(view, keys, since, days),
        names=_comma(names),
        history=_history(view),
        same=sql.SQL(" and ").join(sql.SQL("history.{0} = changed.{0}").format(key) for key in keys),
    )


def sample_rows(entity: Entity, view: FeatureView, limit: int) -> sql.Composed:
    """Query: as `latest_rows`, for `limit` entities in no special order."""
    return sql.SQL("select * from ({}) latest order by hashtextextended({}::text, 0) limit {}").format(
        latest_rows(entity, view), sql.Identifier(entity.keys[0]), sql.Literal(limit)
    )


def _entities(view: FeatureView, keys: list[sql.Identifier], since: datetime | None, days: Days | None) -> sql.Composed:
    distinct = sql.SQL("select distinct {keys} from {history}").format(keys=_comma(keys), history=_history(view))
    if days is not None:
        first, last = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days)
        return distinct + sql.SQL(
            " where superseded_timestamp = 'infinity' and event_timestamp >= {} and event_timestamp < {}"
        ).format(sql.Literal(first), sql.Literal(last + timedelta(days=1)))
    if since is not None:
        after = sql.Literal(since)
        return sql.SQL(
            "select {keys} from {history} where created_timestamp > {after} union "
            "select {keys} from {history} where superseded_timestamp > {after} and superseded_timestamp < 'infinity'"
        ).format(keys=_comma(keys), history=_history(view), after=after)
    return distinct


def _history(view: FeatureView) -> sql.Identifier:
    return sql.Identifier("features", f"{view.id}_history")


def _features(view: FeatureView) -> list[sql.Identifier]:
    return [sql.Identifier(feature.name) for feature in view.features]


def _comma(names: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(names)


def _of(table: str, names: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.Identifier(table), name) for name in names)
