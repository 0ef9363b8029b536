"""Arrow ⇄ the bytes that Feast 0.67 keeps in Redis: entity keys, field names, `Value` and `Timestamp` messages.

Belongs here: encoding and decoding, whole columns at a time. Does not: Redis, Postgres, Feast's own classes.
Formats follow feast/infra/key_encoding_utils.py (serialization version 3), online_stores/helpers.py and types/Value.proto;
tests hold every type to Feast's own writer, byte by byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import mmh3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.online import wire

# Value type → number of its field in Value.proto, of its list's field, and its number in ValueType.Enum (None: no join key).
_FIELDS = {
    "bytes": (1, 11, 1),
    "string": (2, 12, 2),
    "int32": (3, 13, 3),
    "int64": (4, 14, 4),
    "double": (5, 15, None),
    "float": (6, 16, None),
    "bool": (7, 17, None),
    "unix_timestamp": (8, 18, 8),
}
_NAMES = {scalar: name for name, (scalar, _, _) in _FIELDS.items()} | {lists: name for name, (_, lists, _) in _FIELDS.items()}
_DOUBLE = 0x29
_FEW = 8
_ONE_DOUBLE = struct.Struct("<d")
VALUE_TYPES = (*_FIELDS, *(f"{name}_list" for name in _FIELDS))


class Undecodable(ValueError):
    """Bytes that are no `Value` or `Timestamp` of a type that is kept here."""


def field(view_id: str, feature: str) -> bytes:
    """Name of a feature's field in the entity's hash: 4 bytes."""
    return struct.pack("<I", mmh3.hash(f"{view_id}:{feature}", signed=False))


def timestamp_field(view_id: str) -> bytes:
    """Name of the field that holds the event timestamp of a view's row."""
    return f"_ts:{view_id}".encode()


def order_field(view_id: str) -> bytes:
    """Name of the field that holds our order (microseconds since 1970 as decimal text). Feast neither writes nor reads it."""
    return f"_order:{view_id}".encode()


def encode_keys(project: str, join_keys: Mapping[str, str], table: pa.Table | pa.RecordBatch) -> pa.BinaryArray:
    """Redis keys of the rows of `table`, whose columns include every join key.

    `join_keys`: name → string, bytes, int32, int64 or unix_timestamp. Raises ValueError for a null key.
    """
    names = sorted(join_keys)
    pieces: list[wire.Piece] = [_head(names)]
    for name in names:
        column = wire.combined(table.column(name))
        if column.null_count:
            raise ValueError(f"join key {name} is null in {column.null_count} rows")
        pieces.extend(_key_value(join_keys[name], column))
    return wire.join([*pieces, project.encode()], table.num_rows)


def encode_key(project: str, join_keys: Mapping[str, str], values: Mapping[str, Any]) -> bytes:
    """Redis key of one entity; `values` has every join key. Raises ValueError for a value that is not of its type."""
    return key_encoder(project, join_keys)(values)


def key_encoder(project: str, join_keys: Mapping[str, str]) -> Callable[[Mapping[str, Any]], bytes]:
    """What makes Redis keys of entities with these join keys. It raises KeyError for one that is missing, ValueError for a value
    that is not of its type."""
    names = sorted(join_keys)
    head, end = _head(names), project.encode()
    parts = [(name, join_keys[name], struct.pack("<I", _key_type(join_keys[name]))) for name in names]

    def encode(values: Mapping[str, Any]) -> bytes:
        key = head
        for name, kind, number in parts:
            data = _key_bytes(kind, name, values[name])
            key += number + struct.pack("<I", len(data)) + data
        return key + end

    return encode


def scan_pattern(join_keys: Sequence[str]) -> bytes:
    """SCAN pattern of the keys of all entities with these join keys, of any project: check each with `split_key`."""
    return re.sub(rb"([*?\[\]\\])", rb"\\\1", _head(sorted(join_keys))) + b"*"


def key_values(key: bytes) -> list[Any]:
    """Join key values of a Redis key that `split_key` takes apart, in the order of the sorted join key names."""
    (count,) = struct.unpack_from("<I", key)
    position, values = 4, []
    for index in range(2 * count):
        kind, length = struct.unpack_from("<II", key, position)
        data = key[position + 8 : position + 8 + length]
        position += 8 + length
        if index >= count:
            values.append(_KEY_VALUES[kind](data))
    return values


