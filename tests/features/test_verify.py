"""`doctor --tiles`: what is not what the rows give is found, whatever is wrong with it, and a backfill mends it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from millwright.features.refresh import refresh
from millwright.features.verify import TilesReport, verify_tiles
from millwright.warehouse.timestamps import from_us
from tests.features.oracle import SECOND, Event, Wanted
from tests.features.plant import BASE, Plant

DAY = 86400
FEATURES = [
    Wanted("mean_1h", "mean", "a", 3600 * SECOND),
    Wanted("stddev_7d", "stddev", "a", 7 * DAY * SECOND),
    Wanted("last_90d", "last", "b", 90 * DAY * SECOND),  # tiles of a day: so long is a stretch
    Wanted("slope_7d", "slope", "b", 7 * DAY * SECOND),
]
EVENTS = [
    Event(f"press-{machine:02}", "press", BASE + n * 3600 * SECOND, (("a", 1e6 + n % 7 * 1e-3), ("b", float(n * machine))))
    for machine in range(3)
    for n in range(72)
]


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES, refresh_rows_per_chunk=400)
    made.deliver(EVENTS)
    made.refresh()
    yield made
    made.close()


def verified(plant: Plant, sample: int = 100) -> TilesReport:
    return verify_tiles(plant.conn, plant.settings, plant.definitions, plant.view, sample=sample, seed=1)


def test_sound_tiles_are_found_sound_and_nothing_is_written(plant: Plant):
    before = plant.tiles()
    report = verified(plant)
    assert report.wrong == [] and report.believed
    assert report.stretches == 3 * 3  # every day of every machine
    assert report.tiles == len(before)
    assert plant.tiles() == before
    assert 0 < verified(plant, sample=2).stretches <= 2


@pytest.mark.parametrize(
    ("damage", "what", "columns"),
    [
        ("update {} set p_a_n = p_a_n + 1 where ctid = (select min(ctid) from {} where p_a_n > 0)", "different", ["p_a_n"]),
        ("update {} set p_a_sum = p_a_sum * (1 + 1e-7) where ctid = (select min(ctid) from {} where p_a_sum > 0)", "different", ["p_a_sum"]),
        ("delete from {} where ctid = '(0,3)'", "missing", []),
        ("insert into {} (k_machine_id, tile_us, tile, p_a_n) values ('press-01', 60000000, 29538721, 1)", "of no row", []),
    ],
)  # fmt: skip
def test_a_wrong_tile_is_named_and_a_backfill_mends_it(plant: Plant, damage: str, what: str, columns: list[str]):
    damage = damage.replace("{}", "features.vitals_v1_tiles")
    assert plant.conn.execute(damage).rowcount == 1
    report = verified(plant)
    (wrong,) = report.wrong
    assert (wrong.what, wrong.columns) == (what, columns)
    assert wrong.keys[0].startswith("press-") and report.first_day == wrong.begins.date()
    plant.refresh(days=(wrong.begins.date(), from_us(BASE).date() + timedelta(days=5)))
    assert verified(plant).wrong == []


def test_what_no_refresh_has_read_yet_is_no_mistake(plant: Plant):
    plant.deliver([Event("press-01", "press", BASE + 5 * SECOND, (("a", 2.0),))])
    report = verified(plant)
    assert report.wrong == [] and report.stretches == 3 * 3 - 1
    refresh(plant.conn, plant.settings, plant.definitions, plant.view)
    assert verified(plant).stretches == 3 * 3


def test_tiles_that_are_rebuilt_anyway_are_not_compared(plant: Plant):
    plant.conn.execute("update features.state set tiles_complete = false")
    report = verified(plant)
    assert (report.believed, report.stretches) == (False, 0)
