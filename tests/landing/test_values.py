"""What a number, a truth and a text is, as the delivery writes it; held against Python's own int and float."""

from __future__ import annotations

import json
import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.definitions import Reading
from tests.budget import examples
from tests.landing.rulebook import check, check_json, dataset, one, outcome

GERMAN = {"decimal": ",", "thousands": "."}
SWISS = {"thousands": "'"}
FRENCH = {"decimal": ",", "thousands": " "}
ENGLISH = {"thousands": ","}


@pytest.mark.parametrize(
    ("numbers", "text", "expected"),
    [
        (GERMAN, "1.234,5", 1234.5),
        (GERMAN, "1234,5", 1234.5),
        (GERMAN, "1.234.567", 1234567),
        (GERMAN, "-1.234,5e2", -123450),
        (GERMAN, ",5", 0.5),
        (GERMAN, "1.23,4", "not_a_number"),
        (GERMAN, "1234.567,8", "not_a_number"),
        (GERMAN, "1,234.5", "not_a_number"),
        (GERMAN, "1.5", "not_a_number"),
        (GERMAN, ".234", "not_a_number"),
        ({"decimal": ","}, "1,5", 1.5),
        ({"decimal": ","}, "1.5", "not_a_number"),
        (SWISS, "1'234.5", 1234.5),
        (SWISS, "1’234’567.5", 1234567.5),
        (SWISS, "12'34", "not_a_number"),
        (FRENCH, "1 234,5", 1234.5),
        (FRENCH, "1\u202f234\u202f567,5", 1234567.5),
        (FRENCH, "1\u00a0234,5", 1234.5),
        (FRENCH, "1  234,5", "not_a_number"),
        (ENGLISH, "1,234.5", 1234.5),
        (ENGLISH, "1,5", "not_a_number"),
        ({"thousands": "_"}, "1_000", 1000),
        ({"thousands": "_"}, "1__000", "not_a_number"),
    ],
)  # fmt: skip
def test_numbers_as_a_country_writes_them(numbers: dict[str, str], text: str, expected: Any) -> None:
    got = one("plain", text, numbers=numbers)
    assert got == expected if not isinstance(expected, str) else got.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("1.234", 1234), ("-1.234.567", -1234567), ("1,0", "not_an_integer"), ("12.34", "not_an_integer")]
)
def test_whole_numbers_may_have_marks_and_no_fraction(text: str, expected: Any) -> None:
    got = one("cycles", text, numbers=GERMAN)
    assert got == expected if not isinstance(expected, str) else got.startswith(expected)


def test_json_writes_numbers_as_json_does_whatever_the_files_do() -> None:
    typed = check_json([{"plain": 1.5}, {"plain": 1234}], dataset(numbers=GERMAN))
    assert outcome(typed, 2) == [{"plain": 1.5}, {"plain": 1234}]


@pytest.mark.parametrize(
    ("column", "text", "told"),
    [
        ("plain", "N/A", "--missing"),
        ("plain", "-", "--missing"),
        ("plain", "NaN", "--missing"),
        ("cycles", "NULL", "--missing"),
        ("plain", "5 °C", "--unit plain=…"),
        ("plain", "5.3mm/s", "--unit plain=…"),
        ("plain", "1,5", "--decimal ,"),
        ("plain", "1.234,5", "--decimal , --thousands ."),
        ("plain", "1,234.5", "--thousands ,"),
        ("plain", "1_000", "--thousands _"),
        ("plain", "1'000", '--thousands "\'"'),
        ("plain", "1 000", "--thousands ' '"),
        ("plain", "0x10", "is not a decimal number"),
        ("plain", "\uff15", "digits or marks other than 0 to 9"),
        ("plain", "−5", "not the minus sign"),
        ("cycles", "1.7", "the type is double"),
        ("cycles", "1e3", "the type is double"),
        ("cycles", "9223372036854775808", "64 bits"),
        ("running", "yes", "yes: and no:"),
        ("plain", "1e400", "finite"),
    ],
)  # fmt: skip
def test_what_is_no_value_is_told_how_to_read_it(column: str, text: str, told: str) -> None:
    got = one(column, text)
    assert repr(text) in got and told in got


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0), min_size=1, max_size=50))
def test_doubles_come_back_bit_for_bit(values: list[float]) -> None:
    """But for -0, which lands as 0: a number of JSON has no sign of nothing."""
    got = [row["plain"] for row in outcome(check({"plain": [repr(value) for value in values]}), len(values))]
    assert [struct.pack("d", float(value)) for value in got] == [struct.pack("d", value) for value in values]


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40), min_size=1, max_size=50)
)
def test_decimals_are_what_python_makes_of_them(values: list[Decimal]) -> None:
    got = [row["plain"] for row in outcome(check({"plain": [str(value) for value in values]}), len(values))]
    assert [float(value) for value in got] == [float(value) for value in values]


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50), st.sampled_from([None, GERMAN, SWISS, ENGLISH]))
def test_whole_numbers_are_exact(values: list[int], numbers: Any) -> None:
    mark = (numbers or {}).get("thousands", "")
    texts = [f"{value:,}".replace(",", mark) if mark else str(value) for value in values]
    assert [row["cycles"] for row in outcome(check({"cycles": texts}, numbers=numbers), len(values))] == values


