"""Every value type that is kept, with values at its edges, as Arrow and as Feast's messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from feast.protos.feast.types import Value_pb2 as feast_types
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp

NEW_YEAR, SIXTIES = datetime(2026, 1, 1, 7, 8, 9, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC)

SCALARS: dict[str, tuple[pa.DataType, FeastType, list[Any]]] = {
    "double": (pa.float64(), Float64, [0.0, -0.0, 1.5, float("nan"), float("inf"), -2.25e-308]),
    "float": (pa.float32(), Float32, [0.0, 1.5, -(2.0**100)]),
    "int32": (pa.int32(), Int32, [0, 1, -1, 127, 128, 2**31 - 1, -(2**31)]),
    "int64": (pa.int64(), Int64, [0, -1, 127, 128, 16383, 16384, 2**63 - 1, -(2**63)]),
    "bool": (pa.bool_(), Bool, [True, False]),
    "string": (pa.string(), String, ["", "a", "é" * 100, "x" * 20_000]),
    "bytes": (pa.binary(), Bytes, [b"", b"\x00\xff", b"y" * 130]),
    "unix_timestamp": (pa.timestamp("us", "UTC"), UnixTimestamp, [NEW_YEAR, SIXTIES]),
}
_LISTS = {
    "double": feast_types.DoubleList,
    "float": feast_types.FloatList,
    "int32": feast_types.Int32List,
    "int64": feast_types.Int64List,
    "bool": feast_types.BoolList,
    "string": feast_types.StringList,
    "bytes": feast_types.BytesList,
    "unix_timestamp": feast_types.Int64List,
}


def cases() -> dict[str, tuple[pa.Array, FeastType, list[Value]]]:
    """Value type → Arrow column with nulls, Feast type, Feast's messages of the column."""
    found: dict[str, tuple[pa.Array, FeastType, list[Value]]] = {}
    for name, (arrow, feast, values) in SCALARS.items():
        column = [*values, None]
        found[name] = (pa.array(column, arrow), feast, [message(name, value) for value in column])
        lists = [values, [], None, values[:1], values[::-1]]
        found[f"{name}_list"] = (
            pa.array(lists, pa.list_(arrow)),
            Array(feast),
            [message(f"{name}_list", value) for value in lists],
        )
    return found


def message(kind: str, value: Any) -> Value:
    if value is None:
        return Value()
    name = kind.removesuffix("_list")
    plain: Callable[[Any], Any] = (lambda each: int(each.timestamp())) if name == "unix_timestamp" else lambda each: each
    if name == kind:
        return Value(**{f"{kind}_val": plain(value)})
    return Value(**{f"{kind}_val": _LISTS[name](val=[plain(each) for each in value])})
