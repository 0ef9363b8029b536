"""Checks of the warehouse after batches have landed.

Belongs here: what must hold of rows and deliveries. Does not: rules for single cells (landing/), feature values (views.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from millwright.checks import catalogue, tables
from millwright.checks.catalogue import Check
from millwright.checks.result import MAX_OFFENDING, CheckResult, Seen, evaluate
from millwright.checks.views import freshness
from millwright.definitions import Definitions

if TYPE_CHECKING:
    from millwright.landing.batches import Receipt

Days = tuple[date, date]
ROWS_CHECKED = 10_000
MAX_QUARANTINED = 0.05
EARLIER_FILES, TIMES = 5, 10
KEYS = {
    "measurements": ("series_id", "event_timestamp"),
    "events": ("series_id", "event_timestamp"),
    "feature_sets": ("series_id", "event_timestamp"),
}
# Events and feature sets are read through views; their keys are held by the tables below.
ROWS = {"measurements": "measurements", "events": "event_rows", "feature_sets": "feature_set_rows"}
COLUMNS = {
    "measurements": {
        "series_id": "integer",
        "event_timestamp": "timestamp with time zone",
        "readings": "jsonb",
        "batch_id": "bigint",
        "position": "bigint",
        "sources": "jsonb",
    },
    "events": {
        "entity": "text",
        "keys": "text[]",
        "event_timestamp": "timestamp with time zone",
        "kind": "text",
        "attributes": "jsonb",
        "batch_id": "bigint",
        "position": "bigint",
    },
    "feature_sets": {
        "entity": "text",
        "keys": "text[]",
        "event_timestamp": "timestamp with time zone",
        "dataset": "text",
        "features": "jsonb",
        "batch_id": "bigint",
        "position": "bigint",
    },
}
_JSON = {"double": "number", "int64": "number", "string": "string", "bool": "boolean"}

# Rows of what changed: of the given batches by the change log, or of the given days.
_OF_BATCHES = """
select s.series_id, c.first, c.last from warehouse.changes c join warehouse.series s using (relation, entity, keys, sensor_type)
where c.created_timestamp in (select created_timestamp from landing.batches where batch_id = any(%(batches)s))
and c.batch_id = any(%(batches)s) and c.relation = 'measurements' and c.entity = %(entity)s
"""
_OF_DAYS = """
select series_id, %(first)s::timestamptz as first, %(last)s::timestamptz as last from warehouse.series
where relation = 'measurements' and entity = %(entity)s
"""
_RANGES = """
with touched as ({touched}),
looked as (
  select m.* from touched t cross join lateral (
    select series_id, event_timestamp, readings, batch_id, position from warehouse.measurements m
    where m.series_id = t.series_id and m.event_timestamp between t.first and t.last
  ) m limit %(limit)s
),
found as (
  select s.keys, s.sensor_type, l.event_timestamp, b.reading, l.readings -> b.reading as value, b.low, b.high,
    l.batch_id, l.position
  from looked l join warehouse.series s using (series_id)
  cross join unnest(%(names)s::text[], %(kinds)s::text[], %(lows)s::float8[], %(highs)s::float8[]) as b(reading, kind, low, high)
  where case jsonb_typeof(l.readings -> b.reading)
    when 'null' then false
    when 'number' then b.kind <> 'number' or (l.readings ->> b.reading)::float8 not between b.low and b.high
    else jsonb_typeof(l.readings -> b.reading) <> b.kind end
)
select (select count(*) from looked), count(*), array_agg(distinct (event_timestamp at time zone 'UTC')::date),
  (array_agg(to_jsonb(found)))[1:%(most)s] from found
