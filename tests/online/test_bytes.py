"""What our writers leave in Redis is, field by field and byte by byte, what Feast's own writer leaves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import redis
from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.infra.online_stores.redis import RedisOnlineStore as FeastStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Int64, String

from millwright.online import codec
from millwright.online.store import RedisOnlineStore
from millwright.online.write import write_rows
from tests.online import values

CASES = values.cases()
ROWS = max(len(column) for column, _, _ in CASES.values())
EVENT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
VIEW = "all_types_v1"


def _view() -> FeatureView:
    keys = [
        Entity(name="zone", join_keys=["zone"], value_type=ValueType.STRING),
        Entity(name="line", join_keys=["line"], value_type=ValueType.INT64),
    ]
    schema = [Field(name="zone", dtype=String), Field(name="line", dtype=Int64)]
    schema += [Field(name=kind, dtype=feast) for kind, (_, feast, _) in CASES.items()]
    return FeatureView(name=VIEW, entities=keys, schema=schema, source=FileSource(path="none", timestamp_field="t"))


def _config(kind: str, url: str, database: int) -> RepoConfig:
    host, password = url.removeprefix("redis://:").split("@")[1].split("/")[0], url.removeprefix("redis://:").split("@")[0]
    online = {"type": kind, "connection_string": f"{host},db={database},password={password}"}
    return RepoConfig(
        project="proj", provider="local", registry="none.db", online_store=online, entity_key_serialization_version=3
    )


def _feast_rows() -> list[tuple[EntityKey, dict[str, Value], datetime, None]]:
    rows = []
    for index in range(ROWS):
        key = EntityKey(
            join_keys=["zone", "line"], entity_values=[Value(string_val=f"zone {index}é"), Value(int64_val=index - 3)]
        )
        rows.append((key, {kind: messages[index % len(messages)] for kind, (_, _, messages) in CASES.items()}, EVENT, None))
    return rows


def _columnar(client: redis.Redis) -> None:
    """The same rows through the columns that publish sends."""
    table = pa.table({"zone": [f"zone {index}é" for index in range(ROWS)], "line": [index - 3 for index in range(ROWS)]})
    events = pa.array([EVENT] * ROWS, pa.timestamp("us", "UTC"))
    fields = [(codec.timestamp_field(VIEW), codec.encode_timestamps(events))]
    for kind, (column, _, _) in CASES.items():
        repeated = column.take(pa.array([index % len(column) for index in range(ROWS)]))
        fields.append((codec.field(VIEW, kind), codec.encode_values(kind, repeated)))
    keys = codec.encode_keys("proj", {"zone": "string", "line": "int64"}, table)
    assert write_rows(client, VIEW, keys, fields, 7).written == ROWS


def _contents(url: str, database: int) -> dict[bytes, dict[bytes, bytes]]:
    with redis.Redis.from_url(url, db=database) as client:
        found: Any = {key: client.hgetall(key) for key in client.scan_iter()}
    return found


def _holds(url: str) -> None:
    url = url.rsplit("/", 1)[0]
    feast = _config("redis", url, 1)
    FeastStore().online_write_batch(feast, _view(), _feast_rows(), None)
    ours = _config("millwright.online.store.RedisOnlineStore", url, 2)
    RedisOnlineStore().online_write_batch(ours, _view(), _feast_rows(), None)
    with redis.Redis.from_url(url, db=3) as client:
        _columnar(client)
    wanted = _contents(url, 1)
    assert len(wanted) == ROWS
    assert _contents(url, 2) == wanted
    columnar = _contents(url, 3)
    for fields in columnar.values():
        assert fields.pop(codec.order_field(VIEW)) == b"7"
    assert columnar == wanted


def test_bytes_are_feasts_on_valkey(redis_url: str) -> None:
    _holds(redis_url)


@pytest.mark.debian_redis
def test_bytes_are_feasts_on_debian_redis(debian_redis_url: str) -> None:
    _holds(debian_redis_url)


def test_feast_reads_what_ours_wrote(redis_url: str) -> None:
    url = redis_url.rsplit("/", 1)[0]
    with redis.Redis.from_url(url, db=3) as client:
        _columnar(client)
    keys = [key for key, _, _, _ in _feast_rows()]
    for kind, store in (("redis", FeastStore()), ("millwright.online.store.RedisOnlineStore", RedisOnlineStore())):
        read = store.online_read(_config(kind, url, 3), _view(), keys, list(CASES))
        for (_, got), (_, wanted, _, _) in zip(read, _feast_rows(), strict=True):
            assert got is not None
            assert {name: value.SerializeToString() for name, value in got.items()} == {
                name: value.SerializeToString() for name, value in wanted.items()
            }
