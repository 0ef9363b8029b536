"""The engine's rows held to the oracle's (I5). Does not: either of them."""

from __future__ import annotations

from collections.abc import Iterable

from tests.features import oracle
from tests.features.oracle import Event, Label
from tests.features.plant import Plant, Row


def agree(plant: Plant, rows: Iterable[Row]) -> None:
    """Every current row, and no other: a null for a null, a number within the tolerance."""
    rows = list(rows)
    events, labels = ([row for row in rows if isinstance(row, kind)] for kind in (Event, Label))
    expected = oracle.rows(events, plant.features, labels, plant.view.every_us)
    found = plant.rows()
    assert found.keys() == expected.keys()
    for place, features in expected.items():
        for name, (value, tolerance) in features.items():
            got = found[place][name]
            if value is None or got is None:
                assert got is value, (place, name, got, value)
            else:
                assert abs(got - value) <= tolerance, (place, name, got, value)
