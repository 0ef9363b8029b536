"""`max_bad_fraction`: more bad rows than that, and nothing of the delivery lands; the receipt says which and how many."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwright.landing.load import dry_run
from millwright.landing.mapping import Delivery
from tests.landing.conftest import DEFINITIONS, HEADER, Plant, counts


def text(good: int, bad: int) -> str:
    lines = [f"2026-03-01T00:{i // 60:02d}:{i % 60:02d}Z,m,press,{i if i < good else 'x'}" for i in range(good + bad)]
    return "\n".join([f"{HEADER}temperature", *lines, ""])


@pytest.fixture
def strict(plant: Plant) -> Plant:
    fleet = DEFINITIONS.datasets["fleet"].model_copy(update={"max_bad_fraction": 0.2})
    plant.definitions = DEFINITIONS.model_copy(update={"datasets": {**DEFINITIONS.datasets, "fleet": fleet}})
    return plant


def test_at_the_limit_it_lands_above_it_nothing_does(strict: Plant, tmp_path: Path) -> None:
    assert counts(strict.land(text(8, 2))) == (10, 8, 0, 0, 2)
    before = strict.state()
    refused = strict.land(text(8, 3))
    assert (refused.state, refused.received, strict.state()) == ("refused", 0, before)
    error = refused.error or ""
    assert "3 of 11 rows (27.3%) are bad, and the dataset fleet takes at most 20.0% (max_bad_fraction)" in error
    assert "line 10: temperature: not_a_number: 'x' is not a number" in error
    (kind,) = refused.errors
    assert (kind.code, kind.column, kind.count, kind.share, kind.first_position) == (
        "not_a_number",
        "temperature",
        3,
        0.272727,
        10,
    )
    path = tmp_path / "x.csv"
    path.write_text(text(8, 3))
    dry = dry_run(strict.conn, strict.settings, strict.definitions, path, dataset="fleet", delivery=Delivery())
    assert (dry.state, dry.error, dry.errors) == ("refused", error, refused.errors)
    assert counts(strict.land(text(8, 0))) == (8, 0, 0, 8, 0)


def test_rows_that_contradict_the_warehouse_count_too(strict: Plant) -> None:
    strict.land(text(8, 0))
    before = strict.state()
    refused = strict.land(text(8, 0).replace(",0\n", ",9\n").replace(",1\n", ",9\n"))
    assert (refused.state, strict.state()) == ("refused", before)
    assert [(kind.code, kind.count, kind.first_position) for kind in refused.errors] == [("conflict", 2, 2)]
