"""What a cell means: every accepted form, every refused one with its code; nothing rounded, guessed or shifted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millwright.landing.kafka import block
from millwright.landing.mapping import Delivery
from millwright.landing.rows import Block, Cells
from millwright.landing.rules import Rules, Typed
from millwright.settings import Settings
from tests.landing.conftest import DEFINITIONS

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CONSTANTS = {"machine_id": "m", "sensor_type": "press"}


@pytest.fixture
def check(tmp_path: Path) -> Iterator:
    opened: list[Rules] = []

    def run(columns: dict[str, list[str]], **delivery) -> Typed:
        rules = Rules(
            Settings(project=tmp_path), DEFINITIONS, DEFINITIONS.datasets["fleet"], Delivery(**delivery), now=NOW, fixed=True
        )
        opened.append(rules)
        rows = len(next(iter(columns.values())))
        cells = {name: Cells(pa.array(values, pa.string())) for name, values in columns.items()}
        return rules.apply(Block(cells, np.arange(rows, dtype=np.int64)))

    yield run
    for rules in opened:
        rules.close()


def codes(typed: Typed, row: int = 0) -> list[str]:
    return [f"{error['column']}:{error['code']}" for error in typed.errors.get(row, [])]


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-03-01T12:00:00Z", None, "2026-03-01T12:00:00+00:00"),
        (" 2026-03-01 12:00:00.25+02:00 ", None, "2026-03-01T10:00:00.250000+00:00"),
        ("2026-03-01T12:00+0530", None, "2026-03-01T06:30:00+00:00"),
        ("2026-03-01T12:00:00-02", "Europe/Berlin", "2026-03-01T14:00:00+00:00"),
        ("2026-03-01 12:00:00", "UTC", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01 12:00:00,123456789", "Europe/Berlin", "2026-03-01T11:00:00.123456+00:00"),
        ("2024-02-29 23:59:59", "America/New_York", "2024-03-01T04:59:59+00:00"),
        ("2026-03-29 03:00:00", "Europe/Berlin", "2026-03-29T01:00:00+00:00"),
        ("2026-03-01 12:00:00", None, "naive_timestamp"),
        ("2026-03-29 02:30:00", "Europe/Berlin", "nonexistent_timestamp"),
        ("2026-10-25 02:30:00", "Europe/Berlin", "ambiguous_timestamp"),
        ("2026-04-05 01:45:00", "Australia/Lord_Howe", "ambiguous_timestamp"),
        ("", None, "required"),
        ("2026-02-31T00:00:00Z", None, "not_a_timestamp"),
        ("2023-02-29 00:00:00", "UTC", "not_a_timestamp"),
        ("2026-13-01T00:00:00Z", None, "not_a_timestamp"),
        ("2026-03-01T24:00:00Z", None, "not_a_timestamp"),
        ("2026-03-01T23:59:60Z", None, "not_a_timestamp"),
        ("01/02/2026 00:00:00", "UTC", "not_a_timestamp"),
        ("2026-03-01", "UTC", "not_a_timestamp"),
        ("1772366400", "UTC", "not_a_timestamp"),
        ("infinity", "UTC", "not_a_timestamp"),
        ("2009-12-31T23:59:59Z", None, "before_first_day"),
        ("0001-01-01T00:00:00Z", None, "before_first_day"),
        ("9999-12-31T23:59:59Z", None, "in_future"),
        ("2026-11-21T01:00:00.000001Z", None, "in_future"),
        ("2026-11-21T01:00:00Z", None, "2026-11-21T01:00:00+00:00"),
    ],
)  # fmt: skip
def test_timestamps(check, text: str, zone: str | None, expected: str) -> None:
    typed = check({"timestamp": [text], "temperature": ["1"]}, constants=CONSTANTS, timezone=zone)
    if expected[0].isdigit():
        assert not typed.errors
        assert typed.event_timestamp[0].as_py().isoformat() == expected
    else:
        assert codes(typed) == [f"timestamp:{expected}"]


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        ("temperature", " 5 ", 5),
        ("temperature", "+5.", 5),
        ("temperature", ".5e1", 5),
        ("temperature", "-0", 0),
        ("temperature", "73.93588199999998", 73.93588199999998),
        ("temperature", "1_000", "not_a_number"),
        ("temperature", "1,5", "not_a_number"),
        ("temperature", "0x10", "not_a_number"),
        ("temperature", "５", "not_a_number"),
        ("temperature", "5 °C", "not_a_number"),
        ("temperature", "N/A", "not_a_number"),
        ("temperature", "NaN", "not_finite"),
        ("temperature", "-Infinity", "not_finite"),
        ("temperature", "1e400", "not_finite"),
        ("temperature", "400.0001", "out_of_range"),
        ("temperature", "-50.1", "out_of_range"),
        ("cycles", "007", 7),
        ("cycles", "9223372036854775807", 9223372036854775807),
        ("cycles", "9223372036854775808", "out_of_range"),
        ("cycles", "1.7", "not_an_integer"),
        ("cycles", "1e2", "not_an_integer"),
        ("running", "TRUE", True),
        ("running", "yes", "not_a_bool"),
        ("status", " kept \"as\" it\tis\\ ", " kept \"as\" it\tis\\ "),
        ("odd", "7", 7),
        ("odd", "1.50", 1.5),
        ("odd", "true", True),
        ("odd", "True", "text:True"),
        ("odd", "007", "text:007"),
        ("odd", "NaN", "missing_word"),
        ("odd", "12345678901234567", 12345678901234567),
        ("odd", "1e999", "not_finite"),
    ],
)  # fmt: skip
def test_readings(check, column: str, text: str, expected: object) -> None:
    typed = check({"timestamp": ["2026-03-01T00:00:00Z"], column: [text]}, constants=CONSTANTS)
    if isinstance(expected, str) and column != "status" and not expected.startswith("text:"):
        assert codes(typed) == [f"{column}:{expected}"]
        return
    assert not typed.errors
    value = json.loads(typed.readings[0].as_py())[column]
    wanted = expected.removeprefix("text:") if isinstance(expected, str) else expected
    assert (value, type(value) is bool) == (wanted, type(wanted) is bool)


def test_every_failing_cell_of_a_row_is_listed_and_other_rows_are_untouched(check) -> None:
    typed = check(
        {
            "timestamp": ["x", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"],
            "machine_id": ["", "m", "m"],
            "sensor_type": ["press", "press", "press"],
            "temperature": ["n/a", "1", ""],
            "vibration": ["-1", "", ""],
        }
    )
    assert sorted(codes(typed)) == [
        "machine_id:required",
        "temperature:not_a_number",
        "timestamp:not_a_timestamp",
        "vibration:out_of_range",
    ]
    assert codes(typed, 2) == [":no_readings"]
    assert typed.good.tolist() == [1]
    assert typed.readings.to_pylist() == ['{"temperature":1}']


def test_json_types_bind(tmp_path: Path) -> None:
    base = {"timestamp": "2026-03-01T00:00:00Z", "machine_id": "m", "sensor_type": "press"}
    messages = [
        base | {"temperature": 1.5, "cycles": 3, "running": True, "status": "7", "note": "7", "speed": 7, "gone": None},
        base | {"temperature": "1.5"},
        base | {"cycles": 3.0},
        base | {"status": 7},
        base | {"temperature": [1]},
        base | {"temperature": 1, "machine_id": 7},
        base | {"temperature": True},
        base | {"temperature": 1, "extra": {"a": 1}},
        {"temperature": 1},
        base | {"temperature": 1, "event_timestamp": "2026-03-01T00:00:00Z"},
    ]
    lines = block({offset: json.dumps(message).encode() for offset, message in enumerate(messages)})
    rules = Rules(Settings(project=tmp_path), DEFINITIONS, DEFINITIONS.datasets["fleet"], Delivery(), now=NOW, fixed=False)
    typed = rules.apply(lines)
    rules.close()
    assert json.loads(typed.readings[0].as_py()) == {
        "temperature": 1.5,
        "cycles": 3,
        "running": True,
        "status": "7",
        "note": "7",
        "speed": 7,
    }
    assert [sorted(codes(typed, row)) for row in range(1, len(messages))] == [
        ["temperature:wrong_type"],
        ["cycles:not_an_integer"],
        ["status:wrong_type"],
        ["temperature:wrong_type"],
        ["machine_id:wrong_type"],
        ["temperature:wrong_type"],
        ["extra:wrong_type"],
        ["machine_id:required", "sensor_type:required", "timestamp:required"],
        ["event_timestamp:given_twice"],
    ]


def test_bounds_follow_the_settings(tmp_path: Path) -> None:
    settings = Settings(project=tmp_path, first_day="2020-01-01", max_future=timedelta(days=2))
    rules = Rules(settings, DEFINITIONS, DEFINITIONS.datasets["fleet"], Delivery(constants=CONSTANTS), now=NOW, fixed=True)
    times = ["2019-12-31T23:59:59Z", "2020-01-01T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-23T00:00:01Z"]
    typed = rules.apply(Block({"timestamp": Cells(pa.array(times)), "temperature": Cells(pa.array(["1"] * 4))}, np.arange(4)))
    rules.close()
    assert typed.good.tolist() == [1, 2]
