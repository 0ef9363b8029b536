"""The comparison is per reading (DESIGN §5): merged, duplicate, conflict, corrected; provenance and images are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.landing.load import land
from millwright.landing.mapping import Delivery
from millwright.landing.receive import receive
from millwright.landing.spool import Spool
from tests.budget import examples
from tests.landing.conftest import HEADER, Plant, counts

COLUMNS = f"{HEADER}temperature,vibration,speed\n"
AT = "2026-03-01T00:00:00Z,m,press,"


def only(plant: Plant) -> dict[str, Any]:
    (row,) = plant.measurements().values()
    return row


@pytest.mark.parametrize(
    ("stored", "then", "expected", "row"),
    [
        ("1,,", "1,,", (1, 0, 0, 1, 0), {"temperature": 1}),
        ("1,2,", "1,,", (1, 0, 0, 1, 0), {"temperature": 1, "vibration": 2}),
        ("1,,", "1.0,2,", (1, 1, 0, 0, 0), {"temperature": 1, "vibration": 2}),
        ("1,,", ",2,", (1, 1, 0, 0, 0), {"temperature": 1, "vibration": 2}),
        ("1,,", "2,,", (1, 0, 0, 0, 1), {"temperature": 1}),
        ("1,,", "2,2,", (1, 0, 0, 0, 1), {"temperature": 1}),
        ("1,,", "1,2,3", (1, 1, 0, 0, 0), {"temperature": 1, "vibration": 2, "speed": 3}),
    ],
)  # fmt: skip
def test_conflict_matrix_of_two_files(plant: Plant, stored: str, then: str, expected: tuple, row: dict) -> None:
    first = plant.land(COLUMNS + AT + stored + "\n")
    second = plant.land(COLUMNS + AT + then + "\n\n")
    assert counts(second) == expected
    assert only(plant) == row
    assert second.met == [first.batch_id]
    assert plant.rows("select * from landing.met") == [(second.batch_id, first.batch_id)]
    written = expected[1] + expected[2]
    assert plant.rows("select count(*) from warehouse.changes where batch_id = %s", second.batch_id) == [(written,)]


def test_merged_readings_name_where_they_came_from(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    second = plant.land(f"{COLUMNS}{AT}1,2,\n{AT},,3\n{AT},,4\n{AT}1,2,3\n")
    assert counts(second) == (4, 2, 0, 1, 1)
    assert plant.quarantine(second.batch_id) == [(4, f"{AT},,4".encode(), ["speed:conflict"])]
    assert second.errors[0].message == "4 contradicts 3 of line 3"
    assert plant.rows("select batch_id, position, sources from warehouse.measurements") == [
        (first.batch_id, 2, {"vibration": [second.batch_id, 2], "speed": [second.batch_id, 3]})
    ]
    third = plant.land(f"{COLUMNS}{AT}1,9,\n\n")
    assert third.errors[0].message == f"9 contradicts 2 of batch {second.batch_id}, position 2"
    assert third.met == [first.batch_id, second.batch_id]


def test_lines_of_one_file_are_taken_in_order_and_a_set_aside_line_gives_nothing(plant: Plant) -> None:
    done = plant.land(f"{COLUMNS}{AT}1,,\n{AT}2,7,\n{AT},8,\n{AT}1,8,\n{AT},7,\n")
    assert counts(done) == (5, 2, 0, 1, 2)
    assert only(plant) == {"temperature": 1, "vibration": 8}
    assert [at for at, _, _ in plant.quarantine(done.batch_id)] == [3, 6]


def test_a_correction_replaces_and_keeps_what_it_replaced(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,2,\n2026-03-01T00:01:00Z,m,press,5,,\n")
    second = plant.land(
        f"{COLUMNS}{AT}9,2,\n2026-03-01T00:01:00Z,m,press,5,6,\n2026-03-01T00:02:00Z,m,press,7,,\n{AT}1,,\n",
        correction=True,
    )
    # Line 2 lost its temperature to line 5, which gives what is stored: both are duplicates. Line 3 adds a reading, line 4 a row.
    assert counts(second) == (4, 2, 0, 2, 0)
    third = plant.land(f"{COLUMNS}{AT}9,,4\n", correction=True)
    assert counts(third) == (1, 0, 1, 0, 0)
    assert plant.measurements()[("m", "press", "2026-03-01T00:00:00.000000")] == {"temperature": 9, "vibration": 2, "speed": 4}
    assert plant.rows("select readings, batch_id, position, sources, replaced_by from warehouse.measurements_history") == [
        ({"temperature": 1, "vibration": 2}, first.batch_id, 2, None, third.batch_id)
    ]
    assert plant.rows("select sources from warehouse.measurements where sources ? 'temperature'") == [
        ({"temperature": [third.batch_id, 2], "speed": [third.batch_id, 2]},)
    ]
    assert plant.rows("select count(*) from warehouse.changes where batch_id = %s", third.batch_id) == [(1,)]


def test_in_a_correction_the_last_line_wins_and_overridden_lines_name_it(plant: Plant) -> None:
    plant.land(f"{COLUMNS}{AT}1,,\n")
    done = plant.land(f"{COLUMNS}{AT}2,,\n{AT}3,,\n{AT}4,,\n", correction=True)
    assert counts(done) == (3, 0, 1, 2, 0)
    assert only(plant) == {"temperature": 4}
    assert [(d.batch_id, d.rows, d.first_position, d.of_position) for d in done.duplicates_of] == [(done.batch_id, 2, 2, 4)]


def test_historical_deliveries_are_marked_in_the_change_log(plant: Plant) -> None:
    plant.land(f"{COLUMNS}{AT}1,,\n", historical=True)
    assert plant.rows("select historical from warehouse.changes") == [(True,)]


def oracle(
    deliveries: list[tuple[bool, list[tuple[tuple[int, int], dict[str, int]]]]],
) -> tuple[dict[tuple[int, int], dict[str, int]], list[tuple[int, ...]]]:
    """Line after line, as DESIGN §5 says it: state per machine and instant, and (loaded, corrected, duplicate, quarantined) per delivery."""
    state: dict[tuple[int, int], dict[str, int]] = {}
    numbers = []
    for correction, lines in deliveries:
        loaded = corrected = duplicate = quarantined = 0
        before = {at: dict(row) for at, row in state.items()}
        last = {(at, name): index for index, (at, row) in enumerate(lines) for name in row}
        for index, (at, row) in enumerate(lines):
            if correction:
                row = {name: value for name, value in row.items() if last[at, name] == index}
                known = before.get(at, {})
            else:
                known = state.get(at, {})
            different = any(name in known and known[name] != value for name, value in row.items())
            if different and not correction:
                quarantined += 1
                continue
            new = not row.keys() <= known.keys()
            corrected += different
            loaded += new and not different
            duplicate += not new and not different
            state.setdefault(at, {}).update(row)
        numbers.append((loaded, corrected, duplicate, quarantined))
    return state, numbers


LINE = st.tuples(
    st.tuples(st.integers(0, 1), st.integers(0, 3)),
    st.dictionaries(st.sampled_from(["temperature", "vibration", "speed"]), st.integers(0, 2), min_size=1),
)
DELIVERIES = st.lists(st.tuples(st.booleans(), st.lists(LINE, max_size=10)), min_size=1, max_size=4)
CASE = iter(range(1_000_000))


@pytest.mark.property
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DELIVERIES, st.integers(1, 10))
def test_several_deliveries_come_to_what_line_after_line_gives(plant: Plant, deliveries: list, piece: int) -> None:
    """Also where a delivery is longer than a piece: lines go straight in, or are compared, piece by piece (warehouse/direct.py)."""
    machine = f"case-{next(CASE)}-"
    with in_pieces(piece):
        found = delivered(plant, machine, deliveries)
    state, numbers = oracle(deliveries)
    assert found == numbers
    landed = plant.measurements().items()
    assert {(int(name[-1]), int(at[17:19])): row for (name, _, at), row in landed if name.startswith(machine)} == state


@contextmanager
def in_pieces(piece: int) -> Iterator[None]:
    """Deliveries come to the warehouse in pieces of so many lines."""
    whole = Spool.tables

    def pieces(spool: Spool) -> Iterator[pa.Table]:
        for table in whole(spool):
            yield from (table.slice(start, piece) for start in range(0, table.num_rows, piece))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "tables", pieces)
        yield


def delivered(plant: Plant, machine: str, deliveries: list) -> list[tuple[int, ...]]:
    """Land the deliveries; (loaded, corrected, duplicate, quarantined) of each."""
    found = []
    for number, (correction, lines) in enumerate(deliveries):
        rows = [
            f"2026-03-01T00:00:0{at}Z,{machine}{of},press,{row.get('temperature', '')},{row.get('vibration', '')},{row.get('speed', '')}"
            for (of, at), row in lines
        ]
        content = COLUMNS + "\n".join(rows) + "\n" * (number + 2)
        received = receive(
            plant.conn, plant.settings, plant.definitions, BytesIO(content.encode()),
            dataset="fleet", file_name=machine, delivery=Delivery(correction=correction, constants={}), channel="upload", by="test",
        )  # fmt: skip
        if received.already:  # a file without rows, delivered before
            found.append((0, 0, 0, 0))
            continue
        done = land(plant.conn, plant.settings, plant.definitions, received.batch_id)
        assert done.received == len(lines)
        found.append((done.loaded, done.corrected, done.duplicate, done.quarantined))
        written = plant.rows("select coalesce(sum(1), 0)::int from warehouse.changes where batch_id = %s", received.batch_id)
        assert (written[0][0] > 0) == (done.loaded + done.corrected > 0)
        assert sum(done.days.values()) == done.loaded + done.corrected
    return found


def test_a_delivery_that_contradicts_as_a_whole_is_set_aside_a_part_at_a_time(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millwright.warehouse.merge._CONFLICTS_AT_ONCE", 3)
    lines = [f"2026-01-01T00:00:{at:02}Z,m,press," for at in range(8)]
    plant.land(HEADER + "temperature\n" + "".join(f"{line}1\n" for line in lines))
    receipt = plant.land(HEADER + "temperature\n" + "".join(f"{line}2\n" for line in lines))
    assert counts(receipt) == (8, 0, 0, 0, 8)
    assert [(at, codes) for at, _, codes in plant.quarantine(receipt.batch_id)] == [
        (at, ["temperature:conflict"]) for at in range(2, 10)
    ]
