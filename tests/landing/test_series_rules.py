"""Rules over several lines: what lands holds them, whatever the order of the lines; every other line says why, beside its other errors."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.definitions import Dataset, Reading
from millwright.landing.rows import Block, Cells
from tests.budget import examples
from tests.landing.conftest import DEFINITIONS, Plant, counts
from tests.landing.rulebook import dataset, rules

WATCHED = {
    "serial": Reading(type="string", unique=True),
    "hours": Reading(type="int64", counter=True),
    "energy": Reading(type="double", unit="kWh", counter=True),
    "level": Reading(type="double", unit="mm", max_step=10),
    "plain": Reading(type="double", max=9),
}
HEADER = "timestamp,machine_id,sensor_type,"


@pytest.fixture
def watching(plant: Plant) -> Any:
    """A plant whose dataset has rules over several lines; the fields of the dataset may be changed."""

    def changed(**change: Any) -> Plant:
        told = Dataset.model_validate(
            {"dataset": "fleet", "entity": "machine", "columns": {"timestamp": "event_timestamp"}, "readings": WATCHED} | change
        )
        return replace(plant, definitions=DEFINITIONS.model_copy(update={"datasets": {"fleet": told}}))

    return changed


def at(minute: int) -> str:
    return f"2026-03-01T00:{minute:02d}:00Z"


def test_a_value_that_occurs_twice_is_an_error_that_names_the_first_line(watching: Any) -> None:
    plant = watching()
    lines = [f"{at(n)},m{n},press,{serial}" for n, serial in enumerate(["A", "B", "A", "", "B", "", "A"])]
    receipt = plant.land(HEADER + "serial\n" + "\n".join(lines))
    assert receipt.received == 7 and receipt.quarantined == 5
    assert plant.quarantine(receipt.batch_id) == [
        (4, lines[2].encode(), ["serial:unique"]), (5, lines[3].encode(), [":no_readings"]), (6, lines[4].encode(), ["serial:unique"]),
        (7, lines[5].encode(), [":no_readings"]), (8, lines[6].encode(), ["serial:unique"]),
    ]  # fmt: skip
    (kind,) = [kind for kind in receipt.errors if kind.code == "unique"]
    assert (kind.count, kind.first_position) == (3, 4) and "line 2" in kind.message


def test_a_series_of_which_no_line_is_left_is_no_series_and_the_others_keep_their_rows(watching: Any) -> None:
    plant = watching()
    receipt = plant.land(f"{HEADER}serial\n{at(0)},a,press,A\n{at(0)},b,press,A\n{at(0)},c,press,C\n{at(0)},d,press,D\n")
    assert counts(receipt) == (4, 3, 0, 0, 1)
    assert {machine: row for (machine, _, _), row in plant.measurements().items()} == {
        "a": {"serial": "A"}, "c": {"serial": "C"}, "d": {"serial": "D"},
    }  # fmt: skip
    assert plant.rows("select keys[1] from warehouse.series order by 1") == [("a",), ("c",), ("d",)]


def test_a_counter_is_judged_in_the_order_of_time_within_a_series(watching: Any) -> None:
    plant = watching()
    lines = [
        f"{at(3)},m,press,30,",  # 2
        f"{at(1)},m,press,10,",  # 3
        f"{at(2)},m,press,5,",  # 4: falls from line 3
        f"{at(4)},m,press,29,",  # 5: falls from line 2
        f"{at(2)},n,press,5,",  # 6: another machine
        f"{at(5)},m,press,30,1",  # 7: the same is no fall
        f"{at(6)},m,press,,2",  # 8: nothing to judge
        f"{at(7)},m,press,40,1.5",  # 9: the other counter falls
    ]
    receipt = plant.land(HEADER + "hours,energy\n" + "\n".join(lines))
    assert [(position, codes) for position, _, codes in plant.quarantine(receipt.batch_id)] == [
        (4, ["hours:counter_fell"]), (5, ["hours:counter_fell"]), (9, ["energy:counter_fell"]),
    ]  # fmt: skip
    told = {kind.column: kind.message for kind in receipt.errors}
    assert told["hours"] == "5 is less than 10 of line 3, which is earlier, and the counter must not fall"
    assert "1.5 is less than 2.0 of line 8" in told["energy"]
    assert counts(receipt) == (8, 5, 0, 0, 3)
    assert (receipt.first_event.isoformat(), receipt.last_event.isoformat()) == (
        "2026-03-01T00:01:00+00:00",
        "2026-03-01T00:06:00+00:00",
    )
    assert sorted(row["line"] for row in receipt.preview) == [2, 3, 6, 7, 8]


def test_a_row_that_breaks_rules_of_both_kinds_tells_all_and_judges_no_other(watching: Any) -> None:
    plant = watching()
    lines = [f"{at(1)},m,press,A,100,10", f"{at(2)},m,press,A,5,1", f"{at(3)},m,press,A,4,10", f"{at(4)},m,press,B,3,"]
    receipt = plant.land(HEADER + "serial,hours,plain\n" + "\n".join(lines))
    assert [(position, codes) for position, _, codes in plant.quarantine(receipt.batch_id)] == [
        (2, ["plain:out_of_range"]), (4, ["plain:out_of_range", "serial:unique", "hours:counter_fell"]), (5, ["hours:counter_fell"]),
    ]  # fmt: skip
    assert {(kind.code, kind.column): kind.count for kind in receipt.errors} == {
        ("out_of_range", "plain"): 2, ("unique", "serial"): 1, ("counter_fell", "hours"): 2,
    }  # fmt: skip


def test_a_great_step_is_told_and_lands(watching: Any) -> None:
    plant = watching()
    lines = [f"{at(4)},m,press,15", f"{at(1)},m,press,0", f"{at(2)},m,press,10", f"{at(3)},m,press,25.5", f"{at(2)},n,press,100"]
    receipt = plant.land(HEADER + "level\n" + "\n".join(lines))
    assert counts(receipt) == (5, 5, 0, 0, 0)
    (warning,) = receipt.warnings
    assert (warning.code, warning.column, warning.count, warning.first_position, warning.share) == (
        "max_step",
        "level",
        2,
        2,
        0.4,
    )
    assert warning.message == "-10.5 against line 5 is a greater step than 10 mm"


def test_a_series_of_which_nothing_lands_is_not_made(watching: Any) -> None:
    plant = watching()
    lines = [f"{at(1)},m,press,A", f"{at(1)},gone,press,A"]
    assert counts(plant.land(HEADER + "serial\n" + "\n".join(lines))) == (2, 1, 0, 0, 1)
    assert plant.rows("select keys from warehouse.series") == [(["m"],)]


def test_the_rules_hold_in_corrections_long_files_and_in_messages_that_hide_cells(watching: Any) -> None:
    plant = watching(layout={"reading": "name", "value": "v"}, sensitive=["hours", "level"])
    lines = [
        f"{at(1)},m,press,hours,7654321",
        f"{at(2)},m,press,hours,66",
        f"{at(1)},m,press,level,1",
        f"{at(2)},m,press,level,99",
    ]
    receipt = plant.land(HEADER + "name,v\n" + "\n".join(lines))
    assert counts(receipt) == (4, 3, 0, 0, 1)
    assert "7654321" not in receipt.model_dump_json() and "+98" not in receipt.model_dump_json()
    assert receipt.errors[0].message == "is less than the value of line 2, which is earlier, and the counter must not fall"
    assert receipt.preview == [{"line": n, "event_timestamp": f"2026-03-01T00:0{m}:00+00:00", "machine_id": "m", "sensor_type": "press"} for n, m in ((2, 1), (4, 1), (5, 2))]  # fmt: skip
    again = HEADER + "name,v\n" + f"{at(1)},m,press,hours,70\n{at(1)},m,press,hours,60\n{at(2)},m,press,hours,65\n"
    corrected = plant.land(again, correction=True)
    assert counts(corrected) == (3, 1, 1, 1, 0), "of two lines of one key the last is the one that counts"


values = st.tuples(
    st.integers(0, 5), st.sampled_from("ab"), st.none() | st.integers(0, 6), st.none() | st.integers(0, 30), st.booleans()
)


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.lists(values, min_size=1, max_size=30), st.integers(1, 30), st.booleans())
def test_what_lands_is_unique_and_never_falls(lines: list[Any], cut: int, correction: bool) -> None:
    """However the lines are ordered and cut into blocks, against the rules applied line after line."""
    told = dataset(
        {"hours": Reading(type="int64", counter=True), "serial": Reading(type="int64", unique=True), "plain": Reading(max=9)}
    )
    opened = rules(told, constants={"sensor_type": "press"}, correction=correction)
    columns = {
        "timestamp": [at(minute) for minute, *_ in lines],
        "machine_id": [machine for _, machine, *_ in lines],
        "hours": ["" if hours is None else str(hours) for _, _, hours, *_ in lines],
        "serial": ["" if serial is None else str(serial) for *_, serial, _ in lines],
        "plain": ["1" if fine else "10" for *_, fine in lines],
    }
    for start in range(0, len(lines), cut):
        part = {name: Cells(pa.array(texts[start : start + cut], pa.string())) for name, texts in columns.items()}
        opened.apply(Block(part, np.arange(start, min(start + cut, len(lines)))))
    opened.several.judge()
    found = {position: [error["code"] for error in errors] for some in opened.several.failed() for position, errors in some}
    opened.close()
    assert found == _line_after_line(lines, correction)


def _line_after_line(lines: list[Any], correction: bool) -> dict[int, list[str]]:
    failed: dict[int, list[str]] = defaultdict(list)
    good = [fine for *_, fine in lines]
    seen: set[int] = set()
    unique = []
    for n, (_, _, _, serial, _) in enumerate(lines):
        if serial is not None and serial in seen:
            unique.append(n)
        if serial is not None and good[n]:
            seen.add(serial)
    series: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for n, (minute, machine, hours, *_) in enumerate(lines):
        if hours is not None:
            series[machine][minute].append(n)
    still = [fine and n not in unique for n, fine in enumerate(good)]
    while True:
        before = len(failed)
        for moments in series.values():
            high = -1
            for minute in sorted(moments):
                n = sorted(moments[minute], key=lambda n: (not still[n], -n if correction else n))[0]
                if lines[n][2] < high:
                    failed[n] = ["counter_fell"]
                    still[n] = False
                elif still[n]:
                    high = lines[n][2]
        if len(failed) == before:  # a line that took the place of one that fell may fall itself
            break
    for moments in series.values():
        land = [next((n for n in sorted(moments[minute], reverse=correction) if still[n]), None) for minute in sorted(moments)]
        kept = [lines[n][2] for n in land if n is not None]
        assert kept == sorted(kept)
    for n in unique:
        failed[n].append("unique")
    return dict(failed)


def test_a_line_that_takes_the_place_of_a_fallen_one_is_judged_too(watching: Any) -> None:
    plant = watching()
    lines = [f"{at(0)},m,press,10", f"{at(1)},m,press,5", f"{at(1)},m,press,7", f"{at(1)},m,press,12", f"{at(2)},m,press,11"]
    receipt = plant.land(HEADER + "hours\n" + "\n".join(lines) + "\n")
    assert counts(receipt) == (5, 2, 0, 0, 3)
    assert [row["hours"] for _, row in sorted(plant.measurements().items())] == [10, 12]


def test_ignored_lines_of_a_long_file_are_not_judged(watching: Any) -> None:
    plant = watching(layout={"reading": "name", "value": "value"}, ignore=["noise"])
    lines = [f"{at(0)},m,press,plain,1,10", f"{at(1)},m,press,noise,1,5", f"{at(2)},m,press,plain,2,11"]
    receipt = plant.land(HEADER + "name,value,hours\n" + "\n".join(lines) + "\n")
    assert (*counts(receipt), receipt.ignored) == (2, 2, 0, 0, 0, 1)


def test_a_value_that_a_long_line_and_a_column_give_is_an_error(watching: Any) -> None:
    plant = watching(layout={"reading": "name", "value": "value"})
    lines = [f"{at(0)},m,press,plain,1,", f"{at(1)},m,press,plain,1,2", f"{at(2)},m,press,level,3,2"]
    receipt = plant.land(HEADER + "name,value,plain\n" + "\n".join(lines) + "\n")
    assert counts(receipt) == (3, 2, 0, 0, 1)
    assert plant.quarantine(receipt.batch_id) == [(3, lines[1].encode(), ["plain:given_twice"])]


def test_nothing_is_kept_for_a_dataset_without_such_rules() -> None:
    opened = rules(dataset())
    opened.apply(Block({"timestamp": Cells(pa.array([at(1)])), "plain": Cells(pa.array(["1"]))}, np.arange(1)))
    assert opened.several._db is None and opened.several.judge() == [] and list(opened.several.failed()) == []
    opened.close()


def test_further_errors_join_those_that_a_line_has(watching: Any) -> None:
    plant = watching()
    receipt = plant.land(HEADER + f"serial,plain\n{at(1)},m,press,A,1\n{at(2)},m,press,A,x\n")
    ((errors,),) = plant.rows("select errors from landing.quarantine where batch_id = %s", receipt.batch_id)
    assert [error["code"] for error in errors] == ["not_a_number", "unique"] and "line 2" in json.dumps(errors)
