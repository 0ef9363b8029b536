"""A view's history reaches Redis: corrections, undo, removal, return; and a run that dies anywhere is made good by the next."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis

from millwright.online import publish as module
from millwright.online import stores
from millwright.warehouse.connect import connect
from tests.online.conftest import NOON, Online

HOUR = timedelta(hours=1)


def test_rows_are_published_once(online: Online) -> None:
    assert online.unpublished() == []
    online.history.put(["press-1"], NOON - HOUR, temperature_last=1.0)
    online.history.put(["press-1"], NOON, temperature_last=2.0, readings_count_1h=7)
    last = online.history.put(["press-2"], NOON, temperature_last=3.0)
    assert online.unpublished() == ["machine_vitals_v1"]
    report = online.publish()
    assert (report.entities, report.written, report.older, report.equal, report.removed) == (2, 2, 0, 0, 0)
    assert report.days == {date(2026, 3, 1): 2}
    assert (report.first_event, report.last_event, report.order) == (NOON, NOON, last)
    assert len(report.preview) == 2
    assert report.bytes > 0
    assert online.unpublished() == []
    assert online.value("press-1").value == 2.0
    assert online.value("press-1", "readings_count_1h").value == 7
    again = online.publish()
    assert (again.entities, again.written) == (0, 0)


def test_i4_a_correction_of_the_latest_row_reaches_redis(online: Online) -> None:
    """Feast #2795: an equal event time is skipped there, so a corrected value never arrives."""
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    online.history.put(["press-1"], NOON, temperature_last=1.5)
    assert online.publish().written == 1
    assert online.value("press-1").value == 1.5


def test_i4_an_undo_of_the_newest_row_brings_the_one_before_back(online: Online) -> None:
    online.history.put(["press-1"], NOON - HOUR, temperature_last=1.0)
    online.history.put(["press-1"], NOON, temperature_last=2.0)
    online.publish()
    online.history.retract(["press-1"], NOON)
    online.publish()
    found = online.value("press-1")
    assert (found.value, found.event_timestamp) == (1.0, NOON - HOUR)


