"""Views that keep one row of each bucket: the last of each closed one, whatever came when, with the oracle's values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.budget import examples
from tests.features.agreement import agree
from tests.features.oracle import Event, Label, Wanted
from tests.features.plant import BASE, Plant, all_days

SECOND = 1_000_000
DAY = 86400 * SECOND
FEATURES = [
    Wanted("count", "count", "a", 3600 * SECOND),
    Wanted("mean", "mean", "a", 86400 * SECOND),
    Wanted("last", "last", "b", 60 * SECOND),
    Wanted("failures", "count", "failure", DAY, "events"),
]
offsets = st.one_of(
    st.integers(0, 12).map(lambda n: n * 20 * SECOND),
    st.integers(0, 60).map(lambda n: n * 60 * SECOND - 1),
    st.integers(-9, 3).map(lambda n: n * DAY),
)
keys = st.sampled_from(["press-01", "press-02"])
readings = st.dictionaries(st.sampled_from("ab"), st.integers(-5, 5).map(float)).map(lambda found: tuple(found.items()))
few = settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def deliveries(draw: st.DrawFn) -> list[Event | Label]:
    taken = draw(st.lists(st.tuples(keys, st.sampled_from(["press", "gauge"]), offsets), min_size=1, max_size=15, unique=True))
    told = draw(st.lists(st.tuples(keys, offsets), max_size=4, unique=True))
    rows = [Event(key, sensor, BASE + offset, draw(readings)) for key, sensor, offset in taken]
    return draw(st.permutations([*rows, *(Label(key, "failure", BASE + offset) for key, offset in told)]))


@pytest.fixture(params=["1m", "1d"])
def plant(request: pytest.FixtureRequest, database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES, every=request.param)
    yield made
    made.close()


@pytest.mark.property
@few
@given(rows=deliveries(), data=st.data())
def test_i5_the_last_row_of_each_closed_bucket_in_any_order_and_cut(plant: Plant, rows: list[Event | Label], data: st.DataObject):
    """Each delivery is refreshed by itself, so that the versions it makes are known since it, the buckets it closes included."""
    plant.reset()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=4)) | {len(rows)})
    for start, end in itertools.pairwise([0, *cuts]):
        before = plant.rows()
        created = plant.deliver(rows[start:end])
        plant.refresh()
        agree(plant, rows[:end])
        new = [row for place, row in plant.rows().items() if before.get(place) != row]
        assert {row["known_timestamp"] for row in new} <= {created}
    gone = data.draw(st.lists(st.sampled_from(rows), unique=True, max_size=3))
    if gone:
        plant.deliver([], gone=gone)
    left = [row for row in rows if row not in gone]
    plant.refresh()
    agree(plant, left)
    again = plant.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)


@pytest.mark.property
@few
@given(rows=deliveries())
def test_i5_many_deliveries_in_one_refresh_are_as_one(plant: Plant, rows: list[Event | Label]):
    plant.reset()
    for row in rows:
        plant.deliver([row])
    plant.refresh()
    agree(plant, rows)


def test_a_row_closes_the_bucket_of_the_one_before_however_long_ago(database: str):
    plant = Plant(database, FEATURES, every="1m")
    old = [Event("press-01", "press", BASE - 9 * DAY + n * SECOND, (("a", float(n)),)) for n in range(3)]
    plant.deliver(old)
    plant.refresh()
    assert plant.rows() == {}
    new = Event("press-01", "gauge", BASE, (("a", 1.0),))
    created = plant.deliver([new])
    report = plant.refresh()
    assert list(plant.rows()) == [("press-01", old[-1].t)]
    assert plant.rows()["press-01", old[-1].t]["known_timestamp"] == created
    assert report.events_read <= 5
    plant.deliver([], gone=[new])
    assert plant.refresh().retracted == 1
    assert plant.rows() == {}
    plant.close()
