"""The protobuf wire format over whole columns, by numpy and Arrow: varints, tags, packed lists, concatenation.

Belongs here: bytes without meaning. Does not: which field is what (codec.py).
Source: protobuf.dev/programming-guides/encoding.

`pa.array`, `pa.scalar` and `to_numpy` import pandas (1 s) wherever it is installed; arrays are made and read by their buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Piece = bytes | Any  # constant bytes, or a pyarrow BinaryArray of one value a row
_DTYPES = {pa.int8(): "i1", pa.int32(): "<i4", pa.int64(): "<i8", pa.float32(): "<f4", pa.float64(): "<f8"}
_WIRE_NUMBERS = {"varint": 0, "fixed64": 1, "bytes": 2, "fixed32": 5}


def combined(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def join(pieces: Sequence[Piece], rows: int) -> pa.BinaryArray:
    """Concatenate the pieces row by row; constants are repeated."""
    if rows == 0:
        return binary([])
    if all(isinstance(piece, bytes) for piece in pieces):
        return binary([b"".join(pieces)] * rows)
    merged: list[Any] = []
    for piece in pieces:
        if isinstance(piece, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += piece
        else:
            merged.append(piece)
    parts = [constant(piece) if isinstance(piece, bytes) else piece for piece in merged]
    return combined(pc.binary_join_element_wise(*parts, constant(b"")))


def fixed(values: npt.NDArray[Any]) -> pa.BinaryArray:
    """Each number's own bytes, in the array's byte order."""
    return _matrix(values)


def varint(values: npt.NDArray[np.int64]) -> pa.BinaryArray:
    """Base-128 varints of 64-bit integers; negative ones take ten bytes."""
    data, lengths = _varint_bytes(values)
    return _binary(data, _offsets(lengths))


def optional_varint(number: int, values: npt.NDArray[np.int64]) -> pa.BinaryArray:
    """A proto3 integer field without presence: tag and varint, nothing where the value is zero."""
    tag = np.full(len(values), number << 3, np.uint8)
    body, lengths = _varint_bytes(values)
    starts = np.cumsum(lengths) - lengths
    data = np.insert(body, starts, tag)
    if not (values == 0).any():
        return _binary(data, _offsets(lengths + 1))
    keep = np.repeat(values != 0, lengths + 1)
    return _binary(data[keep], _offsets(np.where(values != 0, lengths + 1, 0)))


def tagged(number: int, kind: str, values: Any) -> pa.BinaryArray:
    """A field with presence: tag, length where the kind has one, and the value; one message a row."""
    tag = _tag(number, kind)
    match kind:
        case "bytes":
            return join([tag, varint(lengths(values)), values], len(values))
        case "varint":
            return join([tag, varint(values)], len(values))
        case _:
            if len(tag) > 1:
                return join([tag, _matrix(values)], len(values))
            packed = np.empty(len(values), np.dtype([("tag", "u1"), ("value", values.dtype.newbyteorder("<"))]))
            packed["tag"], packed["value"] = tag[0], values
            return _matrix(packed)


def repeated(kind: str, values: Any, counts: npt.NDArray[np.int64]) -> pa.BinaryArray:
    """Messages whose field 1 is repeated: `counts[i]` of the flat `values` in row i; numbers are packed, as proto3 has them."""
    offsets = _offsets(counts)
    if kind == "bytes":
        items = tagged(1, "bytes", values)
        places = np.frombuffer(items.buffers()[1], np.int32, len(items) + 1, items.offset * 4)
        return _slices(items, places[offsets].astype(np.int64))
    if kind == "varint":
        data, widths = _varint_bytes(values)
        ends = _offsets(widths)
        body = _binary(data, ends[offsets])
    else:
        raw = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
        body = _binary(raw.view(np.uint8), offsets * raw.dtype.itemsize)
    return combined(pc.if_else(mask(counts == 0), constant(b""), tagged(1, "bytes", body)))


def blank(messages: pa.BinaryArray, nulls: pa.Array) -> pa.BinaryArray:
    """`messages`, empty where `nulls` is null."""
    return combined(pc.if_else(pc.is_valid(nulls), messages, constant(b"")))


def constant(data: bytes) -> pa.BinaryScalar:
    """A binary scalar."""
    return binary([data])[0]


def binary(values: Sequence[bytes]) -> pa.BinaryArray:
    """A binary array of Python's bytes."""
    widths = np.fromiter(map(len, values), np.int64, len(values))
    return _binary(np.frombuffer(b"".join(values), np.uint8), _offsets(widths))


def mask(values: npt.NDArray[np.bool_]) -> pa.BooleanArray:
    """A boolean array."""
    data = pa.py_buffer(np.ascontiguousarray(values).view(np.int8))
    return pc.cast(pa.Array.from_buffers(pa.int8(), len(values), [None, data]), pa.bool_())


