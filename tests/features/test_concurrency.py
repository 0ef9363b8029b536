"""Refreshes that meet each other, a landing, or their end: the same rows, nothing twice, no change skipped (I5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from millwright.warehouse import history
from millwright.warehouse.connect import connect
from tests.features.oracle import Event
from tests.features.plant import BASE, Plant, all_days
from tests.features.test_engine import FEATURES, SECOND, agree

EVENTS = [
    Event(f"press-{machine:02}", "press", BASE + n * 60 * SECOND, (("a", float(n * machine)), ("b", 1.5)))
    for machine in range(4)
    for n in range(15)
]


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES)
    yield made
    made.close()


def test_i5_two_refreshes_and_a_backfill_at_once_write_each_row_once(plant: Plant):
    plant.deliver(EVENTS)

    def refresh(days: object) -> int:
        with connect(plant.url, autocommit=True) as conn:
            return plant.refresh(days=days, conn=conn).inserted  # type: ignore[arg-type]

    with ThreadPoolExecutor() as pool:
        inserted = list(pool.map(refresh, [None, all_days(), None]))
    assert sum(inserted) == plant.versions() == len(EVENTS)
    agree(plant, EVENTS)


def test_i5_a_landing_that_commits_after_a_refresh_read_the_log_is_not_skipped(plant: Plant):
    plant.deliver(EVENTS[:20])
    with connect(plant.url, autocommit=True) as other:
        with other.transaction():
            plant.deliver(EVENTS[20:], conn=other)
            assert plant.refresh().inserted == 20
        assert plant.refresh().inserted == len(EVENTS) - 20
    agree(plant, EVENTS)


def test_i5_a_killed_refresh_leaves_nothing_and_the_next_does_it_all(plant: Plant):
    plant.deliver(EVENTS)
    child = os.fork()
    if child == 0:
        try:
            history.finish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # everything is written, nothing committed
            plant.refresh(conn=connect(plant.url, autocommit=True))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert plant.versions() == 0 and plant.tiles() == []
    assert plant.refresh().inserted == len(EVENTS)
    agree(plant, EVENTS)
