"""Checks of a feature view's table after a refresh.

Belongs here: what must hold before a view is published. Does not: Redis (online.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from millwright.checks import catalogue, tables
from millwright.checks.result import MAX_OFFENDING, CheckResult, Seen, evaluate, span
from millwright.definitions import Definitions, Feature, FeatureView
from millwright.warehouse.tables import SQL_TYPES, ViewTables

CLOCKS = ("event_timestamp", "created_timestamp", "superseded_timestamp", "known_timestamp")
NEWEST_ROWS = 10_000
Bounds = tuple[float | None, float | None]


def check_view(conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> list[CheckResult]:
    """Evaluate every check of `catalogue.VIEW` on the view's current rows. Cheap: none reads the whole history."""
    history = ("features", f"{view.id}_history")
    looks = {
        catalogue.SCHEMA: lambda: tables.schema(conn, history, _columns(definitions, view)),
        catalogue.UNIQUE_KEY: lambda: tables.unique_key(conn, history, [*definitions.entity_of(view).keys, "event_timestamp"]),
        catalogue.NON_EMPTY: lambda: tables.non_empty(conn, ("features", view.id)),
        catalogue.DECLARED_RANGES: lambda: _ranges(conn, definitions, view),
        catalogue.FRESHNESS: lambda: _freshness(conn, definitions, view),
    }
    return [evaluate(("features", view.id), check, looks[check]) for check in catalogue.VIEW]


def bounds(definitions: Definitions, view: FeatureView, feature: Feature) -> Bounds:
    """Between what a feature of declared readings can lie: a count, an age, a range or a deviation from 0; what is a reading's
    value or lies between two, as the reading; a sum, a slope or an expression anywhere."""
    if feature.aggregate in ("count", "age", "range", "stddev"):
        return 0, None
    if feature.aggregate in ("sum", "slope") or feature.expression is not None:
        return None, None
    reading = definitions.value(view, feature.of or feature.name) if feature.relation == "measurements" else None
    return (None, None) if reading is None else (reading.min, reading.max)


def _columns(definitions: Definitions, view: FeatureView) -> dict[str, str]:
    declared = ViewTables(definitions, view)
    return {
        **{column: SQL_TYPES[kind] for column, kind in {**declared.keys, **declared.features}.items()},
        **dict.fromkeys(CLOCKS, "timestamp with time zone"),
    }


def _ranges(conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> Seen:
    """Looks at the current ones of the rows written last, NEWEST_ROWS of them."""
    keys = definitions.entity_of(view).keys
    slack = sql.SQL("1e-9 * greatest(abs({0}), 1)")  # a mean of equal values may differ from them in the last digit
    wrong, columns = [], []
    for feature in view.features:
        if definitions.feature_type(view, feature) not in ("double", "int64"):
            continue
        column = sql.Identifier(feature.name)
        columns.append(column)
        low, high = bounds(definitions, view, feature)
        tests = [sql.SQL("{} in ('NaN', 'Infinity', '-Infinity')").format(sql.SQL("{}::float8").format(column))]
        for limit, operator, sign in ((low, "<", "-"), (high, ">", "+")):
            if limit is not None:
                value = sql.Literal(float(limit))
                tests.append(
                    sql.SQL("{} {} {} {} {}").format(column, sql.SQL(operator), value, sql.SQL(sign), slack.format(value))
                )
        wrong.append(
            sql.SQL("select {}::text as feature, {}::float8 as value, {} as low, {} as high where {}").format(
                sql.Literal(feature.name), column, sql.Literal(low), sql.Literal(high), sql.SQL(" or ").join(tests)
            )
        )
    if not wrong:
        return Seen(True, "no numeric feature", "no bound to keep")
    query = sql.SQL(
        "with newest as (select {keys}, event_timestamp, {columns} from {current} order by created_timestamp desc limit {limit}) "
        "select (select count(*) from newest), count(*), array_agg(distinct (event_timestamp at time zone 'UTC')::date), "
        "(array_agg(to_jsonb(found)))[1:{most}] from "
        "(select {keys}, event_timestamp, w.* from newest cross join lateral ({wrong}) w) found"
    ).format(
        keys=sql.SQL(", ").join(map(sql.Identifier, keys)),
        columns=sql.SQL(", ").join(columns),
        current=sql.Identifier("features", view.id),
        limit=sql.Literal(NEWEST_ROWS),
        most=sql.Literal(MAX_OFFENDING),
        wrong=sql.SQL(" union all ").join(wrong),
    )
    row = conn.execute(query).fetchone()
    assert row is not None
    rows, count, days, offending = row
    return Seen(
        not count,
        f"{count} values out of range in the newest {rows} rows",
        "0 values out of range",
        days=days or [],
        offending=offending or [],
        numbers={"rows_checked": rows, "values_out_of_range": count},
    )


def _freshness(conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> Seen:
    """The newest event of each entity by one index look-up, then the newest of all."""
    entity = definitions.entity_of(view)
    same = sql.SQL(" and ").join(
        sql.SQL("v.{} = s.keys[{}]::{}").format(
            sql.Identifier(key), sql.Literal(place), sql.SQL(SQL_TYPES[entity.join_keys[key]])
        )
        for place, key in enumerate(entity.keys, 1)
    )
    query = sql.SQL(
        "select max(latest), count(latest), count(*) filter (where latest > %(oldest)s) from "
        "(select distinct keys from warehouse.series where relation = %(relation)s and entity = %(entity)s "
        "and (%(sensor_type)s::text is null or sensor_type = %(sensor_type)s)) s cross join lateral "
        "(select event_timestamp as latest from {} v where {} order by event_timestamp desc limit 1) v"
    ).format(sql.Identifier("features", view.id), same)
    now = datetime.now(UTC)
    row = conn.execute(
        query,
        {
            "oldest": now - view.ttl,
            "relation": view.relations[0],
            "entity": view.entity,
            "sensor_type": view.source.word,
        },
    ).fetchone()
    assert row is not None
    latest, entities, fresh = row
    return freshness(latest, now, view.ttl, {"entities": entities, "fresh_entities": fresh})


def freshness(latest: datetime | None, now: datetime, limit: timedelta, numbers: dict[str, int | float]) -> Seen:
    """Age of the newest event against a limit."""
    expected = f"newest event within {span(limit)}"
    if latest is None:
        return Seen(False, "no event", expected, numbers=numbers)
    age = now - latest
    return Seen(
        age <= limit,
        f"newest event {latest:%Y-%m-%d %H:%M:%S} UTC, {span(age)} ago",
        expected,
        days=[] if age <= limit else [latest.date()],
        numbers={"age_seconds": age.total_seconds(), "limit_seconds": limit.total_seconds(), **numbers},
    )
