"""How long the whole way takes: a file is closed in the inbox, or messages are committed, until Redis serves their values.

Belongs here: the shipped project on real servers, through sensor and run. Does not: the stages by themselves (landing, features).
Usage: python -m benchmarks.path [--rows 100000] [--messages 500] [--repeat 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks._measure import figure, show
from millwright.online.read import read_online
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from millwright.settings import Settings
from millwright.simulation import messages, write_csv
from millwright.stack.server import free_port
from millwright.stack.up import Stack

MACHINES, TOPIC, PATIENCE = 100, "telemetry", 120.0


def main() -> None:
    """Start the shipped project in a state folder of its own, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    project = Path(__file__).parents[1]
    home = Path(tempfile.mkdtemp(prefix="millwright-bench-"))
    os.environ |= {
        "MILLWRIGHT_WEBSERVER_PORT": str(free_port()),
        "MILLWRIGHT_API_PORT": str(free_port()),
        "MILLWRIGHT_HOME": str(home),
        "MILLWRIGHT_INBOX": str(home / "inbox"),
    }
    stack = Stack(Settings(project=project))
    try:
        stack.up()
        settings = Settings(project=project)
        apply(settings, by="benchmark")
        with open_platform(settings) as platform:
            files = [_file(platform, home, arguments.rows, number) for number in range(arguments.repeat + 1)][1:]
            kafka = [_messages(platform, arguments.messages, number) for number in range(arguments.repeat + 1)][1:]
    finally:
        stack.down()
        shutil.rmtree(home)
    of = f"median of {arguments.repeat}"
    for measure, seconds in (
        (f"{arguments.rows} rows, file closed until served, {of}", files),
        (f"{arguments.messages} messages, committed until served, {of}", kafka),
    ):
        show(figure("path", measure, statistics.median(seconds), "s", "lower", goal=5), arguments.json)


def _file(platform: Platform, home: Path, rows: int, number: int) -> float:
    """Seconds from the rename into the inbox until the last instant of the file is what Redis serves. Day by day, ascending."""
    day = datetime.now(UTC).date() - timedelta(days=20 - number)
    interval = max(1, 86_400 * MACHINES // rows)
    (file,) = write_csv(home / "made", day, day, machines=MACHINES, interval=interval)
    last = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=86_399 // interval * interval)
    target = platform.settings.inbox / "fleet" / file.path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    file.path.rename(target)
    return _served(platform, last) - began


def _messages(platform: Platform, count: int, number: int) -> float:
    """Seconds from the producer's commit until the last message's instant is what Redis serves."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    bootstrap = platform.settings.require("kafka_bootstrap")
    if number == 0:
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for created in admin.create_topics([NewTopic(TOPIC, 1, 1)]).values():
            created.result(30)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=2) + timedelta(hours=4 * number)
    rows = list(messages(start, start + timedelta(hours=3), MACHINES))[:count]
    last = max(datetime.fromisoformat(str(row["timestamp"])) for row in rows if row["machine_id"] == "press-01")
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for row in rows:
        producer.produce(TOPIC, json.dumps(row).encode())
    producer.flush()
    began = time.monotonic()
    return _served(platform, last) - began


def _served(platform: Platform, last: datetime) -> float:
    """The moment at which press-01's served row is that of `last`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = read_online(
            platform.conn,
            platform.redis,
            platform.definitions,
            ["machine_vitals_v1:temperature_last"],
            [{"machine_id": "press-01"}],
            project=platform.settings.feast_project,
        )
        if answer.rows[0].features["machine_vitals_v1:temperature_last"].event_timestamp == last:
            return time.monotonic()
        time.sleep(0.02)
    raise SystemExit(f"{last} was not served within {PATIENCE:.0f} s: see `millwright batches` and the Dagster run")


if __name__ == "__main__":
    main()
