"""A long delivery, whose lines of one key are folded before they are copied, comes to what line after line gives."""

from __future__ import annotations

import itertools
import json
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.definitions.datasets import Layout
from millwright.landing import by_key as sorting
from millwright.landing.load import land
from millwright.landing.mapping import Delivery
from millwright.landing.receive import receive
from millwright.landing.spool import Spool
from millwright.warehouse import fold
from millwright.warehouse.direct import Direct
from tests.budget import examples
from tests.landing.conftest import Plant

CASE = itertools.count()
HEADER = "timestamp,machine_id,sensor_type,name,value\n"
LINES = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 1), st.sampled_from(["temperature", "vibration", "status", 'x"y']), st.integers(0, 2)
    ),
    max_size=12,
)


@pytest.mark.property
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, min_size=1, max_size=3), st.integers(1, 5))
def test_folded_lines_leave_what_compared_lines_leave(plant: Plant, deliveries: list[Any], piece: int) -> None:
    """Rows, their batches, positions and sources, and every count; whatever was there before."""
    case = next(CASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorting, "_PIECE", piece)
        folded = [landed(plant, f"case-{case}-a", lines, number) for number, lines in enumerate(deliveries)]
        patch.setattr(Direct, "take", lambda way, lines, numbered: lines)
        compared = [landed(plant, f"case-{case}-b", lines, number) for number, lines in enumerate(deliveries)]
    assert [counts for counts, _ in folded] == [counts for counts, _ in compared]
    assert rows(plant, f"case-{case}-a", [batch for _, batch in folded]) == rows(
        plant, f"case-{case}-b", [batch for _, batch in compared]
    )


def landed(plant: Plant, machine: str, lines: list[Any], number: int) -> tuple[Any, int]:
    text = "".join(
        f'2026-03-01T00:00:0{at}Z,{machine}{of},press,"{name.replace(chr(34), chr(34) * 2)}",{value}\n'
        for at, of, name, value in lines
    )
    received = receive(
        plant.conn, plant.settings, plant.definitions, BytesIO((HEADER + text + "\n" * (number + 2)).encode()),
        dataset="fleet", file_name=machine, delivery=Delivery(layout=Layout(reading="name", value="value"), constants={}),
        channel="upload", by="test",
    )  # fmt: skip
    done = land(plant.conn, plant.settings, plant.definitions, received.batch_id)
    assert done.state == "landed" and done.received == len(lines)
    return (done.loaded, done.duplicate, done.quarantined, done.days, done.first_event, done.last_event), received.batch_id


def rows(plant: Plant, machine: str, batches: list[int]) -> list[Any]:
    """What is there of a machine; batches by their order."""
    order = {batch: number for number, batch in enumerate(batches)}
    found = plant.rows(
        "select right(s.keys[1], 1), m.event_timestamp, m.readings, m.batch_id, m.position, m.sources"
        " from warehouse.measurements m join warehouse.series s using (series_id) where s.keys[1] like %s order by 1, 2",
        f"{machine}%",
    )
    return [
        (of, at, readings, order[batch], position, {name: [order[b], p] for name, (b, p) in (sources or {}).items()})
        for of, at, readings, batch, position, sources in found
    ]


def test_lines_that_share_a_reading_or_have_several_are_not_folded() -> None:
    readings = pa.chunked_array(
        [['{"a":1}', '{"b":"x,\\"y"}', '{"a":1}', '{"a":2}', '{"a":1,"b":2}', '{"c":1}', '{"d":1,"e":2}']]
    )
    series, times = np.array([1, 1, 2, 2, 3, 3, 4]), np.zeros(7, dtype=np.int64)
    first = fold.starts(series, times)
    assert first.tolist() == [0, 2, 4, 6]
    assert fold.clashing(readings, first).tolist() == [False, False, True, True, True, True, False]
    folded, sources = fold.fold(readings.slice(0, 2), np.array([10, 12]), np.array([0]), 7)
    assert json.loads(folded[0].as_py()) == {"a": 1, "b": 'x,"y'} and json.loads(sources[0].as_py()) == {"b": [7, 12]}


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_no_key_is_cut_and_no_line_lost_by_the_sort(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "_PIECE", piece)
    schema = pa.schema(
        [
            ("position", pa.int64()),
            ("local", pa.int32()),
            ("event_timestamp", pa.timestamp("us", "UTC")),
            ("readings", pa.string()),
        ]
    )
    lines = [(n, n % 2, n // 3 % 2, f'{{"r{n}":1}}') for n in range(20)]
    spool = Spool(schema)
    for start in range(0, 20, 7):
        columns = zip(*lines[start : start + 7], strict=True)
        spool.put(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema))
    with sorting.by_key(spool) as ordered:
        tables = list(ordered.tables())
    keys = [{(row["local"], row["event_timestamp"]) for row in table.to_pylist()} for table in tables]
    assert sum(len(of) for of in keys) == len(set().union(*keys)) == 4
    found = [(row["position"], row["readings"]) for table in tables for row in table.to_pylist()]
    assert sorted(found) == [(position, text) for position, _, _, text in lines]


def test_a_long_file_and_a_wide_one_leave_the_same_readings(plant: Plant) -> None:
    wide = "timestamp,machine_id,sensor_type,temperature,vibration\n" + "".join(
        f"2026-03-01T00:00:{n:02d}Z,w,press,{n},{n / 4}\n" for n in range(50)
    )
    long = HEADER + "".join(
        f"2026-03-01T00:00:{n:02d}Z,l,press,{name},{n if name == 'temperature' else n / 4}\n"
        for name in ("temperature", "vibration")
        for n in range(50)
    )
    plant.land(wide)
    receipt = plant.land(long, layout=Layout(reading="name", value="value"))
    assert (receipt.received, receipt.loaded, sum(receipt.days.values())) == (100, 100, 100)
    measured = plant.measurements()
    assert {at: row for (machine, _, at), row in measured.items() if machine == "l"} == {
        at: row for (machine, _, at), row in measured.items() if machine == "w"
    }
    again = plant.land(long, layout=Layout(reading="name", value="value"), historical=True)
    assert (again.duplicate, again.loaded) == (100, 0)
