"""How long a refresh takes after a file of one day, on top of ever more measurements: from Postgres to Postgres, fsync on.

Belongs here: the refresh of one view. Does not: landing the file (landing.py), the engine by itself (features.py).
The measurements of a year are made inside Postgres, at first few, then more between them; tiles are summed up from them for the
nine days that windows reach back, and the feature rows of thirty days are made up: no refresh of a later day reads others.
Usage: python -m benchmarks.refresh [--sizes 1000000,10000000] [--rows 10000] [--repeat 5] [--stages] [--json]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks._measure import figure, show
from benchmarks.landing import DATASET, DEFINITIONS, postgres
from millwright.definitions import Definitions, FeatureView
from millwright.definitions.partials import tile_sizes
from millwright.features.refresh import RefreshReport, refresh
from millwright.features.windows import compile_view
from millwright.landing.load import land
from millwright.landing.receive import Delivery, receive
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from millwright.warehouse.tables import create_view_tables

MACHINES = 200
FIRST, DAYS = date(2025, 1, 1), 365
VIEW = FeatureView.model_validate(
    {
        "feature_view": "vitals",
        "version": 1,
        "entity": "machine",
        "source": {"sensor_type": "press"},
        "ttl": "2h",
        "features": [
            {"name": "temperature_mean_1h", "aggregate": "mean", "of": "temperature", "window": "1h"},
            {"name": "vibration_max_1h", "aggregate": "max", "of": "vibration", "window": "1h"},
            {"name": "temperature_mean_6h", "aggregate": "mean", "of": "temperature", "window": "6h"},
            {"name": "temperature_count_7d", "aggregate": "count", "of": "temperature", "window": "7d"},
            {"name": "vibration_max_7d", "aggregate": "max", "of": "vibration", "window": "7d"},
        ],
    }
)
ALL = Definitions(entities=DEFINITIONS.entities, datasets={"fleet": DATASET}, feature_views={VIEW.id: VIEW})

# Of `step` µs each machine has one row, `offset` into it: rows of one size lie between those of the others.
MEASUREMENTS = """
insert into warehouse.measurements (series_id, event_timestamp, batch_id, position, readings)
select s.series_id, t, 1, 1, jsonb_build_object(
  'temperature', round((70 + 9 * sin(extract(epoch from t) / 7e3 + s.series_id))::numeric, 3),
  'vibration', round((2 + cos(extract(epoch from t) / 5e2 + s.series_id))::numeric, 4))
from generate_series(%(first)s::timestamptz + %(offset)s, %(end)s::timestamptz - interval '1 microsecond', %(step)s) t
cross join warehouse.series s
on conflict do nothing
"""
TILES = """
insert into features.vitals_v1_tiles
  (k_machine_id, tile_us, tile, p_temperature_absmax, p_temperature_n, p_temperature_sum, p_vibration_max)
select s.keys[1], %(size)s, floor(extract(epoch from m.event_timestamp) * 1000000 / %(size)s)::bigint,
       max(abs((m.readings -> 'temperature')::double precision)), count(*), sum((m.readings -> 'temperature')::double precision),
       max((m.readings -> 'vibration')::double precision)
from warehouse.measurements m join warehouse.series s using (series_id)
where m.event_timestamp >= %(first)s group by 1, 3
"""
HISTORY = """
insert into features.vitals_v1_history (machine_id, event_timestamp, created_timestamp, known_timestamp, temperature_mean_1h,
  vibration_max_1h, temperature_mean_6h, temperature_count_7d, vibration_max_7d)
select s.keys[1], m.event_timestamp, '2026-01-01', '2026-01-01', 70, 3, 70, 100, 3
from warehouse.measurements m join warehouse.series s using (series_id)
where m.event_timestamp >= %(first)s
"""


def main() -> None:
    """Start a Postgres of its own, grow it, measure at each size, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000000,10000000")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--stages", action="store_true", help="Seconds by stage, on stderr.")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder, postgres(Path(folder) / "home") as settings:
        for result in _measures(settings, Path(folder), sizes, arguments.rows, arguments.repeat, arguments.stages):
            show(result, arguments.json)


def _measures(
    settings: Settings, folder: Path, sizes: Sequence[int], rows: int, repeat: int, stages: bool
) -> Iterator[dict[str, object]]:
    smallest = 0.0
    apply(settings, MACHINES)
    for number, size in enumerate(sizes):
        grow(settings, size - (sizes[number - 1] if number else 0), MACHINES, number)
        _settle(settings)
        seconds = []
        for turn in range(repeat + 1):
            day = FIRST + timedelta(days=DAYS + number * (repeat + 1) + turn)
            taken, report = _refreshed(settings, _file(folder, rows, day))
            if (report.inserted, report.superseded) != (rows, 0):
                raise SystemExit(f"The refresh wrote {report.inserted} and superseded {report.superseded} rows, not {rows} and 0")
            if stages:
                print(day, round(taken, 3), report.stages, report.events_read, report.tiles_read, file=sys.stderr)
            seconds.append(taken)
        taken = statistics.median(seconds[1:])  # the first reads what the growth left outside the cache
        smallest = smallest or taken
        measure = f"{rows} rows of a day on top of {size}, median of {repeat}"
        yield figure("refresh", measure, taken, "s", "lower", goal=2)
        if number:
            yield figure("refresh", f"{measure}, by the time at {sizes[0]}", taken / smallest, "times", "lower", goal=1.5)


