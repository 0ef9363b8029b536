"""Features over labelled moments inside a view of measurements: the oracle's values whatever comes when, and no row of their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.features.refresh import stale_views
from tests.budget import examples
from tests.features.agreement import agree
from tests.features.oracle import Event, Label, Wanted
from tests.features.plant import BASE, Plant, all_days

SECOND = 1_000_000
DAY = 86400 * SECOND
FEATURES = [
    Wanted("failures_30d", "count", "failure", 30 * DAY, "events"),
    Wanted("since_maintenance", "age", "maintenance", 90 * DAY, "events"),
    Wanted("since_failure", "age", "failure", 90 * SECOND, "events"),
    Wanted("failures_1h", "count", "failure", 3600 * SECOND, "events"),
    Wanted("a_mean_1h", "mean", "a", 3600 * SECOND),
    Wanted("failure_last", "last", "failure", 3600 * SECOND),  # a reading that is called as a kind
]
offsets = st.one_of(
    st.integers(0, 30).map(lambda n: n * SECOND // 2),
    st.integers(0, 200).map(lambda n: n * 60 * SECOND),
    st.integers(-8, 2).map(lambda n: n * DAY),
)
keys = st.sampled_from(["press-01", "press-02"])
readings = st.dictionaries(st.sampled_from(["a", "failure"]), st.integers(-5, 5).map(float)).map(
    lambda found: tuple(found.items())
)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Event | Label]:
    """Measurements and labels in any order, each (key, word, time) once."""
    taken = draw(st.lists(st.tuples(keys, offsets), min_size=1, max_size=10, unique=True))
    events = [Event(key, "press", BASE + offset, draw(readings)) for key, offset in taken]
    kinds = st.sampled_from(["failure", "maintenance", "inspection"])
    told = draw(st.lists(st.tuples(keys, kinds, offsets), min_size=1, max_size=10, unique=True))
    return draw(st.permutations([*events, *(Label(key, kind, BASE + offset) for key, kind, offset in told)]))


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES)
    yield made
    made.close()


@pytest.mark.property
@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=deliveries(), data=st.data())
def test_i5_events_and_measurements_in_any_order_and_cut(plant: Plant, rows: list[Event | Label], data: st.DataObject):
    plant.reset()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=3)) | {len(rows)})
    for start, end in itertools.pairwise([0, *cuts]):
        plant.deliver(rows[start:end])
        plant.refresh()
    agree(plant, rows)
    gone = data.draw(st.sampled_from(rows))
    plant.deliver([], gone=[gone])
    plant.refresh()
    agree(plant, [row for row in rows if row != gone])
    again = plant.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)


def test_a_late_event_touches_the_rows_that_see_it_and_no_others(plant: Plant):
    rows: list[Event | Label] = [
        Event(key, "press", BASE + hour * 3600 * SECOND, (("a", float(hour)),))
        for key in ("press-01", "press-02")
        for hour in range(-48, 0)
    ]
    plant.deliver(rows)
    plant.refresh()
    before = plant.rows()
    label = Label("press-01", "failure", BASE - 24 * 3600 * SECOND + 1)
    created = plant.deliver([label])
    assert stale_views(plant.conn, plant.definitions) == ["vitals_v1"]
    report = plant.refresh()
    agree(plant, [*rows, label])
    after = plant.rows()
    rewritten = {place for place in after if after[place] != before[place]}
    assert rewritten == {("press-01", event.t) for event in rows if event.key == "press-01" and event.t >= label.t}
    assert report.inserted == len(rewritten) == 23
    assert {after[place]["known_timestamp"] for place in rewritten} == {created}


def test_a_measurement_reaches_as_far_as_features_of_measurements_only(plant: Plant):
    """With a count over 30 days in the view, a late reading still rewrites and reads about an hour, not a month."""
    rows: list[Event | Label] = [
        Event("press-01", "press", BASE + hour * 3600 * SECOND, (("a", 1.0),)) for hour in range(-240, 0)
    ]
    plant.deliver([*rows, Label("press-01", "failure", BASE - 2 * DAY)])
    plant.refresh()
    late = Event("press-01", "press", BASE - 9 * DAY + SECOND, (("a", 9.0),))
    plant.deliver([late])
    report = plant.refresh()
    agree(plant, [*rows, late, Label("press-01", "failure", BASE - 2 * DAY)])
    assert (report.inserted, report.superseded) == (2, 1)
    assert report.events_read < 30


def test_an_event_of_another_kind_touches_nothing(plant: Plant):
    rows: list[Event | Label] = [Event("press-01", "press", BASE, (("a", 1.0),))]
    plant.deliver(rows)
    plant.refresh()
    plant.deliver([Label("press-01", "inspection", BASE - SECOND)])
    assert stale_views(plant.conn, plant.definitions) == []
    assert plant.refresh().computed == 0


def test_a_view_that_is_new_sees_events_of_long_before_its_first_row(plant: Plant):
    """All there is comes in one piece: the windows of the first rows reach back to tiles of the same refresh."""
    rows: list[Event | Label] = [
        Label("press-01", "maintenance", BASE - 20 * DAY),
        *(Event("press-01", "press", BASE + n * SECOND, (("a", 1.0),)) for n in range(3)),
    ]
    plant.deliver(rows)
    plant.conn.execute("update features.state set refresh_watermark = (select last from warehouse.clock)")
    plant.refresh()
    agree(plant, rows)


def test_a_view_of_events_alone_has_a_row_for_each_measurement(database: str):
    plant = Plant(database, FEATURES[:2])
    rows: list[Event | Label] = [
        Label("press-01", "failure", BASE),
        Event("press-01", "press", BASE - SECOND, ()),
        Event("press-01", "press", BASE + SECOND, ()),
    ]
    for row in rows:
        plant.deliver([row])
        plant.refresh()
    agree(plant, rows)
    plant.close()