def split_key(key: bytes) -> tuple[tuple[str, ...], bytes] | None:
    """(join key names, project) of a Redis key; None when it is not one of ours or Feast's."""
    try:
        (count,) = struct.unpack_from("<I", key)
        position, names = 4, []
        for index in range(2 * count):
            kind, length = struct.unpack_from("<II", key, position)
            position += 8 + length
            if position > len(key) or (index < count and kind != 2):
                return None
            if index < count:
                names.append(key[position - length : position].decode())
        return tuple(names), key[position:]
    except (struct.error, UnicodeDecodeError):
        return None


def encode_values(value_type: str, column: pa.Array | pa.ChunkedArray) -> pa.BinaryArray:
    """`Value` messages of a column, empty where it is null. Raises ValueError for nulls inside a list.

    `value_type`: one of VALUE_TYPES. Timestamps (Arrow's, or integer seconds) are kept in whole seconds, as Feast does.
    """
    column = wire.combined(column)
    name = value_type.removesuffix("_list")
    if name == value_type:
        messages = wire.tagged(_FIELDS[name][0], _WIRES[name], _plain(name, column))
    else:
        inner = pc.list_flatten(column)
        if inner.null_count:
            raise ValueError("a list has null elements, which Feast's format cannot hold")
        lengths = wire.zero_where_null(pc.list_value_length(column))
        body = wire.repeated(_WIRES[name], _plain(name, inner), lengths)
        messages = wire.tagged(_FIELDS[name][1], "bytes", body)
    return messages if column.null_count == 0 else wire.blank(messages, column)


def encode_timestamps(column: pa.Array | pa.ChunkedArray) -> pa.BinaryArray:
    """`Timestamp` messages of a timestamp column without nulls."""
    micros = wire.int64(pc.cast(wire.combined(column), pa.timestamp("us", "UTC"), safe=False))
    seconds, nanos = np.divmod(micros, 1_000_000)
    return wire.join([wire.optional_varint(1, seconds), wire.optional_varint(2, nanos * 1000)], len(micros))


def decode_timestamp(data: bytes) -> int:
    """Microseconds since 1970 of a `Timestamp` message. Raises Undecodable."""
    seconds = nanos = 0
    for number, value in wire.fields(data, Undecodable):
        if number == 1 and isinstance(value, int):
            seconds = value
        elif number == 2 and isinstance(value, int):
            nanos = value
        else:
            raise Undecodable(f"field {number} in a Timestamp")
    return seconds * 1_000_000 + nanos // 1000


def decode_timestamps(column: Sequence[bytes | None]) -> list[int | None]:
    """`decode_timestamp` of each, None where there is none; a column of one width at once. Raises Undecodable."""
    width = _width(column)
    if width is not None and width >= 6:
        data = np.frombuffer(b"".join(cast(Sequence[bytes], column)), np.uint8).reshape(-1, width)
        seconds, nanos = wire.varint_columns(data[:, 1:6]), wire.varint_columns(data[:, 7:]) if width > 7 else 0
        tagged = (data[:, 0] == 0x08).all() and (width == 6 or (width > 7 and (data[:, 6] == 0x10).all()))
        if tagged and seconds is not None and nanos is not None:
            found: list[int | None] = (seconds * 1_000_000 + nanos // 1000).tolist()
            return found
    return [None if data is None else decode_timestamp(data) for data in column]


def decode_values(column: Sequence[bytes | None]) -> list[Any]:
    """`decode_value` of each, None where there is none; a column of doubles at once. Raises Undecodable."""
    if _width(column) == 9:
        doubles = np.frombuffer(b"".join(cast(Sequence[bytes], column)), np.dtype([("tag", "u1"), ("value", "<f8")]))
        if (doubles["tag"] == _DOUBLE).all():
            found: list[Any] = doubles["value"].tolist()
            return found
    return [None if data is None else decode_value(data) for data in column]


def _width(column: Sequence[bytes | None]) -> int | None:
    """Bytes of each value, where all are there and have as many; None for a few, which are decoded faster one by one."""
    if len(column) < _FEW:
        return None
    widths = {-1 if data is None else len(data) for data in column}
    return widths.pop() if len(widths) == 1 and -1 not in widths else None


def decode_value(data: bytes) -> Any:
    """Python value of a `Value` message: None for an empty one, lists as lists, timestamps as integer seconds.

    Raises Undecodable for anything that is not exactly one value of a kept type.
    """
    if not data:
        return None
    if len(data) == 9 and data[0] == _DOUBLE:
        return _ONE_DOUBLE.unpack_from(data, 1)[0]
    found = list(wire.fields(data, Undecodable))
    if len(found) != 1 or found[0][0] not in _NAMES:
        raise Undecodable(f"no single value of a known type in {data[:40].hex()}")
    number, value = found[0]
    name = _NAMES[number]
    if number == _FIELDS[name][0]:
        return _scalar(name, value)
    if not isinstance(value, bytes):
        raise Undecodable(f"field {number} is no message")
    items: list[Any] = []
    for inner, item in wire.fields(value, Undecodable):
        if inner != 1:
            raise Undecodable(f"field {inner} in a list")
        items.extend(_packed(name, item))
    return items


_WIRES = {
    "bytes": "bytes",
    "string": "bytes",
    "int32": "varint",
    "int64": "varint",
    "double": "fixed64",
    "float": "fixed32",
    "bool": "varint",
    "unix_timestamp": "varint",
}


_KEY_VALUES: dict[int, Callable[[bytes], Any]] = {
    1: bytes,
    2: lambda data: data.decode(errors="replace"),
    3: lambda data: int.from_bytes(data, "little", signed=True),
    4: lambda data: int.from_bytes(data, "little", signed=True),
    8: lambda data: int.from_bytes(data, "little", signed=True),
}


def _plain(name: str, column: pa.Array) -> Any:
    """The column as the wire wants it: a binary array, or numpy int64, float64, float32; nulls as zeros."""
    if _WIRES[name] == "bytes":
        return pc.fill_null(pc.cast(column, pa.binary()), wire.constant(b""))
    if name == "unix_timestamp" and pa.types.is_timestamp(column.type):
        micros = wire.int64(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False))
        return np.floor_divide(micros, 1_000_000)
    if name in {"double", "float"}:
        target = pa.float64() if name == "double" else pa.float32()
        return wire.zero_where_null(pc.cast(column, target, safe=False))
    if name == "bool":
        return wire.int64(pc.cast(pc.cast(column, pa.bool_()), pa.int8()))
    return wire.int64(pc.cast(column, pa.int32() if name == "int32" else pa.int64()))


