"""What a refresh holds at once: many small entities together, a large one in pieces, with the values of one piece (I5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.features import compute
from millwright.features.touched import Reach, Segment, cut
from tests.budget import examples
from tests.features import test_every, test_histories
from tests.features.agreement import agree
from tests.features.oracle import SECOND, Event
from tests.features.plant import BASE, Plant, all_days

MINUTE = 60 * SECOND
few = settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
limits = st.integers(1, 6)


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, test_histories.FEATURES)
    yield made
    made.close()


@pytest.fixture(params=["1m", "1d"])
def kept(request: pytest.FixtureRequest, database: str) -> Iterator[Plant]:
    made = Plant(database, test_every.FEATURES, every=request.param)
    yield made
    made.close()


def limited(plant: Plant, limit: int) -> None:
    plant.settings = plant.settings.model_copy(update={"refresh_rows_per_chunk": limit})


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(entities, rows) of each of the engine's runs."""
    found: list[tuple[int, int]] = []
    run = compute.Engine.run

    def counted(self: compute.Engine, events: pa.Table, prior: pa.Table) -> Any:
        found.append((len(set(events.column("entity_id").to_pylist())), events.num_rows))
        return run(self, events, prior)

    monkeypatch.setattr(compute.Engine, "run", counted)
    return found


@pytest.mark.property
@few
@given(events=test_histories.event_lists(), late=test_histories.event_lists(8), limit=limits)
def test_i5_in_pieces_of_any_size_the_values_and_tiles_are_those_of_one(
    plant: Plant, events: list[Event], late: list[Event], limit: int
):
    late = [
        event for event in late if (event.key, event.sensor_type, event.t) not in {(e.key, e.sensor_type, e.t) for e in events}
    ]
    plant.reset()
    limited(plant, limit)
    for delivery in filter(None, (events, late)):
        plant.deliver(delivery)
        plant.refresh()
    agree(plant, events + late)
    tiles = plant.tiles()
    limited(plant, 1_000_000)
    again = plant.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)
    assert [tile[:3] for tile in plant.tiles()] == [tile[:3] for tile in tiles]


@pytest.mark.property
@few
@given(rows=test_every.deliveries(), limit=limits)
def test_i5_in_pieces_the_same_rows_of_buckets_are_kept(kept: Plant, rows: list[Any], limit: int):
    kept.reset()
    limited(kept, limit)
    for start in range(0, len(rows), 6):
        kept.deliver(rows[start : start + 6])
        kept.refresh()
    agree(kept, rows)
    limited(kept, 1_000_000)
    again = kept.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)


def test_small_entities_share_a_chunk_and_a_large_one_is_cut(plant: Plant, held: list[tuple[int, int]]):
    few_rows = [Event(f"press-{n:02}", "press", BASE + n * SECOND, (("a", float(n)),)) for n in range(4)]
    many = [
        Event("press-09", "press", BASE + day * 86400 * SECOND + n * MINUTE, (("a", float(n)),))
        for day in range(6)
        for n in range(50)
    ]
    plant.deliver([*few_rows, *many])
    reach = Reach.of(plant.view)
    assert reach.boundary == 86400 * SECOND
    limited(plant, 2 * reach.tiles + 100)
    plant.refresh()
    assert [entities for entities, _ in held[:2]] == [2, 2]
    limited(plant, 100)
    del held[:]
    report = plant.refresh(days=all_days())
    assert (report.inserted, report.superseded) == (0, 0)
    assert [entities for entities, _ in held[:4]] == [1, 1, 1, 1]
    pieces = [rows for _, rows in held[4:]]
    assert len(pieces) == 4 and sum(pieces) == 300 and max(pieces) <= 100 + 50  # a day is not cut
    agree(plant, few_rows + many)


def test_pieces_follow_each_other_from_boundary_to_boundary():
    reach = Reach(boundary=60, windows={})
    whole = Segment(("a",), 60, 75, 300, 1000)
    pieces = cut(reach, whole, [80, 130, 179, 290, 999])
    assert pieces == [
        Segment(("a",), 60, 75, 119, 120),
        Segment(("a",), 120, 120, 239, 240),
        Segment(("a",), 240, 240, 300, 960),
        Segment(("a",), 960, 960, 300, 1000),  # its rows are recomputed, its tiles are as they were
    ]
    assert cut(reach, whole, []) == [whole]
