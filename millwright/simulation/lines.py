"""Readings as lines of a `fleet` CSV, a whole day at once.

Belongs here: text of cells and lines. Does not: files (files.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.simulation.fleet import EPOCH, Machine
from millwright.simulation.noise import Integers
from millwright.simulation.readings import DECIMALS, measure

HEADER = ",".join(("timestamp", "machine_id", "sensor_type", *DECIMALS))


def lines(crew: Sequence[Machine], at: Integers, interval: int, offset: float = 0.0) -> pa.StringArray:
    """All lines, each with its line end, by time, then machine."""
    shape = (len(at), len(crew))
    moments = [f"{EPOCH + timedelta(seconds=int(second)):%Y-%m-%dT%H:%M:%SZ}" for second in at]
    columns = [
        _text(np.repeat(np.arange(len(at)), len(crew)), moments),
        _text(np.tile(np.arange(len(crew)), len(at)), [f"{machine.machine_id},{machine.sensor_type}" for machine in crew]),
    ]
    measured = [measure(machine, at, interval) for machine in crew]
    for name, decimals in DECIMALS.items():
        values = np.full(shape, -1, dtype=np.int64)
        for column, readings in enumerate(measured):
            if name in readings:
                values[:, column] = readings[name]
        if name == "temperature" and offset:
            values = np.maximum(values + round(offset * 10**decimals), 0)
        columns.append(_decimal(values.ravel(), decimals))
    ended = pc.binary_join_element_wise(*columns, ",")
    return pc.binary_join_element_wise(ended, pa.scalar(""), "\n")


def _text(indices: Integers, words: Sequence[str]) -> pa.StringArray:
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(words, pa.string())).cast(pa.string())


def _decimal(values: Integers, decimals: int) -> pa.StringArray:
    """Integers of 10^-decimals as text, -1 as nothing. Digits are put together here, so no library's float format matters."""
    distinct, indices = np.unique(values, return_inverse=True)
    unit = 10**decimals
    words = ("" if value < 0 else f"{value // unit}.{value % unit:0{decimals}d}" for value in distinct.tolist())
    return _text(indices.astype(np.int64), list(words))


def to_bytes(ended: Any) -> bytes:
    """The values of a string array one after the other: lines with their ends are the file already."""
    _, offsets, values = ended.buffers()
    return bytes(values)[: np.frombuffer(offsets, dtype=np.int32)[len(ended)]] if len(ended) else b""
