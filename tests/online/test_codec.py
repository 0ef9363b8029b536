from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from millwright.online import codec, wire
from tests.online import values

CASES = values.cases()


@pytest.mark.parametrize("kind", codec.VALUE_TYPES)
def test_values_are_feasts_bytes(kind: str) -> None:
    column, _, messages = CASES[kind]
    assert codec.encode_values(kind, column).to_pylist() == [message.SerializeToString() for message in messages]


@pytest.mark.parametrize("kind", codec.VALUE_TYPES)
def test_values_come_back(kind: str) -> None:
    column, _, _ = CASES[kind]
    decoded = [codec.decode_value(data) for data in codec.encode_values(kind, column).to_pylist()]
    wanted = column.cast(pa.timestamp("s", "UTC")).cast(pa.int64()) if kind == "unix_timestamp" else column
    for got, want in zip(decoded, wanted.to_pylist(), strict=True):
        if kind == "unix_timestamp_list" and want is not None:
            want = [int(each.timestamp()) for each in want]
        assert _same(got, want), (got, want)


def _same(got: Any, want: Any) -> bool:
    if isinstance(want, list):
        return len(got) == len(want) and all(map(_same, got, want))
    return (isinstance(want, float) and math.isnan(want) and math.isnan(got)) or (type(got) is type(want) and got == want)


@pytest.mark.parametrize("kind", codec.VALUE_TYPES)
def test_a_slice_of_chunks_is_encoded_as_the_whole(kind: str) -> None:
    column, _, messages = CASES[kind]
    chunked = pa.chunked_array([column, column]).slice(1, len(column))
    wanted = [message.SerializeToString() for message in [*messages, *messages][1 : len(column) + 1]]
    assert codec.encode_values(kind, chunked).to_pylist() == wanted
    assert codec.encode_values(kind, column.slice(1, 1)).to_pylist() == wanted[:1]
    assert codec.encode_values(kind, column.slice(0, 0)).to_pylist() == []


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30))
def test_varints_are_protobufs(numbers: list[int]) -> None:
    encoded = wire.varint(np.array(numbers, np.int64)).to_pylist()
    assert [b"\x20" + data for data in encoded] == [Value(int64_val=number).SerializeToString() for number in numbers]
    assert list(wire.varints(b"".join(encoded), codec.Undecodable)) == numbers


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)))
def test_timestamps_are_protobufs(instant: datetime) -> None:
    wanted = Timestamp()
    wanted.FromDatetime(instant)
    column = pa.array([instant.replace(tzinfo=UTC)], pa.timestamp("us", "UTC"))
    (data,) = codec.encode_timestamps(column).to_pylist()
    assert data == wanted.SerializeToString()
    assert codec.decode_timestamp(data) == column.cast(pa.int64())[0].as_py()


@given(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.text("abc", max_size=5))
def test_keys_are_feasts(zone: str, number: int, project: str) -> None:
    types, row = {"zone": "string", "number": "int64"}, {"zone": zone, "number": number}
    entity = EntityKey(join_keys=["zone", "number"], entity_values=[Value(string_val=zone), Value(int64_val=number)])
    wanted = _redis_key(project, entity)
    assert codec.encode_key(project, types, row) == wanted
    assert codec.encode_keys(project, types, pa.table({"zone": [zone], "number": [number]})).to_pylist() == [wanted]
    assert codec.split_key(wanted) == (("number", "zone"), project.encode())
    assert codec.key_values(wanted) == [number, zone]


def test_every_key_type_is_feasts() -> None:
    types = {"a": "string", "b": "bytes", "c": "int32", "d": "int64", "e": "unix_timestamp"}
    row = {"a": "é", "b": b"\xff", "c": -7, "d": 2**40, "e": 1_700_000_000}
    messages = [Value(**{f"{kind}_val": row[name]}) for name, kind in types.items()]
    wanted = _redis_key("p", EntityKey(join_keys=list(types), entity_values=messages))
    table = pa.table({"a": ["é"], "b": [b"\xff"], "c": pa.array([-7], pa.int32()), "d": [2**40], "e": [1_700_000_000]})
    assert codec.encode_keys("p", types, table).to_pylist() == [wanted]
    assert codec.encode_key("p", types, row) == wanted


def test_fields_are_feasts() -> None:
    assert codec.field("machine_vitals_v1", "temperature_last") == _mmh3("machine_vitals_v1:temperature_last")


@pytest.mark.parametrize(
    "data", [b"\x29", b"\x29\x00", b"\xff" * 11, b"\x12\x05ab", b"\x12\x01\xff", b"\x0b", b"hello", b"\x20\x00\x20\x00"]
)
def test_what_is_no_value_is_undecodable(data: bytes) -> None:
    with pytest.raises(codec.Undecodable):
        codec.decode_value(data)


@pytest.mark.parametrize("key", [b"", b"millwright:store:x", b"\x01\x00\x00\x00\x02\x00\x00\x00\xff\xff\xff\xff", b"\xff" * 8])
def test_foreign_keys_are_no_entities(key: bytes) -> None:
    assert codec.split_key(key) is None


def test_what_feast_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="null elements"):
        codec.encode_values("double_list", pa.array([[1.0, None]]))
    with pytest.raises(ValueError, match="machine_id is null in 1 rows"):
        codec.encode_keys("p", {"machine_id": "string"}, pa.table({"machine_id": pa.array(["a", None])}))
    with pytest.raises(ValueError, match="line must be int64, got True"):
        codec.encode_key("p", {"line": "int64"}, {"line": True})
    with pytest.raises(ValueError, match="out of range"):
        codec.encode_key("p", {"line": "int64"}, {"line": 2**63})


INSTANTS = st.one_of(
    st.integers(1_600_000_000_000_000, 1_900_000_000_000_000),
    st.integers(1_600_000_000, 1_900_000_000).map(lambda seconds: seconds * 1_000_000),
    st.integers(-(2**52), 2**52),
)


@given(st.lists(INSTANTS, max_size=6).map(lambda some: some * 4), st.booleans())
def test_a_column_of_timestamps_is_decoded_as_each(instants: list[int], missing: bool) -> None:
    column = [Timestamp(seconds=at // 1_000_000, nanos=at % 1_000_000 * 1000).SerializeToString() for at in instants]
    assert codec.decode_timestamps(column + [None] * missing) == instants + [None] * missing


@given(
    st.lists(st.one_of(st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.text(max_size=8), st.none()), max_size=5)
)
def test_a_column_of_values_is_decoded_as_each(found: list[Any]) -> None:
    makes = {float: "double_val", int: "int64_val", str: "string_val"}
    messages = [Value() if one is None else Value(**{makes[type(one)]: one}) for one in found]
    assert codec.decode_values([message.SerializeToString() for message in messages]) == found


@pytest.mark.parametrize(
    "broken", [b"\x08", b"\x08\x80\x80\x80\x80\x80", b"\x10\x80\x80\x80\x80", b"\x08\x81\x80\x80\x80\x01\x10", b"abcdef"]
)
def test_a_column_of_what_is_no_timestamp_is_undecodable(broken: bytes) -> None:
    with pytest.raises(codec.Undecodable):
        codec.decode_timestamps([broken] * 20)