def apply(settings: Settings, machines: int) -> None:
    """The view as apply leaves it, and the machines' series without rows."""
    with connect(settings.require("postgres_owner_url"), autocommit=True) as conn:
        conn.execute(
            "insert into catalog.entities values ('machine', '{\"machine_id\": \"string\"}', '', '', now(), 'benchmark')"
        )
        conn.execute(
            "insert into catalog.feature_views values"
            " (%s, 'vitals', 1, 'machine', 'active', '{}', %s, '2h', '', '', '{}', now(), 'benchmark')",
            (VIEW.id, VIEW.content_hash()),
        )
        script = compile_view(ALL, VIEW)["duckdb"]
        conn.execute("insert into catalog.compiled values (%s, 'duckdb', %s)", (VIEW.id, script))
        create_view_tables(conn, ALL, VIEW)
        conn.execute(
            "insert into warehouse.series (entity, keys, sensor_type)"
            " select 'machine', array['press-' || to_char(n, 'FM000')], 'press' from generate_series(1, %s) n",
            (machines,),
        )


def grow(settings: Settings, rows: int, machines: int, number: int = 0) -> None:
    """Add about so many measurements to the year; those of each `number` lie between the others'."""
    step = timedelta(days=DAYS) / (rows / machines)
    with connect(settings.require("postgres_owner_url"), autocommit=True) as conn:
        conn.execute("set synchronous_commit = off")
        for first, end in _months():
            conn.execute("select warehouse.ensure_months(%s, %s)", (first, end))
            moments = {"first": _midnight(first), "end": _midnight(end), "step": step, "offset": timedelta(microseconds=number)}
            conn.execute(MEASUREMENTS, moments)
        conn.execute("vacuum analyze warehouse.measurements, warehouse.series")


def _settle(settings: Settings) -> None:
    """Make the view's tables what refreshes would have left, as far as one of a later day reads them."""
    with connect(settings.require("postgres_owner_url"), autocommit=True) as conn:
        conn.execute("set synchronous_commit = off")
        last = _midnight(FIRST + timedelta(days=DAYS))
        conn.execute("truncate features.vitals_v1_tiles, features.vitals_v1_history")
        for size in tile_sizes(VIEW):
            conn.execute(TILES, {"size": size, "first": last - timedelta(days=9)})
        conn.execute(HISTORY, {"first": last - timedelta(days=30)})
        conn.execute("update features.state set tiles_complete = true")
        conn.execute("vacuum analyze features.vitals_v1_tiles, features.vitals_v1_history")


def _months() -> Iterator[tuple[date, date]]:
    first, last = FIRST, FIRST + timedelta(days=DAYS)
    while first < last:
        end = min((first.replace(day=1) + timedelta(days=32)).replace(day=1), last)
        yield first, end
        first = end


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _file(folder: Path, rows: int, day: date) -> Path:
    """A CSV of one day, about as many rows of every machine."""
    random = np.random.default_rng(day.toordinal())
    each = rows // MACHINES
    lines = [
        f"{(_midnight(day) + n * timedelta(days=1) / each).isoformat()},press-{machine:03d},press,"
        f"{random.normal(70, 10):.3f},{random.gamma(2, 1):.4f}\n"
        for n in range(each)
        for machine in range(1, MACHINES + 1)
    ]
    path = folder / f"{day}.csv"
    path.write_text("".join(["timestamp,machine_id,sensor_type,temperature,vibration\n", *lines]))
    return path


def _refreshed(settings: Settings, path: Path) -> tuple[float, RefreshReport]:
    """Land the file, then the seconds of the refresh."""
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        batch = _received(settings, conn, path)
        receipt = land(conn, settings, ALL, batch)
        if receipt.state != "landed" or receipt.quarantined:
            raise SystemExit(f"{path.name} did not land: {receipt.state}, {receipt.error}")
        began = time.perf_counter()
        report = refresh(conn, settings, ALL, VIEW)
        return time.perf_counter() - began, report


def _received(settings: Settings, conn: psycopg.Connection[Any], path: Path) -> int:
    delivery = Delivery()
    return receive(
        conn, settings, ALL, path, dataset="fleet", file_name=path.name, delivery=delivery, channel="upload", by="benchmark"
    ).batch_id


if __name__ == "__main__":
    main()
