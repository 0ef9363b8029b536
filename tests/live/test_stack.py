"""With the real daemon, webserver, Postgres, Redis and Kafka: what arrives is served, backfills complete, lost runs are made good."""

from __future__ import annotations

import json
import os
import signal
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from tests.dagster.conftest import HEADER, rows
from tests.live.up import TERMINATE, Up, until

pytestmark = [pytest.mark.xdist_group("live"), pytest.mark.kafka]
DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
VIEW = "machine_vitals_v1"


def tag(run: dict, name: str) -> str | None:
    return next((one["value"] for one in run["tags"] if one["key"] == name), None)


def served(live: Up, machine: str, expected: float, at: datetime) -> bool:
    value = live.online(machine, "temperature_last", at)
    return value is not None and abs(value - expected) < 1e-9


def test_a_dropped_file_is_served(live: Up):
    live.drop("a.csv", [HEADER, *rows("press-01", DAY, 30)])
    until(lambda: served(live, "press-01", 22.9, DAY + timedelta(hours=1)), "the file's last temperature is not served")
    # The platform is shared: other tests mark days of their own, but nobody touches this day's neighbours.
    near = {"2026-02-28", "2026-03-01", "2026-03-02"}
    for key in (("warehouse", "measurements"), ("features", VIEW), ("online", VIEW)):
        until(lambda key=key: live.days(*key) & near, f"{key} is not marked")  # Redis has it before the event log
        assert live.days(*key) & near == {"2026-03-01"}
    run_id = next(mark["runId"] for mark in live.marks("online", VIEW) if mark["partition"] == "2026-03-01")
    run = until(
        lambda: next((one for one in live.runs() if one["runId"] == run_id and one["status"] == "SUCCESS"), None), "no success"
    )
    assert tag(run, "millwright/plan")
    assert tag(run, "dagster/sensor_name") == "planner"


def test_kafka_messages_are_served(live: Up):
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

    bootstrap = live.settings.require("kafka_bootstrap")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic("telemetry", 2, 1)]).values():
        created.result(30)
    producer = Producer({"bootstrap.servers": bootstrap})
    start = DAY + timedelta(days=2)
    for minute in range(20):
        message = {
            "timestamp": (start + timedelta(minutes=minute)).isoformat(),
            "machine_id": "press-07",
            "sensor_type": "press",
            "temperature": 30 + minute,
        }
        producer.produce("telemetry", json.dumps(message).encode(), key=b"press-07")
    producer.flush(30)
    until(lambda: served(live, "press-07", 49.0, start + timedelta(hours=1)), "the last message's temperature is not served")
    until(lambda: "2026-03-03" in live.days("online", VIEW), "the day is not marked")


def test_a_backfill_of_two_days_completes(live: Up):
    backfill = live.backfill(["2026-02-01", "2026-02-02"], ("features", VIEW), ("online", VIEW))
    assert backfill["status"] == "COMPLETED_SUCCESS", backfill
    assert {"2026-02-01", "2026-02-02"} <= live.days("features", VIEW) & live.days("online", VIEW)
    assert len(backfill["runs"]) == 1  # a month of days is one run


def test_feast_follows_the_definitions_once(live: Up):
    runs = until(
        lambda: [run for run in live.runs() if tag(run, "dagster/sensor_name") == "definitions" and run["endTime"]],
        "the definitions were not registered",
        120,
    )
    assert [run["status"] for run in runs] == ["SUCCESS"]


def test_a_killed_run_is_made_good(live: Up):
    """Its process dies without a word; run monitoring notices, and the planner asks for the rest under the next attempt."""
    day = DAY + timedelta(days=10)
    many = [row for machine in range(60) for row in rows(f"press-{machine:03}", day, 500)]
    live.drop("big.csv", [HEADER, *many])

    def process() -> psutil.Process | None:
        for run in live.runs(limit=3, pipelineName="refresh", statuses=["STARTED"]):
            if found := tag(run, "millwright/process"):
                return psutil.Process(int(found.split("@")[0]))
        return None

    os.kill(until(process, "no run was started by the runner").pid, signal.SIGKILL)
    until(lambda: served(live, "press-059", 69.9, day + timedelta(hours=9)), "the rest was not made good", 120)
    with live.platform() as platform:
        (state,) = platform.conn.execute("select state, received from landing.batches where file_name = 'big.csv'").fetchall()
    assert state == ("landed", 30_000)


def test_a_run_can_be_terminated(live: Up):
    day = DAY + timedelta(days=20)
    many = [row for machine in range(60) for row in rows(f"press-{machine:03}", day, 500)]
    before = {run["runId"] for run in live.runs()}
    live.drop("long.csv", [HEADER, *many])

    def started() -> str | None:
        found = live.runs(limit=3, pipelineName="refresh", statuses=["STARTED"])
        return next((run["runId"] for run in found if run["runId"] not in before), None)

    run = until(started, "no run was started")
    assert live.ask(TERMINATE, id=run)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    until(lambda: live.runs(runIds=[run], statuses=["CANCELED"]), "the run was not cancelled")
    until(lambda: served(live, "press-059", 69.9, day + timedelta(hours=9)), "the rest was not made good", 120)
