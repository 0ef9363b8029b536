"""How fast a view's rows reach Redis, each by an atomic compare-and-set; beside `feast materialize` and plain HSETs.

Belongs here: the publish on a real Postgres and Redis. Does not: computing the rows (features), reading them (read).
Usage: python -m benchmarks.materialize [--entities 100000] [--repeat 5] [--without large] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import redis

from benchmarks._measure import figure, show
from benchmarks._views import PROJECT, START, VIEWS, feast_store, fill, stores
from millwright.definitions import load
from millwright.online import wire
from millwright.online.publish import encode_rows, publish
from millwright.settings import Settings
from millwright.warehouse import latest
from millwright.warehouse.connect import connect
from millwright.warehouse.copy import arrow_reader

AT_ONCE = 1000


def main() -> None:
    """Start a Postgres and a Redis, measure in turns, stop them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--without", default="", help="large")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        way, view = arguments.one
        print(json.dumps(_measured(Settings(project=Path(os.environ["BENCHMARK_PROJECT"])), way, view)))
        return
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as name:
        folder = Path(name)
        os.environ |= {"MILLWRIGHT_HOME": str(folder / "home"), "BENCHMARK_PROJECT": str(folder)}
        with stores(folder) as settings:
            for result in _measures(settings, arguments.entities, arguments.repeat, large="large" not in arguments.without):
                show(result, arguments.json)


def _measures(settings: Settings, entities: int, repeat: int, *, large: bool) -> Iterator[dict[str, object]]:
    of = f"median of {repeat}"
    for view, features in VIEWS.items():
        fill(settings, view, entities)
        found: dict[str, list[dict[str, float]]] = {"ours": [], "feast": [], "hset": [], "again": []}
        for _ in range(repeat):
            for way, ones in found.items():
                ones.append(_one(settings, way, view))
        ours, theirs, floor, again = (statistics.median(one["seconds"] for one in ones) for ones in found.values())
        what = f"{entities} entities × {len(features)} {view.split('_')[0]}, {of}"
        goal = 8 if view == "numbers_v1" else 6
        yield figure("materialize", what, ours, "s", "lower", goal=goal, peer="feast materialize", theirs=theirs)
        if view == "numbers_v1":
            yield figure("materialize", what, ours, "s", "lower", goal=0.45, peer="HSETs of ready bytes", theirs=floor)
            peak = max(one["peak"] for one in found["ours"])
            yield figure("materialize", "peak memory", peak, "MB", "lower", goal=300)
            what = f"nothing new, {of}"
            yield figure("materialize", what, again, "s", "lower", goal=15, peer="feast materialize", theirs=theirs)
    if large:
        fill(settings, "numbers_v1", 10 * entities)
        one = _one(settings, "ours", "numbers_v1")
        what = f"peak memory at {10 * entities} entities ({10 * entities / one['seconds']:,.0f} rows/s)"
        yield figure("materialize", what, one["peak"], "MB", "lower", goal=300)


def _one(settings: Settings, way: str, view: str) -> dict[str, float]:
    """Seconds and peak memory (MB) of one way, in a process of its own. All but `again` start with an empty Redis."""
    if way != "again":
        with redis.Redis.from_url(settings.require("redis_url")) as client:
            client.flushall()
    command = [sys.executable, "-m", "benchmarks.materialize", "--one", way, view]
    if way == "again":
        _measured(settings, "ours", view)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(settings: Settings, way: str, view: str) -> dict[str, float]:
    run = {"feast": _feast, "hset": _hset}.get(way, _ours)(settings, view)
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _ours(settings: Settings, view_id: str) -> Callable[[], object]:
    definitions = load(settings.feature_repo)
    conn = connect(settings.require("postgres_url"), autocommit=True)
    client = redis.Redis.from_url(settings.require("redis_url"))
    client.ping()
    return lambda: publish(conn, client, definitions, definitions.feature_views[view_id], project=PROJECT)


def _hset(settings: Settings, view_id: str) -> Callable[[], object]:
    """Commands made beforehand, a thousand in flight, nothing compared: what the server and one socket can do."""
    definitions = load(settings.feature_repo)
    view = definitions.feature_views[view_id]
    commands: list[bytes] = []
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        conn.execute("begin isolation level repeatable read")
        with arrow_reader(conn) as reader:
            for batch in reader.batches(latest.latest_rows(definitions.entity_of(view), view)):
                keys, fields = encode_rows(definitions, view, PROJECT, batch)
                commands += _commands(keys, fields)
    client = redis.Redis.from_url(settings.require("redis_url"))
    connection: Any = client.connection_pool.get_connection()
    windows = [b"".join(commands[start : start + AT_ONCE]) for start in range(0, len(commands), AT_ONCE)]

    def send() -> None:
        for number, window in enumerate(windows):
            connection.send_packed_command([window])
            for _ in range(min(AT_ONCE, len(commands) - number * AT_ONCE)):
                connection.read_response()

    return send


def _commands(keys: pa.BinaryArray, fields: list[tuple[bytes, pa.BinaryArray]]) -> list[bytes]:
    pieces: list[wire.Piece] = [b"*%d\r\n$4\r\nHSET\r\n" % (2 + 2 * len(fields))]
    for part in (keys, *(part for pair in fields for part in pair)):
        if isinstance(part, bytes):
            pieces.append(b"$%d\r\n%b\r\n" % (len(part), part))
        else:
            pieces += [b"$", wire.decimal_lengths(part), b"\r\n", part, b"\r\n"]
    made: list[bytes] = wire.join(pieces, len(keys)).to_pylist()
    return made


def _feast(settings: Settings, view_id: str) -> Callable[[], object]:
    store = feast_store(settings, view_id)
    return lambda: store.materialize(START - timedelta(days=1), datetime.now(UTC), feature_views=[view_id])


if __name__ == "__main__":
    main()