def test_i4_removal_and_return(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    online.history.retract(["press-1"], NOON)
    assert online.publish().removed == 1
    assert online.value("press-1").status == "NOT_FOUND"
    online.history.put(["press-1"], NOON - HOUR, temperature_last=4.0)
    online.publish()
    assert online.value("press-1").value == 4.0


def test_a_correction_of_an_older_row_sends_the_latest_again(online: Online) -> None:
    online.history.put(["press-1"], NOON - HOUR, temperature_last=1.0)
    online.history.put(["press-1"], NOON, temperature_last=2.0)
    online.publish()
    online.history.put(["press-1"], NOON - HOUR, temperature_last=9.0)
    assert online.publish().written == 1
    assert online.value("press-1").value == 2.0


def test_i4_a_publish_of_an_older_snapshot_changes_nothing(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second publisher's snapshot is taken before a correction and written after it."""
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    write = module.write

    def late(client: redis.Redis, *rest: Any) -> Any:
        monkeypatch.setattr(module, "write", write)
        with connect(online.settings.require("postgres_url"), autocommit=True) as other:
            online.history.conn, mine = other, online.history.conn
            online.history.put(["press-1"], NOON, temperature_last=2.0)
            online.history.conn = mine
            stores_lock = stores.publish_lock
            monkeypatch.setattr(stores, "publish_lock", lambda *_: _nothing())
            module.publish(other, client, online.definitions, online.view, project="millwright")
            monkeypatch.setattr(stores, "publish_lock", stores_lock)
        return write(client, *rest)

    monkeypatch.setattr(module, "write", late)
    assert online.publish().older == 1
    assert online.value("press-1").value == 2.0


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("when", ["before any row", "in the middle", "before the watermark"])
def test_i4_a_run_that_dies_is_made_good_by_the_next(online: Online, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    for index in range(5):
        online.history.put([f"press-{index}"], NOON, temperature_last=float(index))
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    write, move, sent = module.write, stores.move_watermark, []

    def dying_write(*arguments: Any) -> Any:
        if when == "before any row" or (when == "in the middle" and len(sent) > 2):
            raise KeyboardInterrupt
        sent.append(1)
        return write(*arguments)

    def dying_move(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write", dying_write)
    monkeypatch.setattr(stores, "move_watermark", dying_move)
    with pytest.raises(KeyboardInterrupt):
        online.publish()
    monkeypatch.setattr(module, "write", write)
    monkeypatch.setattr(stores, "move_watermark", move)
    online.history.put(["press-4"], NOON, temperature_last=40.0)
    assert online.unpublished() == ["machine_vitals_v1"]
    assert online.publish().entities == 5
    assert [online.value(f"press-{index}").value for index in range(5)] == [0.0, 1.0, 2.0, 3.0, 40.0]


def test_an_emptied_redis_is_a_new_store_and_is_filled_whole(online: Online) -> None:
    for index in range(3):
        online.history.put([f"press-{index}"], NOON, temperature_last=float(index))
    before = online.publish()
    online.redis.flushall()
    assert online.unpublished() == ["machine_vitals_v1"]
    after = online.publish()
    assert after.store_id != before.store_id
    assert after.written == 3
    assert online.value("press-2").value == 2.0


def test_a_redis_that_lost_its_newest_writes_gets_them_again(online: Online) -> None:
    """A crash before the log was on disk takes the newest writes, the watermark first."""
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    earlier = online.redis.hget(stores.state_key("millwright"), "machine_vitals_v1")
    online.history.put(["press-2"], NOON, temperature_last=2.0)
    online.publish()
    online.redis.delete(next(key for key in online.redis.scan_iter() if b"press-2" in key))
    online.redis.hset(stores.state_key("millwright"), "machine_vitals_v1", earlier)
    assert online.unpublished() == ["machine_vitals_v1"]
    online.publish()
    assert online.value("press-2").value == 2.0


def test_i7_a_redis_emptied_in_the_middle_is_no_success(online: Online, monkeypatch: pytest.MonkeyPatch) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    write = module.write

    def emptied(client: redis.Redis, *rest: Any) -> Any:
        done = write(client, *rest)
        client.flushall()
        return done

    monkeypatch.setattr(module, "write", emptied)
    with pytest.raises(module.StoreChanged, match="the next publish fills the new store"):
        online.publish()
    monkeypatch.setattr(module, "write", write)
    assert online.publish().written == 1


def test_full_and_days_send_again(online: Online) -> None:
    online.history.put(["press-1"], NOON - timedelta(days=1), temperature_last=0.5)
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.history.put(["press-2"], NOON - timedelta(days=3), temperature_last=2.0)
    online.publish()
    assert online.publish(full=True).equal == 2
    yesterday = date(2026, 2, 28)
    of_a_day = online.publish(days=(yesterday, yesterday))
    assert (of_a_day.entities, of_a_day.equal) == (1, 1)
    assert online.value("press-1").value == 1.0
    online.redis.flushall()
    online.publish(days=(yesterday, yesterday))
    assert online.unpublished() == ["machine_vitals_v1"], "a range of days says nothing about the others"


def test_one_publish_of_a_view_at_a_time(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    store = stores.store_id(online.redis, "millwright")
    done = threading.Event()
    with connect(online.settings.require("postgres_url"), autocommit=True) as other:

        def second() -> None:
            module.publish(other, online.redis, online.definitions, online.view, project="millwright")
            done.set()

        with stores.publish_lock(online.conn, "machine_vitals_v1", store):
            thread = threading.Thread(target=second)
            thread.start()
            waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            while online.conn.execute(waiting).fetchone() == (0,):
                assert not done.is_set()
        thread.join(30)
    assert done.is_set()


def test_the_connection_comes_back_as_it_was(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    assert online.conn.isolation_level is None
    assert online.conn.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_rows_before_1970_and_odd_keys(online: Online) -> None:
    machine = "pressé / 7 \x01*[?"
    online.history.put([machine], datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC), temperature_last=1.0)
    online.publish()
    found = online.value(machine, now=datetime(1970, 1, 1, tzinfo=UTC))
    assert (found.value, found.event_timestamp) == (1.0, datetime(1969, 12, 31, 23, 59, 59, 250_000, tzinfo=UTC))
