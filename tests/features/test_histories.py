"""Random histories of deliveries through the real loader (I2, I4, I5): whichever way rows came, the same current rows.

Belongs here: what a history leaves: current rows, versions, clocks. Does not: two at once, kills (test_concurrency.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from millwright.warehouse.connect import connect
from millwright.warehouse.timestamps import to_us
from tests.budget import examples, torture
from tests.features import oracle
from tests.features.agreement import agree
from tests.features.loader import Loader
from tests.features.oracle import SECOND, Event, Wanted
from tests.features.plant import BASE, Plant, all_days
from tests.features.test_engine import AGGREGATES

DAY = 86400
# Every size of tile and window, from 1 s to 90 d; every aggregate over one of them, and in `make torture` over each.
WINDOWS = (1, 7, 60, 600, 90, 3600, 6 * 3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY)
FEATURES = [
    Wanted(f"{aggregate}_{'ab'[(place + shift) % 2]}_{seconds}", aggregate, "ab"[(place + shift) % 2], seconds * SECOND)
    for shift in range(3 if torture() else 1)
    for place, (aggregate, seconds) in enumerate(zip(AGGREGATES, WINDOWS[shift:] + WINDOWS[:shift], strict=True))
]
quick = settings(max_examples=examples(3), deadline=None, suppress_health_check=list(HealthCheck))

# 1e6 ± 1e-3, and what jumps from 0 to 1e7: nothing may be left behind in later windows.
numbers = st.one_of(
    st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x), st.sampled_from([0.0, 1e7]), st.integers(-9, 9).map(float), st.just(1e15)
)
readings = st.fixed_dictionaries({}, optional={"a": numbers, "b": numbers}).filter(bool)
readings = readings.map(lambda found: tuple(sorted(found.items())))
offsets = st.one_of(
    st.integers(0, 40).map(lambda n: n * SECOND // 2),
    st.integers(0, 300).map(lambda n: n * 60 * SECOND),
    st.integers(-100 * DAY, 5 * DAY).map(lambda n: n * SECOND + 1),
)
places = st.tuples(st.sampled_from(["press-01", "press-02", "press-03"]), st.sampled_from(["press", "gauge"]), offsets)


@st.composite
def event_lists(draw: st.DrawFn, most: int = 30) -> list[Event]:
    taken = draw(st.lists(places, min_size=2, max_size=most, unique=True))
    return [Event(key, sensor, BASE + offset, draw(readings)) for key, sensor, offset in taken]


@pytest.fixture
def loader(database: str, tmp_path: Path) -> Iterator[Loader]:
    made = Loader(database, FEATURES, tmp_path)
    yield made
    made.close()


def settled(plant: Plant) -> None:
    """A second refresh writes nothing, an explicit backfill neither."""
    versions = plant.versions()
    for again in (plant.refresh(), plant.refresh(days=all_days())):
        assert (again.inserted, again.superseded) == (0, 0)
    assert plant.versions() == versions


@pytest.mark.property
@quick
@given(events=event_lists(), data=st.data())
def test_i5_one_big_file_many_small_shuffled_with_restarts_and_backfills_come_to_the_same(
    loader: Loader, events: list[Event], data: st.DataObject
):
    loader.reset()
    loader.upload(events)
    loader.refresh()
    agree(loader, events)
    settled(loader)

    loader.reset()
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=5)) | {len(events)})
    for start, end in itertools.pairwise([0, *cuts]):
        loader.upload(shuffled[start:end])
        match data.draw(st.sampled_from(["wait", "refresh", "restart", "backfill", "twice"])):
            case "refresh":
                loader.refresh()
            case "restart":  # nothing is kept but what the database holds
                with connect(loader.url, autocommit=True) as conn:
                    loader.refresh(conn=conn)
            case "backfill":
                loader.refresh(days=all_days())
            case "twice":
                loader.upload(shuffled[start:end])
    loader.refresh()
    agree(loader, events)
    settled(loader)


@pytest.mark.property
@quick
@given(events=event_lists(20), data=st.data())
def test_i5_after_corrections_and_undos_the_rows_are_those_of_what_is_left(
    loader: Loader, events: list[Event], data: st.DataObject
):
    loader.reset()
    half = len(events) // 2
    batches = [loader.upload(events[:half] or events), loader.upload(events[half:])]
    loader.refresh()
    for _ in range(data.draw(st.integers(1, 5))):
        there = loader.landed()
        match data.draw(st.sampled_from(["correct", "undo", "add", "backfill"])):
            case "correct" if there:
                old = data.draw(st.sampled_from(sorted(there, key=repr)))
                new = Event(old.key, old.sensor_type, old.t, tuple((name, data.draw(numbers)) for name, _ in old.readings))
                batches.append(loader.upload([new], correction=True))
            case "undo" if batches:
                loader.take_back(batches.pop(data.draw(st.integers(0, len(batches) - 1))))
            case "add":
                fresh = data.draw(
                    places.filter(lambda p: (p[0], p[1], BASE + p[2]) not in {(e.key, e.sensor_type, e.t) for e in events})
                )
                batches.append(loader.upload([Event(fresh[0], fresh[1], BASE + fresh[2], data.draw(readings))], correction=True))
            case "backfill":
                loader.refresh(days=all_days())
        if data.draw(st.booleans()):
            loader.refresh()
    loader.refresh()
    agree(loader, loader.landed())
    settled(loader)


@pytest.mark.property
@quick
@given(data=st.data())
def test_i4_every_version_that_was_current_can_be_read_back_and_says_since_when_it_was_known(
    database_plant: Plant, data: st.DataObject
):
    """Whole numbers: two values are equal, or further apart than any tolerance. Deliveries are refreshed by themselves."""
    plant = database_plant
    plant.reset()
    state: dict[tuple[Any, ...], Event] = {}
    seen: list[tuple[datetime, dict[Any, Any]]] = []
    known: dict[Any, datetime] = {}
    before: dict[Any, Any] = {}
    for _ in range(data.draw(st.integers(2, 6))):
        created = deliver(plant, state, data)
        plant.refresh()
        now = plain(oracle.rows(list(state.values()), plant.features))
        known = {place: created if before.get(place) != row else known[place] for place, row in now.items()}
        before = now
        rows = plant.rows()
        assert {place: row["known_timestamp"] for place, row in rows.items()} == known
        clock = plant.conn.execute(
            "select max(greatest(created_timestamp, nullif(superseded_timestamp, 'infinity'))) from features.vitals_v1_history"
        ).fetchone()[0]
        seen.append((clock, rows))
    for clock, rows in seen:
        assert as_of(plant, clock) == {place: picked(plant, row) for place, row in rows.items()}


@pytest.mark.property
@quick
@given(data=st.data())
def test_known_is_never_earlier_than_what_the_row_took_in(database_plant: Plant, data: st.DataObject):
    """Several deliveries in one refresh: the newest that made a row what it is, or a later one that touched it."""
    plant = database_plant
    plant.reset()
    state: dict[tuple[Any, ...], Event] = {}
    stored: dict[Any, Any] = {}
    floor: dict[Any, datetime] = {}
    for _ in range(data.draw(st.integers(1, 3))):
        newest: dict[Any, datetime] = {}
        step = stored
        for _ in range(data.draw(st.integers(1, 3))):
            created = deliver(plant, state, data)
            now = plain(oracle.rows(list(state.values()), plant.features))
            newest |= {place: created for place, row in now.items() if step.get(place) != row}
            step = now
        plant.refresh()
        floor = {place: newest[place] if stored.get(place) != row else floor[place] for place, row in step.items()}
        stored = step
        rows = plant.rows()
        assert rows.keys() == floor.keys()
        assert all(rows[place]["known_timestamp"] >= floor[place] for place in rows)


@pytest.fixture
def database_plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES)
    yield made
    made.close()


def deliver(plant: Plant, state: dict[tuple[Any, ...], Event], data: st.DataObject) -> datetime:
    """Some new or changed rows of whole numbers, some gone."""
    whole = st.fixed_dictionaries({}, optional=dict.fromkeys("ab", st.integers(-9, 9).map(float)))
    gone = data.draw(st.sets(st.sampled_from(sorted(state)), max_size=2)) if state else set()
    out = [state.pop(place) for place in sorted(gone)]
    taken = data.draw(
        st.lists(places.filter(lambda p: (p[0], p[1], BASE + p[2]) not in gone), min_size=1, max_size=4, unique=True)
    )
    new = [Event(key, kind, BASE + at, tuple(sorted(data.draw(whole).items()))) for key, kind, at in taken]
    state |= {(event.key, event.sensor_type, event.t): event for event in new}
    return plant.deliver(new, gone=out)


def picked(plant: Plant, row: dict[str, Any]) -> tuple[Any, ...]:
    return row["created_timestamp"], row["known_timestamp"], *(row[feature.name] for feature in plant.features)


def as_of(plant: Plant, clock: datetime) -> dict[Any, tuple[Any, ...]]:
    """The versions that were current at `clock`."""
    names = ["machine_id", "event_timestamp", "created_timestamp", "known_timestamp", *(f.name for f in plant.features)]
    found = plant.conn.execute(
        sql.SQL("select {} from features.vitals_v1_history where created_timestamp <= %s and superseded_timestamp > %s").format(
            sql.SQL(", ").join(map(sql.Identifier, names))
        ),
        (clock, clock),
    )
    return {(key, to_us(at)): tuple(rest) for key, at, *rest in found}


def plain(rows: dict[Any, dict[str, tuple[Any, float]]]) -> dict[Any, tuple[Any, ...]]:
    return {place: tuple(value for value, _ in row.values()) for place, row in rows.items()}
