"""How fast features of entities come out of Redis; beside redis-py's HMGET with a decode by hand, and Feast's SDK.

Belongs here: reads on one thread, in turns with the peers. Does not: HTTP (http), filling the store (materialize).
Usage: python -m benchmarks.read [--entities 10000] [--reads 2000] [--repeat 5] [--json]
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import redis

from benchmarks._measure import figure, show
from benchmarks._views import PROJECT, START, VIEWS, feast_store, fill, stores
from millwright.definitions import load
from millwright.online import codec
from millwright.online.publish import publish
from millwright.online.read import read
from millwright.online.served import Served
from millwright.settings import Settings
from millwright.warehouse.connect import connect

VIEW = "numbers_v1"
Ask = Callable[[list[str]], object]


def main() -> None:
    """Start a Postgres and a Redis, fill them, measure in turns, stop them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=2_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as name:
        folder = Path(name)
        os.environ["MILLWRIGHT_HOME"] = str(folder / "home")
        with stores(folder) as settings:
            fill(settings, VIEW, arguments.entities)
            for result in _measures(settings, arguments.entities, arguments.reads, arguments.repeat):
                show(result, arguments.json)


def _measures(settings: Settings, entities: int, reads: int, repeat: int) -> Iterator[dict[str, object]]:
    feast = feast_store(settings, VIEW)
    feast.materialize(START - timedelta(days=1), datetime.now(UTC), feature_views=[VIEW])
    client = redis.Redis.from_url(settings.require("redis_url"))
    ways = {"ours": _ours(settings, client), "hmget": _hmget(client), "feast": _sdk(feast)}
    random.seed(1)
    for many, count, goals in (
        (1, reads, (1 / 1.3, None)),
        (100, max(1, reads // 20), (None, 10)),
        (1000, max(1, reads // 200), (None, None)),
    ):
        asked = [[f"machine-{random.randint(1, entities)}" for _ in range(many)] for _ in range(count)]
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(repeat):
            for way, ask in ways.items():
                taken[way] += [_seconds(ask, machines) for machines in asked]
        for peer, name, goal in (("hmget", "redis-py HMGET and decode", goals[0]), ("feast", "Feast SDK", goals[1])):
            for quantile, label in ((50, "p50"), (99, "p99")):
                ours, theirs = (float(np.percentile(taken[way], quantile)) * 1e3 for way in ("ours", peer))
                what = f"{many} entities × {len(VIEWS[VIEW])}, {label}"
                yield figure("read", what, ours, "ms", "lower", goal=goal, peer=name, theirs=theirs)


def _seconds(ask: Ask, machines: list[str]) -> float:
    began = time.perf_counter()
    ask(machines)
    return time.perf_counter() - began


def _ours(settings: Settings, client: redis.Redis) -> Ask:
    definitions = load(settings.feature_repo)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        publish(conn, client, definitions, definitions.feature_views[VIEW], project=PROJECT)
        served = Served.from_catalog(conn)
    wanted = served.wanted([VIEW])
    at = START + timedelta(hours=1)
    (found, *_) = read(client, wanted, [{"machine_id": "machine-4"}], project=PROJECT, now=at)
    if found.statuses != ["PRESENT"] or abs(found.values[0] - 8**0.5) > 1e-12:
        raise SystemExit(f"machine-4 has {found}, not the square root of 8")
    return lambda machines: read(client, wanted, [{"machine_id": name} for name in machines], project=PROJECT, now=at)


def _hmget(client: redis.Redis) -> Ask:
    """What somebody writes by hand who knows the bytes: one pipeline, doubles unpacked."""
    fields = [codec.timestamp_field(VIEW), *(codec.field(VIEW, f"f{place}") for place in range(len(VIEWS[VIEW])))]
    types = {"machine_id": "string"}

    def ask(machines: list[str]) -> list[list[float]]:
        pipeline = client.pipeline(transaction=False)
        for name in machines:
            pipeline.hmget(codec.encode_key(PROJECT, types, {"machine_id": name}), fields)  # type: ignore[arg-type]
        return [[struct.unpack("<d", value[1:])[0] for value in reply[1:]] for reply in pipeline.execute()]

    return ask


def _sdk(feast: Any) -> Ask:
    features = [f"{VIEW}:f{place}" for place in range(len(VIEWS[VIEW]))]
    return lambda machines: feast.get_online_features(
        features=features, entity_rows=[{"machine_id": name} for name in machines]
    ).to_dict()


if __name__ == "__main__":
    main()
