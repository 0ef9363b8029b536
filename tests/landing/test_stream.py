"""A file lands while it is read: piece by piece it leaves what it leaves as a whole (I1, I3), whatever comes in between."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from millwright.landing.batches import Receipt
from millwright.warehouse.connect import connect
from millwright.warehouse.direct import Direct
from millwright.warehouse.timestamps import from_us
from tests.landing.conftest import HEADER, Plant, counts

_SAME = {"bytes", "errors", "days", "first_event", "last_event", "new_readings", "preview", "loaded", "duplicate", "quarantined"}


def in_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("millwright.landing.csv._BLOCK", size)


def year(machine: str) -> str:
    """Lines over twelve months in no order; among them doubled, contradicting, bad and unknown ones, and series that come late."""
    random.seed(7)
    lines = [
        f"2025-{month:02}-{day:02}T00:00:00Z,m,kind{month % 5},{month},{day}" for month in range(1, 13) for day in (1, 9, 28)
    ]
    lines += [lines[3], lines[7].replace(",9", ",8"), "2025-04-05T00:00:00Z,m,press,x,1", "never,m,press,1,1"]
    random.shuffle(lines)
    return (f"{HEADER}temperature,flow\n" + "\n".join(lines) + "\n").replace(",m,", f",{machine},")


def told(receipt: Receipt) -> dict[str, Any]:
    shown = receipt.model_dump(mode="json", include=_SAME)
    return shown | {"preview": [row | {"machine_id": ""} for row in shown["preview"]]}


def rows(plant: Plant, machine: str) -> list[Any]:
    return plant.rows(
        "select s.sensor_type, m.event_timestamp, m.readings, m.position, m.batch_id - min(m.batch_id) over ()"
        " from warehouse.measurements m join warehouse.series s using (series_id) where s.keys[1] = %s order by 1, 2",
        machine,
    )


@pytest.mark.parametrize("block", [64, 400])
def test_I1_pieces_leave_what_the_whole_leaves(plant: Plant, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Each piece needs another month, whose partition is made beside the transaction that has the table in use."""
    in_blocks(monkeypatch, block)
    pieces = plant.land(year("a"))
    in_blocks(monkeypatch, 1 << 24)
    whole = plant.land(year("b"))
    assert counts(pieces) == (40, 36, 0, 1, 3)
    assert told(pieces) == told(whole)
    assert rows(plant, "a") == rows(plant, "b")
    assert counts(plant.land(year("a") + "\n")) == (40, 0, 0, 37, 3)


def test_I3_what_is_refused_in_the_middle_leaves_nothing(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 64)
    taken: list[int] = []
    take = Direct.take
    monkeypatch.setattr(Direct, "take", lambda way, *piece: taken.append(1) or take(way, *piece))
    before = plant.state()
    small = replace(plant, settings=plant.settings.model_copy(update={"max_rows_per_file": 20}))
    receipt = small.land(year("a"))
    assert (receipt.state, len(taken) > 5, plant.state()) == ("refused", True, before)
    assert "more than 20 rows" in str(receipt.error)


def test_a_landing_that_is_overtaken_in_the_middle_reads_on(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks(monkeypatch, 64)
    plant.land(year("a").splitlines()[0] + "\n" + "\n".join(f"2020-01-01T00:00:00Z,a,kind{n},1,1" for n in range(5)))
    meet, proofs = Direct._meet, []

    def then_land(direct: Direct, *spans: Any) -> Any:
        found = meet(direct, *spans)
        proofs.append(direct)
        if len(proofs) == 4:
            at = from_us(int(spans[1][0]))
            theirs = f"{HEADER}temperature\n{at.isoformat()},a,kind{at.month % 5},{at.month}\n"
            with connect(plant.url, autocommit=True) as conn:
                assert counts(replace(plant, conn=conn).land(theirs)) == (1, 1, 0, 0, 0)
        return found

    monkeypatch.setattr(Direct, "_meet", then_land)
    receipt = plant.land(year("a"))
    assert counts(receipt) == (40, 36, 0, 1, 3)
    assert len(receipt.met) == 1
    assert {kind.code: kind.count for kind in receipt.errors} == {"not_a_number": 1, "not_a_timestamp": 1, "conflict": 1}
