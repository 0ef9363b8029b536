"""Delivered again, killed, at once: the same state (I2), all or nothing (I3), order of commit = order of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psycopg
import pytest

from millwright.landing import batches
from millwright.landing.batches import NotReplayable, UnknownBatch, assign_plan, replay, waiting
from millwright.landing.load import land
from millwright.landing.mapping import Delivery, settings_hash
from millwright.warehouse import commit, ledger
from millwright.warehouse.connect import connect
from tests.landing.conftest import DEFINITIONS, HEADER, Plant, counts

TEXT = f"{HEADER}temperature\n2026-03-01T00:00:00Z,m,press,1\n2026-03-01T00:00:00Z,m,press,2\n2026-03-01T00:01:00Z,m,press,x\n"
LAND = """
import sys
from millwright.landing.load import land
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests.landing.conftest import DEFINITIONS
with connect(sys.argv[1], autocommit=True) as conn:
    print(land(conn, Settings(project=sys.argv[2]), DEFINITIONS, int(sys.argv[3])).state)
"""


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_I2_the_same_delivery_is_planned_and_landed_once(plant: Plant) -> None:
    first = plant.receive(TEXT)
    assert (first.already, first.state) == (False, "planned")
    again = plant.receive(TEXT, name="other name.csv")
    assert (again.already, again.batch_id, again.state) == (True, first.batch_id, "planned")
    done = land(plant.conn, plant.settings, plant.definitions, first.batch_id, run_id="run")
    before = plant.state()
    assert plant.receive(TEXT).state == "landed"
    assert land(plant.conn, plant.settings, plant.definitions, first.batch_id, run_id="other") == done
    assert plant.state() == before
    assert plant.rows("select count(*), max(attempts) from landing.batches") == [(1, 1)]
    assert len([path for path in plant.settings.zone.rglob("*") if path.is_file()]) == 1


def test_other_settings_are_another_delivery(plant: Plant) -> None:
    one = plant.land(TEXT)
    other = plant.land(TEXT, historical=True)
    assert other.batch_id != one.batch_id
    assert counts(other) == (3, 0, 0, 1, 2)
    assert settings_hash(DEFINITIONS.datasets["fleet"], Delivery()) == one.settings_hash != other.settings_hash


def test_I2_a_planned_twin_of_a_landed_batch_is_refused(plant: Plant) -> None:
    one = plant.receive(TEXT)
    twin = ledger.plan_file(
        plant.conn, source="upload", dataset="fleet", file_name="x", sha256=one.sha256, file_bytes=1, options={}, settings_hash="x", by="test"
    )  # fmt: skip
    plant.land(TEXT)
    before = plant.state()
    refused = land(plant.conn, plant.settings, plant.definitions, twin)
    assert (refused.state, plant.state()) == ("refused", before)
    assert f"Batch {one.batch_id} has landed the same file" in (refused.error or "")


def test_I2_two_receivers_at_once_plan_one_batch(plant: Plant) -> None:
    found: list[int] = []

    def run() -> None:
        with connect(plant.url, autocommit=True) as conn:
            found.append(Plant(conn, plant.settings, plant.url).receive(TEXT).batch_id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_I3_a_landing_killed_in_its_transaction_leaves_nothing_and_lands_later(plant: Plant, tmp_path) -> None:
    received = plant.receive(TEXT)
    before = plant.state()
    with psycopg.connect(plant.url) as holder:
        holder.execute("select * from warehouse.clock for update")  # the landing has written all its rows when it waits for this
        child = subprocess.Popen([sys.executable, "-c", LAND, plant.url, str(tmp_path), str(received.batch_id)])
        try:
            blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like %s"
            until(lambda: plant.rows(blocked, "%warehouse.clock%")[0][0] == 1)
            assert plant.rows("select state, attempts from landing.batches") == [("landing", 1)]
            assert waiting(plant.conn, 10) == []
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
        holder.rollback()
    until(lambda: [batch.batch_id for batch in waiting(plant.conn, 10)] == [received.batch_id])
    assert plant.state() == before
    assert waiting(plant.conn, 10)[0].state == "landing"
    assert counts(land(plant.conn, plant.settings, plant.definitions, received.batch_id)) == (3, 1, 0, 0, 2)


def test_I3_a_failure_at_the_last_statement_undoes_all_and_is_retried(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    received = plant.receive(TEXT)
    before = plant.state()
    with monkeypatch.context() as patched:

        def full(*_: object, **__: object) -> None:
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")

        patched.setattr(commit, "append_changes", full)
        failed = land(plant.conn, plant.settings, plant.definitions, received.batch_id)
    assert (failed.state, plant.state()) == ("failed", before)
    assert "No space left" in (failed.error or "")
    assert [batch.attempts for batch in waiting(plant.conn, 10)] == [1]
    assert counts(land(plant.conn, plant.settings, plant.definitions, received.batch_id)) == (3, 1, 0, 0, 2)


def test_a_program_fault_is_failed_and_not_stuck(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    received = plant.receive(TEXT)
    with monkeypatch.context() as patched:
        patched.setattr("millwright.landing.staged.Staged._numbers", lambda *_: 1 / 0)
        assert "fault in the program" in (land(plant.conn, plant.settings, plant.definitions, received.batch_id).error or "")
    assert counts(land(plant.conn, plant.settings, plant.definitions, received.batch_id)) == (3, 1, 0, 0, 2)


def test_two_batches_at_once_for_the_same_rows_wait_for_each_other(plant: Plant) -> None:
    rows = [f"2026-03-01T00:{i // 60:02d}:{i % 60:02d}Z,m{i % 7},press,{{}}" for i in range(1500)]
    texts = [
        f"{HEADER}temperature\n" + "\n".join(row.format(i % 5) for i, row in enumerate(rows)),
        f"{HEADER}temperature\n" + "\n".join(reversed([row.format(i % 5 if i % 2 else 9) for i, row in enumerate(rows)])),
        f"{HEADER}vibration\n" + "\n".join(row.format(1) for row in rows),
        f"{HEADER}vibration\n" + "\n".join(reversed([row.format(1) for row in rows])),
    ]
    ids = [plant.receive(text).batch_id for text in texts]
    done = {}
    start = threading.Barrier(len(ids))

    def run(batch_id: int) -> None:
        with connect(plant.url, autocommit=True) as conn:
            start.wait()
            done[batch_id] = land(conn, plant.settings, plant.definitions, batch_id)

    threads = [threading.Thread(target=run, args=(batch_id,)) for batch_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    receipts = [done[batch_id] for batch_id in ids]
    assert [receipt.state for receipt in receipts] == ["landed"] * 4, [receipt.error for receipt in receipts]
    temperature, vibration = receipts[:2], receipts[2:]
    assert sum(receipt.loaded for receipt in temperature) == 1500
    assert sum(receipt.quarantined for receipt in temperature) == sum(1 for i in range(1500) if not i % 2)
    assert (sum(receipt.loaded for receipt in vibration), sum(receipt.duplicate for receipt in vibration)) == (1500, 1500)
    assert all(row.keys() == {"temperature", "vibration"} for row in plant.measurements().values())
    order = sorted(receipts, key=lambda receipt: receipt.created_timestamp)
    assert len({receipt.created_timestamp for receipt in order}) == 4


def test_one_batch_landed_by_two_runs_at_once_lands_once(plant: Plant) -> None:
    received = plant.receive(TEXT)
    done = []

    def run() -> None:
        with connect(plant.url, autocommit=True) as conn:
            done.append(land(conn, plant.settings, plant.definitions, received.batch_id))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counts(receipt) for receipt in done] == [(3, 1, 0, 0, 2)] * 3
    assert plant.rows("select attempts from landing.batches") == [(1,)]


def test_plans_replays_and_the_list(plant: Plant) -> None:
    received = plant.receive(TEXT)
    bad = plant.land(b"", name="empty.csv")
    assign_plan(plant.conn, [received.batch_id], "plan-1", 2)
    (wait,) = waiting(plant.conn, 10)
    assert (wait.batch_id, wait.plan, wait.plan_attempt, wait.state, wait.source) == (
        received.batch_id,
        "plan-1",
        2,
        "planned",
        "upload",
    )
    assert replay(plant.conn, bad.batch_id or 0).state == "planned"
    assert len(waiting(plant.conn, 10)) == 2
    assert len(waiting(plant.conn, 1)) == 1
    with pytest.raises(NotReplayable):
        replay(plant.conn, received.batch_id)
    with pytest.raises(UnknownBatch):
        batches.receipt(plant.conn, 99)
    listed = batches.batches(plant.conn).batches
    assert [(line.batch_id, line.delivery) for line in listed] == [(bad.batch_id, "empty.csv"), (received.batch_id, "file.csv")]
