"""How fast a CSV lands: checked row by row, with ledger and quarantine, into JSONB, fsync on; beside a raw psql `\\copy` and dlt.

Belongs here: the loader on a real Postgres. Does not: the way through sensor, features and Redis (path.py).
Usage: python -m benchmarks.landing [--rows 1000000] [--repeat 3] [--without dlt,large] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks._measure import figure, show
from millwright.definitions import Dataset, Definitions, Entity, Reading
from millwright.landing.batches import Receipt
from millwright.landing.load import dry_run, land
from millwright.landing.receive import Delivery, receive
from millwright.settings import Settings
from millwright.stack.postgres import binary
from millwright.stack.up import Stack
from millwright.warehouse.connect import connect

MACHINES, TYPES = 200, ("press", "pump", "motor", "fan", "valve")
DATASET = Dataset(
    dataset="fleet",
    entity="machine",
    columns={"timestamp": "event_timestamp"},
    readings={"temperature": Reading(unit="degC", min=-50, max=400), "vibration": Reading(unit="mm/s", min=0, max=200)},
)
DEFINITIONS = Definitions(
    entities={"machine": Entity(entity="machine", join_keys={"machine_id": "string"})}, datasets={"fleet": DATASET}
)
DIRTY = (b"n/a", b"-999", b"")
RAW = "create table if not exists raw (t timestamptz, machine_id text, sensor_type text, temperature float8, vibration float8)"


def main() -> None:
    """Start a Postgres of its own, measure in turns, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3, choices=range(1, 5))
    parser.add_argument("--without", default="", help="dlt, large")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--land", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.land is not None:
        print(json.dumps(_land(arguments.land)))
        return
    without = set(arguments.without.split(","))
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as folder, postgres(Path(folder) / "home") as settings:
        for result in _measures(settings, Path(folder), arguments.rows, arguments.repeat, without):
            show(result, arguments.json)


