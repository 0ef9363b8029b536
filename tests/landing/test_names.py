"""Which column, and which name of a long file, is which reading; what is left out, refused, or becomes a new one."""

from __future__ import annotations

import re
from typing import Any

import pytest

from millwright.definitions import Dataset, Reading
from millwright.landing.mapping import BadOptions, Delivery, check_options, name_problem
from millwright.landing.rows import Refused
from tests.landing.conftest import DEFINITIONS
from tests.landing.rulebook import CONSTANTS, check, check_json, dataset, outcome, rules

LONG = {"reading": "name", "value": "value"}


def test_one_line_of_a_long_file_is_one_reading_by_its_own_rules() -> None:
    told = dataset(layout=LONG, columns={"timestamp": "event_timestamp", "T1": "temperature"}, missing=["-"])
    columns = {
        "name": ["T1", "running", "status", "cycles", "odd", "T1", " plain ", "", "plain", "temperature"],
        "value": ["21.5", "TRUE", " a ", "1.5", "7", "500", "3", "4", "-", "22"],
    }
    assert outcome(check(columns, told), 10) == [
        {"temperature": 21.5}, {"running": True}, {"status": " a "}, ["cycles:not_an_integer"], {"odd": 7}, ["T1:out_of_range"],
        {"plain": 3}, ["name:required"], [":no_readings"], {"temperature": 22},
    ]  # fmt: skip
    assert check(columns, told).new_readings == ["odd"]


def test_units_and_required_hold_for_a_long_file() -> None:
    told = dataset({"t": Reading(unit="degC", required=True), "n": Reading(required=True)}, layout=LONG, units={"t": "degF"})
    assert outcome(check({"name": ["t", "t"], "value": ["212", ""]}, told), 2) == [{"t": 100}, ["t:required"]]


@pytest.mark.parametrize(
    ("policy", "expected"), [("land", {"odd": 7}), ("refuse", ["name:unknown_reading"]), ("ignore", [])]
)  # fmt: skip
def test_names_of_a_long_file_that_are_no_readings_follow_the_policy(policy: str, expected: Any) -> None:
    typed = check({"name": ["odd", "plain"], "value": ["7", "1"]}, dataset(layout=LONG, unknown_columns=policy))
    assert outcome(typed, 2) == [expected, {"plain": 1}]
    assert typed.ignored == (policy == "ignore")


def test_ignored_readings_and_columns_are_left_out_and_counted() -> None:
    columns = {"name": ["junk", "plain", "junk"], "value": ["x", "1", ""], "quality": ["good"] * 3, "timestamp": ["bad"] * 3}
    typed = check(
        columns | {"timestamp": ["bad", "2026-03-01T00:00:00Z", ""]}, dataset(layout=LONG, ignore=["junk"]), ignore=["quality"]
    )
    assert outcome(typed, 3) == [[], {"plain": 1}, []]
    assert (typed.ignored, typed.errors) == (2, {})


def test_a_column_beside_a_long_layout_is_not_guessed_at() -> None:
    with pytest.raises(Refused, match="--ignore quality"):
        check({"name": ["plain"], "value": ["1"], "quality": ["good"]}, dataset(layout=LONG))
    with pytest.raises(Refused, match="--long reading=value"):
        check({"name": ["plain"], "wert": ["1"]}, dataset(layout=LONG))


def test_a_long_file_whose_two_columns_are_swapped_is_refused() -> None:
    values = [str(n) for n in range(10_001)]
    with pytest.raises(Refused, match="more than 10,000 readings.*--long reading=value"):
        check({"name": ["plain"] * len(values), "value": values}, dataset(layout={"reading": "value", "value": "name"}))


def test_names_that_no_reading_may_have_are_errors_of_their_lines() -> None:
    names = ["a\x07b", "x" * 64, "machine_id", "event_timestamp", "a\u200bb", 'x"; drop table', "µ" * 31]
    typed = check({"name": names, "value": ["1"] * 7}, dataset(layout=LONG))
    assert outcome(typed, 7) == [["name:bad_reading_name"]] * 5 + [{'x"; drop table': 1}, {"µ" * 31: 1}]


def test_messages_may_be_long_too() -> None:
    messages = [{"name": "plain", "value": 1}, {"name": "plain", "value": "1"}, {"name": 5, "value": 1}, {"value": 1},
                {"name": "plain", "value": 1, "quality": "good"}]  # fmt: skip
    assert outcome(check_json(messages, dataset(layout=LONG)), 5) == [
        {"plain": 1}, ["plain:wrong_type"], ["name:wrong_type"], ["name:required"], ["quality:unknown_field"],
    ]  # fmt: skip


def test_unknown_fields_of_messages_follow_the_policy_row_by_row() -> None:
    messages = [{"plain": 1}, {"plain": 1, "odd": 2}, {"plain": 1, "odd": None}, {"plain": 1, " x": 1}]
    assert outcome(check_json(messages, dataset(unknown_columns="refuse")), 4) == [
        {"plain": 1}, ["odd:unknown_field"], {"plain": 1}, [" x:unknown_field"],
    ]  # fmt: skip
    assert outcome(check_json(messages, dataset(unknown_columns="ignore")), 4) == [{"plain": 1}] * 4
    assert outcome(check_json(messages, dataset(ignore=["odd"])), 4) == [{"plain": 1}] * 3 + [[" x:bad_reading_name"]]


