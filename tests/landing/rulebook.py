"""What the tests of rules share: a dataset with one reading of each type, and a block from columns of text."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from millwright.definitions import Dataset, Reading
from millwright.landing.kafka import block
from millwright.landing.mapping import Delivery
from millwright.landing.rows import Block, Cells
from millwright.landing.rules import Rules, Typed
from millwright.settings import Settings
from tests.landing.conftest import DEFINITIONS

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CONSTANTS = {"machine_id": "m", "sensor_type": "press"}
AT = "2026-03-01T00:00:00Z"
READINGS = {
    "temperature": Reading(type="double", unit="degC", min=-50, max=400),
    "pressure": Reading(type="double", unit="bar"),
    "length": Reading(type="int64", unit="mm"),
    "cycles": Reading(type="int64"),
    "running": Reading(type="bool"),
    "status": Reading(type="string"),
    "plain": Reading(type="double"),
}


def dataset(readings: dict[str, Reading] | None = None, **change: Any) -> Dataset:
    """The dataset of these tests, changed."""
    return Dataset.model_validate(
        {
            "dataset": "fleet",
            "entity": "machine",
            "columns": {"timestamp": "event_timestamp"},
            "readings": READINGS if readings is None else readings,
        }
        | change
    )


def rules(told: Dataset, fixed: bool = True, units: dict[str, str] | None = None, **delivery: Any) -> Rules:
    """The rules of one delivery; machine and sensor type are set unless the delivery sets its own."""
    delivery = {"constants": CONSTANTS if fixed else {}} | delivery
    return Rules(
        Settings(project=Path.cwd()), DEFINITIONS, told, Delivery(**delivery), now=NOW, fixed=fixed, units=units or {}
    )  # fmt: skip


def check(columns: dict[str, list[str]], told: Dataset | None = None, /, **options: Any) -> Typed:
    """What the rules make of columns of text; a timestamp is added where there is none."""
    rows = len(next(iter(columns.values())))
    columns = {"timestamp": [AT] * rows} | columns
    opened = rules(told or dataset(), **options)
    try:
        return opened.apply(Block({name: Cells(pa.array(v, pa.string())) for name, v in columns.items()}, np.arange(rows)))
    finally:
        opened.close()


def check_json(messages: list[dict[str, Any]], told: Dataset | None = None, **options: Any) -> Typed:
    """What the rules make of JSON objects."""
    base = {"timestamp": AT} | CONSTANTS
    opened = rules(told or dataset(), fixed=False, **options)
    try:
        return opened.apply(block({at: json.dumps(base | message).encode() for at, message in enumerate(messages)}))
    finally:
        opened.close()


def outcome(typed: Typed, rows: int) -> list[Any]:
    """Per row its readings, or its errors as `column:code`."""
    values = dict(zip(typed.good.tolist(), typed.readings.to_pylist(), strict=True))
    return [
        json.loads(values[row]) if row in values else [f"{e['column']}:{e['code']}" for e in typed.errors.get(row, [])]
        for row in range(rows)
    ]


def one(column: str, text: str, told: Dataset | None = None, **options: Any) -> Any:
    """The value of one cell, or `code: message` of its first error; None where it is missing."""
    typed = check({column: [text], "plain": ["1"]} if column != "plain" else {column: [text], "cycles": ["1"]}, told, **options)
    if typed.errors:
        return f"{typed.errors[0][0]['code']}: {typed.errors[0][0]['message']}"
    return json.loads(typed.readings[0].as_py()).get(column)