def integers(values: npt.NDArray[np.int64]) -> pa.Int64Array:
    """An integer array."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def lengths(values: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """Bytes of each value."""
    return zero_where_null(pc.binary_length(values)).astype(np.int64)


def decimal_lengths(values: pa.BinaryArray) -> pa.BinaryArray:
    """Bytes of each value as decimal text."""
    return pc.cast(pc.cast(pc.binary_length(values), pa.string()), pa.binary())


def buffers(values: pa.BinaryArray) -> tuple[memoryview, list[int]]:
    """All bytes, and where each value starts (and the last one ends) among them."""
    data = values.buffers()[2]
    ends = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, values.offset * 4)
    return memoryview(data) if data is not None else memoryview(b""), ends.tolist()


def zero_where_null(column: pa.Array) -> npt.NDArray[Any]:
    """Numpy values of a numeric array, zero where it is null."""
    if column.null_count:
        zero = pa.Array.from_buffers(column.type, 1, [None, pa.py_buffer(bytes(8))])[0]
        column = pc.fill_null(column, zero)
    data = column.buffers()[1]
    dtype = np.dtype(_DTYPES[column.type])
    if data is None or not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(data, dtype, len(column), column.offset * dtype.itemsize)


def int64(column: pa.Array) -> npt.NDArray[np.int64]:
    """Integers or timestamps as int64, zero where null."""
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    return zero_where_null(column).astype(np.int64, copy=False)


def fields(data: bytes, error: type[ValueError]) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of each field of a message: int64 for varints, bytes for everything else. Raises `error`."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position, error)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _read_varint(data, position, error)
            yield number, value
            continue
        if kind == 2:
            length, position = _read_varint(data, position, error)
        elif kind in {1, 5}:
            length = 8 if kind == 1 else 4
        else:
            raise error(f"wire type {kind}")
        if length < 0 or position + length > len(data):
            raise error(f"field {number} ends after the message")
        yield number, data[position : position + length]
        position += length


def varints(data: bytes, error: type[ValueError]) -> Iterator[int]:
    """The packed varints in `data` as signed 64-bit integers. Raises `error`."""
    position = 0
    while position < len(data):
        value, position = _read_varint(data, position, error)
        yield value


def varint_columns(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64] | None:
    """Varints of one width, at most 9 bytes, one a row; None where a row is none or is of another width."""
    more = data & 0x80 != 0
    if data.shape[1] > 9 or not more[:, :-1].all() or more[:, -1].any():
        return None
    shifts = np.arange(data.shape[1], dtype=np.int64) * 7
    numbers: npt.NDArray[np.int64] = ((data & 0x7F).astype(np.int64) << shifts).sum(axis=1)
    return numbers


def _read_varint(data: bytes, position: int, error: type[ValueError]) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            value &= (1 << 64) - 1
            return (value - (1 << 64) if value >> 63 else value), position
        shift += 7
    raise error("a varint without an end")


def _tag(number: int, kind: str) -> bytes:
    value = number << 3 | _WIRE_NUMBERS[kind]
    return bytes([value]) if value < 0x80 else struct.pack("BB", value & 0x7F | 0x80, value >> 7)


def _varint_bytes(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    unsigned = values.astype(np.int64, copy=False).view(np.uint64)
    lengths = np.ones(len(values), np.int64)
    for width in range(1, 10):
        more = unsigned >= np.uint64(1 << (7 * width))
        if not more.any():
            break
        lengths += more
    columns = int(lengths.max(initial=1))
    shifts = np.arange(columns, dtype=np.uint64) * np.uint64(7)
    matrix = ((unsigned[:, None] >> shifts) & np.uint64(0x7F)).astype(np.uint8)
    places = np.arange(columns)
    matrix[places < lengths[:, None] - 1] |= 0x80
    return matrix[places < lengths[:, None]], lengths


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))


def _binary(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> pa.BinaryArray:
    if offsets[-1] > np.iinfo(np.int32).max:
        raise ValueError("more than 2 GiB in one chunk")
    starts = pa.py_buffer(np.ascontiguousarray(offsets.astype(np.int32)))
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, starts, pa.py_buffer(np.ascontiguousarray(data))])


def _matrix(values: npt.NDArray[Any]) -> pa.BinaryArray:
    width = values.dtype.itemsize
    offsets = np.arange(len(values) + 1, dtype=np.int64) * width
    return _binary(np.ascontiguousarray(values).view(np.uint8), offsets)


def _slices(items: pa.BinaryArray, offsets: npt.NDArray[Any]) -> pa.BinaryArray:
    data = items.buffers()[2]
    raw = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return _binary(raw, offsets.astype(np.int64))
