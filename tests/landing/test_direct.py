"""The direct way meets another landing: what was proved is overtaken by a commit, and the batch lands by comparison (I1, I3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from millwright.landing.load import dry_run
from millwright.landing.mapping import Delivery
from millwright.warehouse.connect import connect
from millwright.warehouse.direct import Direct
from tests.landing.conftest import HEADER, Plant, counts

OURS = (
    f"{HEADER}temperature,vibration\n2026-01-01T00:00:00Z,m,press,1,2\n2026-01-01T00:00:01Z,m,press,3,3\n"
    "2026-01-01T00:00:02Z,m,press,x,\n"
)
THEIRS = f"{HEADER}temperature\n2026-01-01T00:00:00Z,m,press,1\n2026-01-01T00:00:01Z,m,press,9\n"


@pytest.fixture
def overtaken(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first proof of the test is overtaken by another landing; its batch."""
    plant.land(f"{HEADER}temperature\n2025-12-01T00:00:00Z,m,press,0\n")  # the series is there: nobody waits for it
    meet, theirs = Direct._meet, []

    def then_land(direct: Direct, *spans: Any) -> Any:
        found = meet(direct, *spans)
        if not theirs:
            theirs.append(0)
            with connect(plant.url, autocommit=True) as conn:
                theirs[0] = replace(plant, conn=conn).land(THEIRS).batch_id
        return found

    monkeypatch.setattr(Direct, "_meet", then_land)
    return theirs


def test_a_landing_that_is_overtaken_lands_by_comparison(plant: Plant, overtaken: list[int]) -> None:
    receipt = plant.land(OURS)
    assert counts(receipt) == (3, 1, 0, 0, 2)
    assert {kind.code: kind.count for kind in receipt.errors} == {"conflict": 1, "not_a_number": 1}
    assert receipt.met == overtaken
    assert sum(receipt.days.values()) == 1
    assert plant.measurements()["m", "press", "2026-01-01T00:00:00.000000"] == {"temperature": 1, "vibration": 2}


def test_a_dry_run_that_is_overtaken_tells_what_a_landing_would_do(plant: Plant, overtaken: list[int], tmp_path: Path) -> None:
    file = tmp_path / "ours.csv"
    file.write_text(OURS)
    receipt = dry_run(plant.conn, plant.settings, plant.definitions, file, dataset="fleet", delivery=Delivery())
    assert (receipt.state, receipt.loaded, receipt.quarantined, receipt.met) == ("dry_run", 1, 2, overtaken)
    assert plant.measurements()["m", "press", "2026-01-01T00:00:00.000000"] == {"temperature": 1}
