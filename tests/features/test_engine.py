"""The engine against the brute-force oracle (I5), on the real warehouse: any order, any cut, any repetition of deliveries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.warehouse.timestamps import from_us, to_us
from tests.budget import examples, torture
from tests.features.agreement import agree
from tests.features.oracle import Event, Wanted
from tests.features.plant import BASE, Plant, all_days

SECOND = 1_000_000
WINDOWS = [1, 90, 3600, 6 * 3600, 7 * 86400]
AGGREGATES = ("count", "sum", "mean", "min", "max", "range", "stddev", "first", "last", "slope", "age")
COMBINATIONS = [*zip("aabab", WINDOWS, strict=True), ("b", 90)]
FEATURES = [
    Wanted(f"{aggregate}_{reading}_{seconds}", aggregate, reading, seconds * SECOND)
    for place, aggregate in enumerate(AGGREGATES)
    for number, (reading, seconds) in enumerate(COMBINATIONS)
    # Every aggregate over two of the combinations, every combination by some: a run costs by the feature. All in `make torture`.
    if (place // 3 + number) % 3 == 0 or torture()
]
quick = settings(max_examples=examples(8), deadline=None, suppress_health_check=list(HealthCheck))

numbers = st.one_of(
    st.integers(-5, 5).map(float),
    st.floats(-1e-3, 1e-3).map(lambda x: 1e6 + x),
    st.sampled_from([0.0, -0.0, 1e7, -1e7, 1e-300, 1e15]),
)
readings = st.dictionaries(st.sampled_from("ab"), numbers, max_size=2).map(lambda found: tuple(sorted(found.items())))
offsets = st.one_of(
    st.integers(0, 30).map(lambda n: n * SECOND // 2),
    st.integers(0, 200).map(lambda n: n * 60 * SECOND),
    st.integers(-5 * 86400, 5 * 86400).map(lambda n: n * SECOND + 1),
)


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """Rows with unique (key, sensor type, time)."""
    keys = st.tuples(st.sampled_from(["press-01", "press-02"]), st.sampled_from(["press", "gauge"]), offsets)
    taken = draw(st.lists(keys, min_size=1, max_size=25, unique=True))
    return [Event(key, sensor, BASE + offset, draw(readings)) for key, sensor, offset in taken]


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES)
    yield made
    made.close()


@pytest.mark.property
@quick
@given(events=event_lists())
def test_i5_one_delivery_gives_the_oracles_rows(plant: Plant, events: list[Event]):
    plant.reset()
    plant.deliver(events)
    plant.refresh()
    agree(plant, events)


@pytest.mark.property
@quick
@given(events=event_lists(), data=st.data())
def test_i5_any_order_and_any_cut_gives_the_same_rows(plant: Plant, events: list[Event], data: st.DataObject):
    plant.reset()
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=5)) | {len(events)})
    for start, end in itertools.pairwise([0, *cuts]):
        plant.deliver(shuffled[start:end])
        if data.draw(st.booleans()):
            plant.refresh()
    plant.refresh()
    agree(plant, events)
    versions, tiles = plant.versions(), plant.tiles()
    assert plant.refresh().inserted == 0
    again = plant.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)
    assert plant.versions() == versions
    assert [row[:3] for row in plant.tiles()] == [row[:3] for row in tiles]


@pytest.mark.property
@quick
@given(events=event_lists(), data=st.data())
def test_i5_corrections_and_removals_reach_every_row_they_touch(plant: Plant, events: list[Event], data: st.DataObject):
    plant.reset()
    plant.deliver(events)
    plant.refresh()
    state = {(e.key, e.sensor_type, e.t): e for e in events}
    for _ in range(data.draw(st.integers(1, 3))):
        if not state:
            break
        event = data.draw(st.sampled_from(sorted(state.values(), key=repr)))
        if data.draw(st.booleans()):
            changed = Event(event.key, event.sensor_type, event.t, data.draw(readings))
            state[event.key, event.sensor_type, event.t] = changed
            plant.deliver([changed])
        else:
            del state[event.key, event.sensor_type, event.t]
            plant.deliver([], gone=[event])
        plant.refresh()
    agree(plant, list(state.values()))


@pytest.mark.property
@quick
@given(events=event_lists())
def test_tiles_are_a_cache_dropping_them_changes_no_value(plant: Plant, events: list[Event]):
    plant.reset()
    half = len(events) // 2
    plant.deliver(events[:half] or events)
    plant.refresh()
    tiles = plant.versions()
    plant.conn.execute("delete from features.vitals_v1_tiles")
    plant.conn.execute("update features.state set tiles_complete = false")
    plant.deliver(events)
    plant.refresh()
    agree(plant, events)
    assert plant.versions() >= tiles


def test_a_jump_leaves_nothing_behind_in_later_windows(plant: Plant):
    """No partial is ever subtracted: 1e7 leaves a window without a rest."""
    events = [
        Event("press-01", "press", BASE + minute * 60 * SECOND, (("a", 1e7 if minute < 100 else 1e-3),)) for minute in range(300)
    ]
    plant.deliver(events)
    plant.refresh()
    agree(plant, events)


def test_windows_whose_tiles_divide_one_another_or_do_not(database: str):
    """Tiles of 10 s and 15 s stand side by side, those of 1 m and 1 h on 10 s."""
    windows = [600, 900, 3600, 7 * 86400]
    wanted = [
        Wanted(f"{kind}_{seconds}", kind, "a", seconds * SECOND)
        for kind in ("mean", "last", "slope", "age")
        for seconds in windows
    ]
    plant = Plant(database, wanted)
    events = [
        Event("press-01", "press", BASE + n * n * 700_000, (("a", float(n % 11)),) if n % 4 else (("b", 1.0),))
        for n in range(150)
    ]
    plant.deliver(events[::2])
    plant.refresh()
    plant.deliver(events[1::2])
    plant.refresh()
    agree(plant, events)
    plant.close()


def test_only_rows_of_the_views_sensor_type_are_events(database: str):
    plant = Plant(database, FEATURES[:3], sensor_type="press")
    mine = [Event("press-01", "press", BASE + n * SECOND, (("a", float(n)),)) for n in range(5)]
    plant.deliver([*mine, Event("press-01", "gauge", BASE + SECOND, (("a", 99.0),))])
    plant.refresh()
    agree(plant, mine)
    plant.close()


def test_a_late_correction_rewrites_only_its_machines_rows_in_its_reach(plant: Plant):
    day = 86400 * SECOND
    events = [
        Event(key, "press", BASE - 30 * day + n * 6 * 3600 * SECOND, (("a", float(n % 7)), ("b", 1.0)))
        for key in ("press-01", "press-02")
        for n in range(30 * 4)
    ]
    plant.deliver(events)
    plant.refresh()
    before = plant.rows()
    u = BASE - 20 * day
    old = next(e for e in events if e.t == u and e.key == "press-01")
    changed = Event(old.key, old.sensor_type, u, (("a", 50.0), ("b", 1.0)))
    created = plant.deliver([changed])
    report = plant.refresh()
    events[events.index(old)] = changed
    agree(plant, events)
    after = plant.rows()
    rewritten = {place for place in after if after[place] != before[place]}
    reach = 7 * day + 2 * 3600 * SECOND
    assert rewritten and all(key == "press-01" and u <= t < u + reach for key, t in rewritten)
    assert report.inserted == report.superseded == len(rewritten)
    assert report.events_read <= reach // (6 * 3600 * SECOND) + 1
    assert all(row["known_timestamp"] == created for place, row in after.items() if place in rewritten)


def test_a_new_day_reads_the_day_and_tiles_not_the_window(plant: Plant):
    day = 86400 * SECOND
    history = [Event("press-01", "press", BASE - 20 * day + n * 600 * SECOND, (("a", float(n)),)) for n in range(20 * 144)]
    plant.deliver(history)
    plant.refresh()
    new = [Event("press-01", "press", BASE + n * 600 * SECOND, (("a", float(n)),)) for n in range(144)]
    plant.deliver(new)
    report = plant.refresh()
    assert report.inserted == 144
    assert report.events_read == 144
    assert 0 < report.tiles_read < 1000


def test_history_keeps_every_version_that_was_ever_current(plant: Plant):
    event = Event("press-01", "press", BASE, (("a", 1.0),))
    seen = []
    for value in (1.0, 2.0, 3.0):
        plant.deliver([Event(event.key, event.sensor_type, event.t, (("a", value),))])
        plant.refresh()
        (row,) = plant.rows().values()
        seen.append((row["created_timestamp"], row["last_a_90"]))
    for created, value in seen:
        rows = plant.conn.execute(
            "select last_a_90 from features.vitals_v1_history where created_timestamp <= %s and superseded_timestamp > %s",
            (created, created),
        ).fetchall()
        assert rows == [(value,)]
    plant.deliver([], gone=[event])
    report = plant.refresh()
    assert (report.retracted, report.inserted, plant.rows()) == (1, 0, {})
    assert report.days == {from_us(BASE).date(): 1}


def test_known_is_the_newest_delivery_that_the_version_took_in(plant: Plant):
    first = plant.deliver([Event("press-01", "press", BASE, (("a", 1.0),))])
    plant.refresh()
    second = plant.deliver([Event("press-01", "press", BASE + 10 * SECOND, (("a", 5.0),))])
    plant.refresh()
    known = {t: row["known_timestamp"] for (_, t), row in plant.rows().items()}
    assert known == {BASE: first, BASE + 10 * SECOND: second}
    unchanged = plant.deliver([Event("press-01", "press", BASE, (("a", 1.0),))])
    plant.refresh()
    assert unchanged not in {row["known_timestamp"] for row in plant.rows().values()}


def test_a_value_of_another_type_is_no_value(plant: Plant):
    plant.deliver([Event("press-01", "press", BASE, (("a", 1.0),)), Event("press-01", "press", BASE + 1, (("a", "hot"),))])  # type: ignore[arg-type]
    plant.refresh()
    assert plant.rows()["press-01", BASE + 1]["count_a_21600"] == 1


def test_chunks_do_not_change_values(database: str):
    plant = Plant(database, FEATURES, refresh_rows_per_chunk=400)
    events = [
        Event(f"press-{machine:02}", "press", BASE + n * 60 * SECOND, (("a", float(n * machine)),))
        for machine in range(7)
        for n in range(20)
    ]
    plant.deliver(events)
    plant.refresh()
    agree(plant, events)
    assert plant.refresh(days=(from_us(BASE).date(), from_us(BASE).date() + timedelta(days=1))).inserted == 0
    assert to_us(plant.conn.execute("select refresh_watermark from features.state").fetchone()[0]) > 0
    plant.close()
