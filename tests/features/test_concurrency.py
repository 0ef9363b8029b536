"""Refreshes that meet each other, a landing, or their end at any statement: the same rows, nothing twice (I3, I4, I5)."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import adbc_driver_manager as adbc
import psycopg
import pytest

from millwright.warehouse.commit import next_timestamp
from millwright.warehouse.connect import connect
from millwright.warehouse.tables import create_view_tables
from tests.budget import torture
from tests.features.agreement import agree
from tests.features.oracle import SECOND, Event
from tests.features.plant import BASE, Plant, all_days
from tests.features.test_engine import FEATURES

pytestmark = pytest.mark.property  # `make torture` ends them at every statement
FEW = FEATURES[::4]
DAYS = [None, all_days()] if torture() else [None]
Act = Callable[[psycopg.Connection[Any]], None]


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEW)
    yield made
    made.close()


def minute(machine: int, n: int, value: float) -> Event:
    return Event(f"press-{machine:02}", "press", BASE + n * 60 * SECOND, (("a", value), ("b", value / 2)))


FIRST = [minute(machine, n, float(n * machine)) for machine in range(3) for n in range(0, 20, 2)]
# Late rows, a correction, a machine that was not there.
THEN = [*(minute(1, n, 7.0) for n in range(1, 20, 4)), minute(2, 6, -5.0), minute(4, 3, 1.0)]
ALL = [event for event in FIRST if event.t != minute(2, 6, 0).t or event.key != "press-02"] + THEN


def acting(plant: Plant, boundary: int, act: Act) -> psycopg.Connection[Any]:
    """A connection on which `act` is called once, after its `boundary`th statement."""
    conn = connect(plant.url, autocommit=True)
    seen = itertools.count(1)

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Any:
            done = super().execute(*arguments, **options)
            if next(seen) == boundary:
                act(conn)
            return done

        @contextmanager
        def copy(self, *arguments: Any, **options: Any) -> Iterator[Any]:
            with super().copy(*arguments, **options) as copy:
                yield copy
            if next(seen) == boundary:
                act(conn)

    conn.cursor_factory = Cursor
    return conn


def terminate(plant: Plant) -> Act:
    def act(conn: psycopg.Connection[Any]) -> None:
        ended = plant.conn.execute("select pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,)).fetchone()
        assert ended == (True,)

    return act


def nothing_twice(plant: Plant) -> None:
    """No two versions of a row were ever current at once; what is current is what the view shows."""
    overlapping = plant.conn.execute(
        "select count(*) from features.vitals_v1_history a join features.vitals_v1_history b"
        " using (machine_id, event_timestamp) where a.ctid < b.ctid"
        " and a.created_timestamp < b.superseded_timestamp and b.created_timestamp < a.superseded_timestamp"
    ).fetchone()
    assert overlapping == (0,)


@pytest.mark.parametrize("days", DAYS)
def test_i5_a_backend_that_is_terminated_at_any_boundary_leaves_all_or_nothing(plant: Plant, days: Any):
    plant.deliver(FIRST)
    plant.refresh()
    before, tiles = plant.rows(), plant.tiles()
    plant.deliver(THEN)
    for boundary in itertools.count(1):
        with acting(plant, boundary, terminate(plant)) as conn, suppress(psycopg.OperationalError, adbc.Error):
            plant.refresh(days=days, conn=conn)
        if plant.rows() != before:
            break
        assert plant.tiles() == tiles
    assert boundary > 15  # reads, staging, comparison, versions, tiles, state: it went through all of them
    agree(plant, ALL)
    versions = plant.versions()
    assert plant.refresh().inserted == 0
    assert plant.versions() == versions
    nothing_twice(plant)


@pytest.mark.parametrize("days", DAYS)
def test_i5_a_process_that_is_killed_at_any_boundary_leaves_all_or_nothing(plant: Plant, days: Any):
    plant.deliver(FIRST)
    plant.refresh()
    before, tiles = plant.rows(), plant.tiles()
    plant.deliver(THEN)
    for boundary in itertools.count(2, 1 if torture() else 5):
        child = os.fork()
        if child == 0:
            try:
                plant.refresh(days=days, conn=acting(plant, boundary, lambda _: os.kill(os.getpid(), signal.SIGKILL)))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if plant.rows() != before:
            break
        assert os.WIFSIGNALED(status) and plant.tiles() == tiles
    plant.refresh()
    agree(plant, ALL)
    assert plant.refresh().inserted == 0
    nothing_twice(plant)


@pytest.mark.parametrize("boundary", range(1, 40) if torture() else (2, 6, 12, 18))
def test_i5_a_landing_in_the_middle_of_a_refresh_is_in_the_next(plant: Plant, boundary: int):
    plant.deliver(FIRST)
    landed: list[int] = []

    def land(_: object) -> None:
        plant.deliver(THEN)
        landed.append(boundary)

    with acting(plant, boundary, land) as conn:
        plant.refresh(conn=conn)
    if not landed:  # a refresh has fewer statements
        plant.deliver(THEN)
    plant.refresh()
    agree(plant, ALL)
    assert plant.refresh().inserted == 0
    nothing_twice(plant)


@pytest.mark.parametrize("boundary", range(1, 40) if torture() else (2, 6, 12, 18))
def test_an_apply_waits_for_no_refresh(plant: Plant, boundary: int):
    plant.deliver(FIRST)
    applied: list[int] = []

    def apply(_: object) -> None:
        with connect(plant.url, autocommit=True) as conn:
            conn.execute("set lock_timeout = '2s'")
            create_view_tables(conn, plant.definitions, plant.view)
        applied.append(boundary)

    with acting(plant, boundary, apply) as conn:
        plant.refresh(conn=conn)
    assert applied or boundary > 18  # a refresh has fewer statements
    agree(plant, FIRST)


def test_a_lost_tile_table_is_made_anew_and_not_believed(plant: Plant):
    plant.deliver(FIRST)
    plant.refresh()
    tiles = plant.tiles()
    plant.conn.execute("drop table features.vitals_v1_tiles")
    create_view_tables(plant.conn, plant.definitions, plant.view)
    assert plant.tiles() == []
    plant.deliver(THEN)
    plant.refresh()
    assert len(plant.tiles()) >= len(tiles) > 0
    agree(plant, ALL)


def test_i5_two_refreshes_and_a_backfill_at_once_write_each_row_once(plant: Plant):
    plant.deliver(FIRST)

    def refresh(days: Any) -> int:
        with connect(plant.url, autocommit=True) as conn:
            return plant.refresh(days=days, conn=conn).inserted

    with ThreadPoolExecutor() as pool:
        inserted = list(pool.map(refresh, [None, all_days(), None]))
    assert sum(inserted) == plant.versions() == len(FIRST)
    agree(plant, FIRST)


def test_i5_landings_refreshes_and_backfills_all_at_once(plant: Plant):
    parts = [FIRST[0::3], FIRST[1::3], FIRST[2::3]]

    def work(number: int) -> None:
        with connect(plant.url, autocommit=True) as conn:
            if number < 3:
                plant.deliver(parts[number], conn=conn)
            plant.refresh(days=all_days() if number == 4 else None, conn=conn)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert plant.refresh().inserted == 0
    agree(plant, FIRST)
    nothing_twice(plant)


def test_no_change_is_skipped_when_the_first_to_take_the_clock_commits_last(plant: Plant):
    """The order cannot be turned round: a second transaction gets its time once the first has committed, or has to wait."""
    early, late = FIRST[:5], FIRST[5:]
    with connect(plant.url, autocommit=True) as first, connect(plant.url, autocommit=True) as second:
        waiting = threading.Thread(target=lambda: plant.deliver(late, conn=second))
        with first.transaction():
            plant.deliver(early, conn=first)
            taken = next_timestamp(first)
            with (
                pytest.raises(psycopg.errors.LockNotAvailable),
                connect(plant.url, autocommit=True) as third,
                third.transaction(),
            ):
                third.execute("set local lock_timeout = '20ms'")
                next_timestamp(third)
            waiting.start()
            report = plant.refresh()
            assert report.inserted == 0 and report.watermark < taken
        waiting.join(30)
    times = [at for (at,) in plant.conn.execute("select distinct created_timestamp from warehouse.changes order by 1")]
    assert len(times) == 2 and times[0] < taken < times[1]
    plant.refresh()
    agree(plant, FIRST)