def _head(names: Sequence[str]) -> bytes:
    encoded = [name.encode() for name in names]
    return struct.pack("<I", len(names)) + b"".join(struct.pack("<II", 2, len(name)) + name for name in encoded)


def _key_type(kind: str) -> int:
    number = _FIELDS[kind][2] if kind in _FIELDS else None
    if number is None:
        raise ValueError(f"a join key cannot be a {kind}")
    return number


def _key_value(kind: str, column: pa.Array) -> list[wire.Piece]:
    number = _key_type(kind)
    if kind in {"string", "bytes"}:
        data = pc.cast(column, pa.binary())
        return [struct.pack("<I", number), wire.fixed(wire.lengths(data).astype("<u4")), data]
    values: npt.NDArray[Any] = _plain(kind, column)
    width = "<i4" if kind == "int32" else "<i8"
    return [struct.pack("<II", number, int(width[-1])), wire.fixed(values.astype(width))]


def _key_bytes(kind: str, name: str, value: Any) -> bytes:
    if kind == "string" and isinstance(value, str):
        return value.encode()
    if kind == "bytes" and isinstance(value, bytes):
        return value
    if kind in {"int32", "int64", "unix_timestamp"} and isinstance(value, int) and not isinstance(value, bool):
        try:
            return struct.pack("<i" if kind == "int32" else "<q", value)
        except struct.error:
            raise ValueError(f"{name} must be {kind}, got {value}, which is out of range") from None
    raise ValueError(f"{name} must be {kind}, got {value!r}")


def _scalar(name: str, value: int | bytes) -> Any:
    if _WIRES[name] == "varint" and isinstance(value, int):
        return bool(value) if name == "bool" else value
    if isinstance(value, bytes):
        if _WIRES[name] == "bytes":
            return _text(value) if name == "string" else value
        items = _packed(name, value)
        if len(items) == 1 and _WIRES[name] != "varint":
            return items[0]
    raise Undecodable(f"a {name} on the wrong wire")


def _packed(name: str, value: int | bytes) -> Sequence[Any]:
    if isinstance(value, int):
        raise Undecodable(f"an unpacked {name}")
    match _WIRES[name]:
        case "bytes":
            return [_text(value) if name == "string" else value]
        case "varint":
            numbers = list(wire.varints(value, Undecodable))
            return [bool(number) for number in numbers] if name == "bool" else numbers
        case kind:
            size, letter = (8, "d") if kind == "fixed64" else (4, "f")
            if len(value) % size:
                raise Undecodable(f"{len(value)} bytes of {name}")
            return struct.unpack(f"<{len(value) // size}{letter}", value)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Undecodable(f"text that is not UTF-8: {error.reason}") from None