"""


def check_warehouse(
    conn: psycopg.Connection[Any],
    definitions: Definitions,
    receipts: Sequence[Receipt],
    *,
    days: Days | None = None,
    targets: Collection[str] = (),
) -> list[CheckResult]:
    """Evaluate the checks of each warehouse table that `receipts` wrote to, and of `targets`.

    Values are looked at in the rows that the receipts' batches changed or, with `days` (inclusive, UTC), in those of these days;
    at most ROWS_CHECKED of them. Batches that did not land count nowhere.
    """
    known = [receipt for receipt in receipts if receipt.dataset in definitions.datasets]
    wanted = {definitions.datasets[receipt.dataset].relation for receipt in known} | set(targets)
    results = []
    for target in catalogue.WAREHOUSE:
        if target in wanted:
            landed = [r for r in known if r.state == "landed" and definitions.datasets[r.dataset].relation == target]
            looks: dict[Check, Callable[[], Seen]] = {
                catalogue.SCHEMA: partial(tables.schema, conn, ("warehouse", target), COLUMNS[target]),
                catalogue.UNIQUE_KEY: partial(tables.unique_key, conn, ("warehouse", ROWS[target]), KEYS[target]),
                catalogue.NON_EMPTY: partial(tables.non_empty, conn, ("warehouse", target)),
                catalogue.DECLARED_RANGES: partial(_ranges, conn, definitions, landed, days),
                catalogue.NEW_READINGS: partial(_new_readings, definitions, landed),
                catalogue.QUARANTINE: partial(_quarantine, landed),
                catalogue.VOLUME: partial(_volume, conn, landed),
                catalogue.FRESHNESS: partial(_freshness, conn, definitions),
            }
            results += [evaluate(("warehouse", target), check, looks[check]) for check in catalogue.WAREHOUSE[target]]
    return results


def _ranges(conn: psycopg.Connection[Any], definitions: Definitions, landed: Sequence[Receipt], days: Days | None) -> Seen:
    rows, count = 0, 0
    failing: list[date] = []
    offending: list[dict[str, Any]] = []
    entities = sorted({d.entity for d in definitions.datasets.values() if d.target == "measurements"})
    for entity in entities:
        names = sorted({name for d in definitions.datasets.values() if d.entity == entity for name in d.readings})
        declared = [reading for reading in (definitions.reading(entity, name) for name in names) if reading is not None]
        first, last = ((datetime.combine(day, time(), UTC)) for day in days) if days else (None, None)
        row = conn.execute(
            sql.SQL(_RANGES).format(touched=sql.SQL(_OF_DAYS if days else _OF_BATCHES)),
            {
                "batches": [receipt.batch_id for receipt in landed],
                "entity": entity,
                "first": first,
                "last": last + timedelta(days=1) - timedelta(microseconds=1) if last else None,
                "names": names,
                "kinds": [_JSON[reading.type] for reading in declared],
                "lows": [float("-inf") if reading.min is None else reading.min for reading in declared],
                "highs": [float("inf") if reading.max is None else reading.max for reading in declared],
                "limit": ROWS_CHECKED,
                "most": MAX_OFFENDING,
            },
        ).fetchone()
        assert row is not None
        rows, count = rows + row[0], count + row[1]
        failing, offending = [*failing, *(row[2] or [])], [*offending, *(row[3] or [])]
    return Seen(
        not count,
        f"{count} values of another type or out of range in {rows} rows",
        "0 values of another type or out of range",
        days=failing,
        offending=offending,
        numbers={"rows_checked": rows, "values_out_of_range": count},
    )


def _new_readings(definitions: Definitions, landed: Sequence[Receipt]) -> Seen:
    new = [
        {"reading": name, "dataset": receipt.dataset, "batch_id": receipt.batch_id}
        for receipt in landed
        for name in receipt.new_readings
        if name not in definitions.datasets[receipt.dataset].values
    ]
    names = ", ".join(sorted({str(item["reading"]) for item in new}))
    return Seen(
        not new,
        f"not declared: {names}" if new else "every reading is declared",
        "every reading is declared (add it under readings: in the dataset's file)",
        offending=new,
        numbers={"new_readings": len(new)},
    )


def _quarantine(landed: Sequence[Receipt]) -> Seen:
    received, aside = sum(r.received for r in landed), sum(r.quarantined for r in landed)
    share = aside / received if received else 0.0
    worst = sorted((r for r in landed if r.quarantined), key=lambda r: -r.quarantined)
    return Seen(
        share <= MAX_QUARANTINED,
        f"{aside} of {received} rows in quarantine ({share:.1%})",
        f"at most {MAX_QUARANTINED:.0%}",
        offending=[
            {
                "batch_id": r.batch_id,
                "quarantined": r.quarantined,
                "received": r.received,
                "codes": ", ".join(sorted({error.code for error in r.errors})),
                "rows": f"millwright quarantine {r.batch_id}",
            }
            for r in worst
        ],
        numbers={"received": received, "quarantined": aside, "quarantined_share": share},
    )


def _volume(conn: psycopg.Connection[Any], landed: Sequence[Receipt]) -> Seen:
    """Files only: how many messages a Kafka batch has depends on when it was looked."""
    odd, compared = [], 0
    files = [receipt for receipt in landed if receipt.file_name is not None]
    for dataset in sorted({receipt.dataset for receipt in files}):
        earlier = conn.execute(
            "select received from landing.batches where dataset = %s and state = 'landed' and file_name is not null "
            "and batch_id <> all(%s) order by batch_id desc limit 20",
            [dataset, [receipt.batch_id for receipt in files]],
        ).fetchall()
        if len(earlier) < EARLIER_FILES:
            continue
        median = statistics.median(count for (count,) in earlier)
        for receipt in (receipt for receipt in files if receipt.dataset == dataset):
            compared += 1
            if not median / TIMES <= receipt.received <= median * TIMES:
                odd.append({"batch_id": receipt.batch_id, "file": receipt.file_name, "rows": receipt.received, "usual": median})
    return Seen(
        not odd,
        f"{len(odd)} of {compared} files of an unusual size" if compared else f"fewer than {EARLIER_FILES} earlier files",
        f"a tenth to ten times the median of the dataset's last files, once there are {EARLIER_FILES}",
        offending=odd,
        numbers={"files_compared": compared, "unusual_files": len(odd)},
    )


def _freshness(conn: psycopg.Connection[Any], definitions: Definitions) -> Seen:
    datasets = [name for name, dataset in definitions.datasets.items() if dataset.target == "measurements"]
    row = conn.execute(
        "select max(last_event) from landing.batches where state = 'landed' and dataset = any(%s)", (datasets,)
    ).fetchone()
    limit = max((view.ttl for view in definitions.feature_views.values()), default=timedelta(days=1))
    return freshness(row[0] if row else None, datetime.now(UTC), limit, {})