def _measures(settings: Settings, folder: Path, rows: int, repeat: int, without: set[str]) -> Iterator[dict[str, object]]:
    raw: list[float] = []
    clean: list[float] = []
    dirty: list[float] = []
    peaks: list[float] = []
    again: list[float] = []
    for number in range(repeat):
        good = write(folder / f"good{number}.csv", rows, month=1 + number)
        bad = write(folder / f"bad{number}.csv", rows, month=5 + number, bad=0.01)
        raw.append(_raw(settings, good))
        seconds, peak = _landed(settings, good)
        clean.append(seconds)
        peaks.append(peak)
        raw.append(_raw(settings, bad))
        dirty.append(_landed(settings, bad)[0])
        again.append(_again(settings, good))
    of = f"median of {repeat}"
    peer, theirs = "psql \\copy", statistics.median(raw)
    size = f"{rows} rows ({good.stat().st_size / 1e6:.0f} MB)"
    ours = statistics.median(clean)
    yield figure("landing", f"{size}, {of}", ours, "s", "lower", goal=0.20, peer=peer, theirs=theirs)
    yield figure("landing", f"{size}, 1 % bad, {of}", statistics.median(dirty), "s", "lower", goal=0.17, peer=peer, theirs=theirs)
    yield figure("landing", "peak memory", max(peaks), "MB", "lower", goal=600)
    yield figure("landing", f"same file again, {of}", statistics.median(again), "s", "lower", goal=0.1)
    if "large" not in without:
        seconds, peak = _landed(settings, write(folder / "large.csv", 5 * rows, month=9))
        measure = f"peak memory at {5 * rows} rows ({5 * rows / seconds:,.0f} rows/s)"
        yield figure("landing", measure, peak, "MB", "lower", goal=600)
    tenth = write(folder / "tenth.csv", rows // 10, month=11)
    yield figure("landing", f"dry run, {rows // 10} rows, {of}", _dry(settings, tenth, repeat), "s", "lower", goal=1)
    speed = 100 * (rows // 1000) / _small(settings, folder, rows // 1000)
    yield figure("landing", f"100 files of {rows // 1000} rows waiting", speed, "rows/s", "higher", goal=20_000)
    if "dlt" not in without:
        for way in ("read_csv", "Arrow"):
            theirs = _dlt(settings, [folder / "good0.csv", good], folder, arrow=way == "Arrow")
            yield figure("landing", f"{size}, the same key", ours, "s", "lower", goal=5, peer=f"dlt merge, {way}", theirs=theirs)


@contextmanager
def postgres(home: Path) -> Iterator[Settings]:
    """A Postgres in the folder `home`, migrated, for the length of the block."""
    os.environ["MILLWRIGHT_HOME"] = str(home)
    stack = Stack(Settings(project=Path(__file__).parents[1]))
    try:
        stack.up(["postgres"])
        yield Settings(project=Path(__file__).parents[1])
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


def write(path: Path, rows: int, *, month: int, bad: float = 0.0) -> Path:
    """A CSV by time, then series: every machine has a sensor of every type. `bad`: share of lines with a wrong cell."""
    random = np.random.default_rng(month)
    names = [f"machine-{number:03d},{kind}".encode() for number in range(MACHINES) for kind in TYPES]
    start, step = datetime(2025, month, 1, tzinfo=UTC), timedelta(seconds=86_400 * 25 * len(names) // max(rows, 1) or 1)
    wrong = set(random.choice(rows, int(rows * bad), replace=False).tolist())
    with path.open("wb") as file:
        file.write(b"timestamp,machine_id,sensor_type,temperature,vibration\n")
        for instant in range(-(-rows // len(names))):
            at = (start + instant * step).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
            temperature, vibration = random.normal(70, 10, len(names)), random.gamma(2, 1, len(names))
            first = instant * len(names)
            lines = []
            for index in range(min(len(names), rows - first)):
                cell = DIRTY[index % 2] if first + index in wrong else b"%.3f" % temperature[index]
                lines.append(b"%b,%b,%b,%.4f\n" % (at, names[index], cell, vibration[index]))
            file.write(b"".join(lines))
    return path


def _raw(settings: Settings, path: Path) -> float:
    """psql's own \\copy into a typed table without index; a dirty file as text, or it would load nothing."""
    url = settings.require("postgres_owner_url")
    with connect(url, autocommit=True) as conn:
        conn.execute("drop table if exists raw")
        conn.execute(RAW.replace("temperature float8", "temperature text"))
        info = conn.info
        environment = os.environ | {"PGPASSWORD": info.password}
        address = ["-h", info.host, "-p", str(info.port), "-U", info.user, "-d", info.dbname]
    began = time.perf_counter()
    copy = f"\\copy raw from '{path}' with (format csv, header)"
    subprocess.run([str(binary("psql")), *address, "-v", "ON_ERROR_STOP=1", "-qc", copy], env=environment, check=True)
    return time.perf_counter() - began


def _received(settings: Settings, conn: psycopg.Connection[Any], path: Path) -> Any:
    delivery = Delivery()
    return receive(
        conn, settings, DEFINITIONS, path, dataset="fleet", file_name=path.name, delivery=delivery, channel="upload", by="bench"
    )


def _landed(settings: Settings, path: Path) -> tuple[float, float]:
    """Seconds from the planned batch to its receipt, and the peak memory in MB of a process that did nothing else."""
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        batch_id = _received(settings, conn, path).batch_id
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.landing", "--land", str(batch_id)], check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    return told["seconds"], told["megabytes"]


def _land(batch_id: int) -> dict[str, float]:
    import pgpq  # noqa: F401 - what a run has imported before its first batch
    import pyarrow.compute  # noqa: F401

    settings = Settings(project=Path(__file__).parents[1])
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        began = time.perf_counter()
        receipt = land(conn, settings, DEFINITIONS, batch_id)
        seconds = time.perf_counter() - began
    _whole(receipt)
    print(receipt.stages, file=sys.stderr)
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _whole(receipt: Receipt) -> None:
    if receipt.state not in ("landed", "dry_run") or receipt.received != receipt.loaded + receipt.quarantined:
        raise SystemExit(f"The batch did not land as it should: {receipt.state}, {receipt.error}")


def _again(settings: Settings, path: Path) -> float:
    """Seconds until the same bytes are known to be landed already."""
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        began = time.perf_counter()
        received = _received(settings, conn, path)
        seconds = time.perf_counter() - began
    if not received.already:
        raise SystemExit(f"{path.name} was planned twice")
    return seconds


def _dry(settings: Settings, path: Path, repeat: int) -> float:
    seconds = []
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        for _ in range(repeat):
            began = time.perf_counter()
            _whole(dry_run(conn, settings, DEFINITIONS, path, dataset="fleet", delivery=Delivery()))
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _small(settings: Settings, folder: Path, rows: int) -> float:
    """Seconds to land a hundred waiting files one after the other, as one run does."""
    whole = write(folder / "small.csv", 100 * rows, month=12).read_bytes().splitlines(keepends=True)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        planned = []
        for number in range(100):
            part = folder / f"small{number}.csv"
            part.write_bytes(b"".join([whole[0], *whole[1 + number * rows : 1 + (number + 1) * rows]]))
            planned.append(_received(settings, conn, part).batch_id)
        began = time.perf_counter()
        for batch_id in planned:
            _whole(land(conn, settings, DEFINITIONS, batch_id))
        return time.perf_counter() - began


def _dlt(settings: Settings, paths: Sequence[Path], folder: Path, *, arrow: bool) -> float:
    """Seconds of dlt's merge of the last file into a table that has the others: by its reader of CSV, or fed with Arrow tables,
    its fastest way, which leaves out its own reading and typing."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR", "NORMALIZE__WORKERS": "2"}
    import dlt
    from dlt.sources.filesystem import filesystem, read_csv
    from pyarrow import csv

    name = "arrow" if arrow else "rows"
    pipeline = dlt.pipeline(
        name,
        pipelines_dir=str(folder / "dlt"),
        destination=dlt.destinations.postgres(settings.require("postgres_owner_url")),
        dataset_name=name,
    )
    key = ("machine_id", "sensor_type", "timestamp")
    seconds = 0.0
    for path in paths:
        if arrow:
            rows = dlt.resource(csv.open_csv(path), name="fleet", write_disposition="merge", primary_key=key)
        else:
            files = filesystem(bucket_url=path.parent.as_uri(), file_glob=path.name)
            rows = (files | read_csv()).with_name("fleet").apply_hints(write_disposition="merge", primary_key=key)
        began = time.perf_counter()
        pipeline.run(rows)
        seconds = time.perf_counter() - began
    return seconds


if __name__ == "__main__":
    main()
