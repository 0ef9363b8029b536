"""How long a read of one entity takes while a publish fills the same Redis; beside the same reads with nothing else to do.

Belongs here: reads at a steady rate, in this process, and the publish in another. Does not: how fast either is alone (read,
materialize).
Usage: python -m benchmarks.contention [--entities 1000000] [--repeat 5] [--json]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import redis

from benchmarks._measure import figure, show
from benchmarks._views import PROJECT, fill, stores
from millwright.definitions import load
from millwright.online.read import read
from millwright.online.served import Served
from millwright.settings import Settings

VIEW = "numbers_v1"
A_SECOND = 400
IDLE_SECONDS = 5.0


def main() -> None:
    """Start a Postgres and a Redis, read during a publish and after it in turns, stop them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as name:
        folder = Path(name)
        os.environ |= {"MILLWRIGHT_HOME": str(folder / "home"), "BENCHMARK_PROJECT": str(folder)}
        with stores(folder) as settings:
            for result in _measures(settings, arguments.entities, arguments.repeat):
                show(result, arguments.json)


def _measures(settings: Settings, entities: int, repeat: int) -> Iterator[dict[str, object]]:
    fill(settings, VIEW, entities)
    client = redis.Redis.from_url(settings.require("redis_url"))
    wanted = Served.from_definitions(load(settings.feature_repo)).wanted([VIEW])
    number = iter(range(10**9))

    def ask() -> object:
        return read(client, wanted, [{"machine_id": f"machine-{next(number) * 7919 % entities + 1}"}], project=PROJECT)

    command = [sys.executable, "-m", "benchmarks.materialize", "--one", "ours", VIEW]
    found: dict[str, list[list[float]]] = {"idle": [], "busy": []}
    for _ in range(repeat):
        client.flushall(asynchronous=False)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as publisher:
            while not client.dbsize():
                time.sleep(0.01)
            found["busy"].append(_asked(ask, publisher))
        if publisher.returncode or client.dbsize() < entities:
            raise SystemExit("the publish failed")
        found["idle"].append(_asked(ask, None))
    for name, place in {"p50": 50, "p99": 99}.items():
        idle, busy = (statistics.median(statistics.quantiles(times, n=100)[place - 1] for times in of) for of in found.values())
        what = f"{name} of a read while {entities} rows are published, median of {repeat}"
        goal = 0.5 if name == "p99" else None
        yield figure("contention", what, busy * 1000, "ms", "lower", goal=goal, peer="idle", theirs=idle * 1000)


def _asked(ask: Callable[[], object], while_runs: subprocess.Popen[bytes] | None) -> list[float]:
    """Seconds of each question, A_SECOND of them a second, for as long as the process runs, or for IDLE_SECONDS."""
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() < began + IDLE_SECONDS if while_runs is None else while_runs.poll() is None:
        asked = time.perf_counter()
        ask()
        times.append(time.perf_counter() - asked)
        time.sleep(max(0.0, began + len(times) / A_SECOND - time.perf_counter()))
    return times


if __name__ == "__main__":
    main()
