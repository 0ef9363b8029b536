"""Windows from a second to ninety days beside each other in one view: the oracle's values, late rows and a backfill included."""

from __future__ import annotations

import random
from datetime import timedelta

from millwright.warehouse.timestamps import from_us
from tests.features.agreement import agree
from tests.features.oracle import Event, Wanted
from tests.features.plant import BASE, Plant

SECOND = 1_000_000
DAY = 86400 * SECOND
FEATURES = [
    Wanted(f"{aggregate}_{window}", aggregate, "a", window * SECOND)
    for window, aggregates in {
        1: ("count", "mean", "last", "slope"),
        30 * 86400: ("count", "stddev", "first"),
        90 * 86400: ("mean", "slope", "min", "age"),
    }.items()
    for aggregate in aggregates
]


def test_i5_windows_of_a_second_and_of_ninety_days_in_one_view(database: str):
    random.seed(9)
    times = {BASE - random.randrange(200 * 86400) * SECOND for _ in range(70)}
    times |= {BASE + n * SECOND // 4 for n in range(12)} | {BASE - 90 * DAY, BASE - 90 * DAY - 1, BASE - 30 * DAY}
    events = [Event("press-01", "press", t, (("a", random.uniform(-5, 5)),)) for t in sorted(times)]
    late = events[::5]
    plant = Plant(database, FEATURES)
    plant.deliver([event for event in events if event not in late])
    plant.refresh()
    plant.deliver(late)
    plant.refresh()
    agree(plant, events)
    again = plant.refresh(days=(from_us(BASE).date() - timedelta(days=60), from_us(BASE).date()))
    assert (again.inserted, again.superseded) == (0, 0)
    plant.close()
