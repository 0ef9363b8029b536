"""How long a backfill of a year takes on all cores, and how much memory: from Postgres to Postgres, fsync on; beside Spark.

Belongs here: a view's first rows, computed by one backfill of 365 days. Does not: a day's refresh (refresh.py), the engine by
itself (features.py). Each backfill runs in a process of its own; its memory is that of the process and its children (Spark's
JVM), not Postgres'. Both engines' rows are compared by count and sums.
Usage: python -m benchmarks.backfill [--events 10000000] [--spark 1000000] [--machines 200] [--repeat 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil

from benchmarks._measure import figure, show
from benchmarks.landing import postgres
from benchmarks.refresh import ALL, DAYS, FIRST, VIEW, apply, grow
from millwright.features.refresh import refresh
from millwright.settings import Settings
from millwright.warehouse.connect import connect

CORES = os.cpu_count() or 1
SUMS = ", ".join(f"sum({feature.name})::double precision" for feature in VIEW.windowed)


def main() -> None:
    """Start a Postgres of its own, make the measurements, backfill them by each engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--spark", type=int, default=1_000_000, help="Events that Spark is given too; 0 leaves it out.")
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("duckdb", "spark"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measured(arguments.one)))
        return
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder, postgres(Path(folder) / "home") as settings:
        apply(settings, arguments.machines)
        there = 0
        for number, events in enumerate(sorted({arguments.spark or arguments.events, arguments.events})):
            grow(settings, events - there, arguments.machines, number)
            there = events
            for result in _measures(settings, arguments.machines, arguments.repeat, spark=events == arguments.spark):
                show(result, arguments.json)


def _measures(settings: Settings, machines: int, repeat: int, *, spark: bool) -> Iterator[dict[str, object]]:
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(repeat):
        for engine in ("duckdb", "spark") if spark else ("duckdb",):
            found.setdefault(engine, []).append(_one(settings, engine))
    rows = {tuple(round(value, 4) for value in one["sums"]) for ones in found.values() for one in ones}
    if not all(math.isclose(a, b, rel_tol=1e-9) for one in rows for a, b in zip(one, min(rows), strict=True)):
        raise SystemExit(f"The engines' rows differ: {rows}")
    events = int(found["duckdb"][0]["events"])
    what = f"{events} events of {machines} machines over {DAYS} days, {CORES} cores, median of {repeat}"
    speed, peak = ({name: statistics.median(one[of] for one in ones) for name, ones in found.items()} for of in ("speed", "peak"))
    peer = f"Spark local[{CORES}]" if spark else None
    yield figure("backfill", what, speed["duckdb"], "events/s", "higher", peer=peer, theirs=speed.get("spark"))
    yield figure(
        "backfill", f"peak memory at {events} events", peak["duckdb"], "MB", "lower", peer=peer, theirs=peak.get("spark")
    )


def _one(settings: Settings, engine: str) -> dict[str, float]:
    """One backfill of a view without rows."""
    with connect(settings.require("postgres_owner_url"), autocommit=True) as conn:
        conn.execute("truncate features.vitals_v1_tiles, features.vitals_v1_history")
        conn.execute("update features.state set tiles_complete = false")
    command = [sys.executable, "-m", "benchmarks.backfill", "--one", engine]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(engine: str) -> dict[str, object]:
    settings = Settings(project=Path(__file__).parents[1], duckdb_threads=CORES, spark_master=f"local[{CORES}]")
    days = FIRST, FIRST + timedelta(days=DAYS - 1)
    with connect(settings.require("postgres_url"), autocommit=True) as conn, _watched() as peak:
        began = time.perf_counter()
        report = refresh(conn, settings, ALL, VIEW, days=days, on="spark" if engine == "spark" else "duckdb")
        seconds = time.perf_counter() - began
        sums = conn.execute(f"select count(*), {SUMS} from features.{VIEW.id}").fetchone()
    print(engine, round(seconds, 1), report.stages, report.inserted, file=sys.stderr)
    if report.inserted != report.events_read:
        raise SystemExit(f"{report.events_read} events became {report.inserted} rows")
    return {"speed": report.inserted / seconds, "events": report.inserted, "peak": peak[0] / 1e6, "sums": list(sums or ())}


@contextmanager
def _watched() -> Iterator[list[float]]:
    """The most memory (bytes) of this process and its children during the block."""
    most, ended, me = [0.0], threading.Event(), psutil.Process()

    def watch() -> None:
        while not ended.wait(0.2):
            here = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    here += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            most[0] = max(most[0], here)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


if __name__ == "__main__":
    main()