@pytest.mark.property
@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.text("0123456789+-.eE_ xinfa٣", max_size=8), min_size=1, max_size=50))
def test_what_python_takes_for_a_number_and_we_do_not_is_listed(texts: list[str]) -> None:
    """Python's float also takes `1_0`, digits of other scripts, inf and nan, and strips more than blanks; we refuse these.

    Nothing is taken that Python refuses; what both take is equal.
    """
    for text, got in zip(texts, outcome(check({"plain": texts, "status": ["x"] * len(texts)}), len(texts)), strict=True):
        try:
            wanted = float(text)
        except ValueError:
            wanted = math.nan
        if isinstance(got, list):
            assert not math.isfinite(wanted) or "_" in text or "٣" in text
        else:
            assert got.get("plain") == wanted or not text.strip(" ")


def test_declared_words_mean_what_the_dataset_says_in_csv_and_json() -> None:
    told = dataset(missing=["NULL", "-", "n/a", -9999], yes=["Ja", 1, "on"], no=["Nein", 0])
    columns = {
        "plain": ["NULL", "-9999", " n/a ", "null"],
        "running": ["JA", "1", "nein", "0"],
        "status": ["-", "n/a", "N/A", ""],
        "odd": ["-", "-9999", "3", "n/a"],
    }
    assert outcome(check(columns, told), 4) == [
        {"running": True}, {"running": True}, {"running": False, "status": "N/A", "odd": 3}, ["plain:not_a_number"],
    ]  # fmt: skip
    messages = [
        {"plain": "NULL", "running": "ja"}, {"plain": -9999, "running": 1}, {"plain": "5", "running": 0}, {"plain": 1, "running": 2},
    ]  # fmt: skip
    assert outcome(check_json(messages, told), 4) == [
        {"running": True}, {"running": True}, ["plain:wrong_type"], ["running:wrong_type"],
    ]  # fmt: skip
    assert outcome(check({"plain": ["?", "x"], "cycles": ["1", "1"]}, missing=["?"]), 2) == [
        {"cycles": 1},
        ["plain:not_a_number"],
    ]


def test_a_missing_word_is_missing_in_keys_and_timestamps_too() -> None:
    typed = check({"timestamp": ["-"], "machine_id": ["-"], "plain": ["1"]}, missing=["-"], constants={"sensor_type": "press"})
    assert outcome(typed, 1) == [["timestamp:required", "machine_id:required"]]


def test_words_that_yaml_spoils_are_asked_for_in_quotes() -> None:
    for spoiled in (None, True, 1.0):
        with pytest.raises(ValueError, match="put the word into quotes"):
            dataset(missing=[spoiled])
    with pytest.raises(ValueError, match="both true and false"):
        dataset(yes=["X"], no=["x"])


def test_allowed_values_and_patterns_hold_for_whole_cells() -> None:
    told = dataset(
        {
            "grade": Reading(type="int64", allowed=["1", "2"]),
            "size": Reading(type="double", allowed=["0.5", "1"]),
            "state": Reading(type="string", allowed=["on", "off"]),
            "serial": Reading(type="string", pattern="[A-Z]{2}[0-9]+|none"),
        }
    )
    columns = {
        "grade": ["1", "3", "2", ""],
        "size": ["1.0", "0.50", "0.51", ""],
        "state": ["on", "On", "off", ""],
        "serial": ["AB1", "none", "xAB1", "AB1\nAB2"],
    }
    assert outcome(check(columns, told), 4) == [
        {"grade": 1, "size": 1, "state": "on", "serial": "AB1"},
        ["grade:not_allowed", "state:not_allowed"],
        ["size:not_allowed", "serial:no_match"],
        ["serial:no_match"],
    ]


@pytest.mark.parametrize(
    "rule", [{"pattern": "(?=a)"}, {"pattern": "["}, {"type": "int64", "allowed": ["x"]}, {"type": "bool", "allowed": ["1"]}]
)
def test_a_rule_that_cannot_hold_is_no_definition(rule: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="RE2|allowed"):
        Reading(**{"type": "string"} | rule)


def test_bounds_of_whole_numbers_are_exact_beyond_the_doubles() -> None:
    told = dataset({"n": Reading(type="int64", min=-(2.0**53), max=2.0**53)})
    texts = [str(2**53), str(2**53 + 1), str(-(2**53)), str(-(2**53) - 1)]
    assert outcome(check({"n": texts}, told), 4) == [{"n": 2**53}, ["n:out_of_range"], {"n": -(2**53)}, ["n:out_of_range"]]
    told = dataset({"n": Reading(type="int64", min=0.5, max=1e30)})
    assert outcome(check({"n": ["0", "1"]}, told), 2) == [["n:out_of_range"], {"n": 1}]


def test_no_message_shows_a_sensitive_cell() -> None:
    told = dataset(
        {"plain": Reading(max=5), "status": Reading(type="string", pattern="x")}, sensitive=["plain", "status", "machine_id"]
    )
    columns = {"plain": ["secret", "77777"], "status": ["hidden", "x"], "machine_id": ["x" * 300, "m"]}
    typed = check(columns, told, constants={"sensor_type": "press"})
    assert outcome(typed, 2) == [["machine_id:too_long", "plain:not_a_number", "status:no_match"], ["plain:out_of_range"]]
    messages = json.dumps(typed.errors)
    assert not [word for word in ("secret", "77777", "hidden", "xxx") if word in messages]
    long = check(
        {"name": ["plain", "status"], "v": ["secret", "hidden"]}, told, layout={"reading": "name", "value": "v"}
    )  # fmt: skip
    assert outcome(long, 2) == [["plain:not_a_number"], ["status:no_match"]]
    assert "secret" not in json.dumps(long.errors) and "hidden" not in json.dumps(long.errors)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "null", "N/A", "-"])
def test_a_new_reading_takes_no_word_for_nothing_as_text(text: str) -> None:
    assert "--missing" in one("odd", text)
    assert one("odd", text, missing=[text]) is None