@pytest.mark.parametrize(
    ("columns", "change", "delivery", "says"),
    [
        ({"odd": ["1"]}, {"unknown_columns": "refuse"}, {}, "no field for the column 'odd'"),
        ({"Plain": ["1"]}, {}, {}, "--map Plain=plain"),
        ({"plain": ["1"]}, {}, {"ignore": ["plane"]}, "no column 'plane' (did you mean plain?) to ignore"),
        ({"plain": ["1"]}, {}, {"columns": {"plane": "plain"}}, "no column 'plane' (did you mean plain?) to map"),
        ({"odd": ["1"]}, {}, {"columns": {"odd": "x" * 64}}, "longer than 63 bytes"),
        ({"odd": ["1"]}, {}, {"columns": {"odd": "a\tb"}}, "control character"),
        ({"a": ["1"], "b": ["1"]}, {}, {"columns": {"a": "plain", "b": "plain"}}, "'a' and 'b' both mean plain"),
        ({"a": ["1"], "b": ["1"]}, {}, {"columns": {"a": "new", "b": "new"}}, "'a' and 'b' both mean new"),
        ({"plain": ["1"]}, {"ignore": ["plain"]}, {}, "No column is a value"),
        ({"plain": ["1"]}, {"ignore": ["timestamp"]}, {}, "No column is event_timestamp"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_certain_is_refused(
    columns: dict[str, list[str]], change: dict[str, Any], delivery: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused, match=re.escape(says)) as refused:
        check(columns, dataset(**change), **delivery)
    assert "Nothing was loaded" in str(refused.value)


def test_what_a_delivery_names_goes_before_the_dataset() -> None:
    told = dataset(ignore=["odd", "junk"], unknown_columns="ignore")
    typed = check({"odd": ["1"], "junk": ["x"], "other": ["y"], "plain": ["2"]}, told, columns={"odd": "cycles"})
    assert outcome(typed, 1) == [{"cycles": 1, "plain": 2}]
    typed = check({"odd": ["1"]}, told, columns={"odd": "brand_new"})
    assert (outcome(typed, 1), typed.new_readings) == ([{"brand_new": 1}], ["brand_new"])


@pytest.mark.parametrize(
    "delivery", [{"columns": {"a": "plain"}, "ignore": ["a"]}, {"units": {"nothing": "bar"}}, {"units": {"machine_id": "bar"}}]
)
def test_options_that_contradict_are_told_before_a_file_is_read(delivery: dict[str, Any]) -> None:
    with pytest.raises(BadOptions):
        check_options(DEFINITIONS, dataset(), Delivery(**delivery))


def test_a_sensitive_field_is_no_constant_because_receipts_show_those() -> None:
    with pytest.raises(BadOptions, match="machine_id is sensitive in the dataset"):
        check_options(DEFINITIONS, dataset(sensitive=["machine_id"]), Delivery(constants={"machine_id": "m"}))
    with pytest.raises(ValueError, match="machine_id cannot be sensitive and a constant"):
        Dataset(dataset="one", entity="machine", constants={"machine_id": "m"}, sensitive=["machine_id"])


def test_a_name_is_at_most_63_bytes_of_what_can_be_seen() -> None:
    assert [name_problem(name) is None for name in ("x" * 63, "Öl °C", "a/b c", "x" * 64, "µ" * 32, "", " ", " a", "a\n", "\ufeffa")] == [
        True, True, True, False, False, False, False, False, False, False,
    ]  # fmt: skip


def test_the_receipt_says_what_names_and_cells_were_taken_to_mean() -> None:
    told = dataset(timezone="UTC", ignore=["note"], missing=["-"], constants={"status": "new"}, units={"temperature": "degF"})
    opened = rules(
        told, columns={"ts": "event_timestamp"}, timezone="Europe/Berlin", timestamps={"ambiguous": "latest"}, missing=["?"],
        numbers={"decimal": ","}, units={"pressure": "kPa"},
    )  # fmt: skip
    facts = opened.facts(["ts", "temperature", "note", "odd"])
    opened.close()
    assert facts == {
        "timezone": "Europe/Berlin",
        "timestamps": {"format": "iso", "ambiguous": "latest", "nonexistent": "error"},
        "numbers": {"decimal": ",", "thousands": ""},
        "units": {"temperature": "degF", "pressure": "kPa"},
        "missing": ["-", "?"],
        "layout": None,
        "columns": {"ts": "event_timestamp", "temperature": "temperature", "odd": "odd"},
        "constants": {"status": "new"} | CONSTANTS,
        "ignored": ["note"],
    }


@pytest.mark.parametrize("target", ["events", "feature_set"])
def test_the_rules_are_those_of_every_target(target: str) -> None:
    values = {"events": "attributes", "feature_set": "features"}[target]
    told = dataset(
        {},
        target=target,
        **{values: {"wear": Reading(max=1, unit="mm"), "grade": Reading(type="string", allowed=["A"])}},
    )
    constants = {"machine_id": "m"} | ({"kind": "failure"} if target == "events" else {})
    typed = check({"wear": ["0.5", "2"], "grade": ["A", "B"]}, told, constants=constants, units={"wear": "mm"})
    assert outcome(typed, 2) == [{"wear": 0.5, "grade": "A"}, ["wear:out_of_range", "grade:not_allowed"]]


def test_epochs_of_messages_may_be_json_numbers_or_text() -> None:
    messages = [
        {"timestamp": 1772366400.25, "plain": 1},
        {"timestamp": "1772366400", "plain": 1},
        {"timestamp": True, "plain": 1},
    ]
    typed = check_json(messages, dataset(timestamps={"format": "epoch_s"}))
    assert outcome(typed, 3) == [{"plain": 1}, {"plain": 1}, ["timestamp:wrong_type"]]
    assert typed.event_timestamp[0].as_py().isoformat() == "2026-03-01T12:00:00.250000+00:00"
