"""I4 and reading, on Redis as it is run elsewhere: ACL users, TLS, Sentinel, Cluster; the embedded Valkey and Debian's Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import redis
from redis.crc import key_slot

from millwright.compare import compare_online
from millwright.online import calls, codec, connect, stores
from millwright.online.lookup import Fields, lookup
from millwright.online.write import FeastRow, remove_rows, write_feast_rows, write_rows
from millwright.stack.redis import Valkey
from millwright.stack.server import LOOPBACK
from tests.online import servers
from tests.online.conftest import NOON, Online
from tests.servers import PASSWORD, running

BOTH = [pytest.param("valkey"), pytest.param("debian", marks=pytest.mark.debian_redis)]
VIEW, FIELD = "v_v1", codec.field("v_v1", "x")
KEYS = [f"k{index}".encode() for index in range(300)]


def write(client: redis.Redis, keys: list[bytes], order: int) -> Any:
    column = pa.array([b"%d" % order] * len(keys), pa.binary())
    return write_rows(client, VIEW, pa.array(keys, pa.binary()), [(FIELD, column)], order)


def values(client: redis.Redis, keys: list[bytes] = KEYS) -> set[bytes | None]:
    return {reply[0] for reply in lookup(client, [(Fields([FIELD]), keys)])}


def holds(client: redis.Redis) -> None:
    """Everything that the writer and the reader do, and its counts."""
    assert write(client, KEYS, 5).written == 300
    assert write(client, KEYS, 5).equal == 300
    assert write(client, KEYS, 4).older == 300
    gone = remove_rows(client, VIEW, pa.array(KEYS[:10], pa.binary()), [FIELD], 6)
    assert (gone.removed, gone.older) == (10, 0)
    assert remove_rows(client, VIEW, pa.array(KEYS, pa.binary()), [FIELD], 4).older == 300
    assert values(client, KEYS[:10]) == {None}
    assert values(client, KEYS[10:]) == {b"5"}
    row = FeastRow(b"k1", {FIELD: b"7"}, (100, 0), b"\x08\x64", 7)
    assert write_feast_rows(client, VIEW, [row], expire=60).written == 1
    assert values(client, [b"k1"]) == {b"7"}


@pytest.mark.debian_redis
def test_tls() -> None:
    """The embedded Valkey is built without TLS."""
    with servers.tls("debian") as url:
        with connect.client(url) as client:
            holds(client)
        with connect.client(url.partition("?")[0]) as stranger, pytest.raises(redis.ConnectionError, match="certificate"):
            stranger.ping()


def users() -> dict[str, str]:
    """The rights that docs/redis.md gives to each user, by its name."""
    page = (Path(__file__).parents[2] / "docs/redis.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^user (\w+) on >PASSWORD (.*)$", page, re.MULTILINE))


@pytest.mark.parametrize("kind", BOTH)
def test_users_with_the_least_rights(kind: str, online: Online) -> None:
    lines = [f"user {name} on >{PASSWORD} {rights}" for name, rights in users().items()]
    with running(servers.configured(kind, lines)) as server:
        url = f"redis://{{}}:{PASSWORD}@{LOOPBACK}:{server.port}/0"
        with connect.client(url.format("writer")) as writer, connect.client(url.format("reader")) as reader:
            online.history.put(["press-1"], NOON, temperature_last=1.0)
            online.history.put(["press-2"], NOON, temperature_last=2.0)
            mine = dataclasses.replace(online, redis=writer)
            assert mine.publish().written == 2
            online.history.retract(["press-2"], NOON)
            assert mine.publish().removed == 1
            assert compare_online(online.conn, writer, online.definitions, online.view, project="millwright").same
            theirs = dataclasses.replace(online, redis=reader)
            assert theirs.value("press-1").value == 1.0
            key = codec.encode_key("millwright", {"machine_id": "string"}, {"machine_id": "press-3"})
            row = FeastRow(key, {FIELD: b"7"}, (100, 0), b"\x08\x64", 7)
            assert write_feast_rows(writer, VIEW, [row], expire=60).written == 1
            with pytest.raises(redis.exceptions.NoPermissionError):
                reader.hset(key, "x", "y")
            with pytest.raises(redis.exceptions.NoPermissionError, match=r"docs/redis\.md .* the next publish sends all"):
                online.history.put(["press-1"], NOON, temperature_last=3.0)
                server_admin(server).execute_command("ACL SETUSER", "writer", "-hset")
                mine.publish()


def server_admin(server: Valkey) -> redis.Redis:
    return redis.Redis.from_url(server.url())


@pytest.fixture(scope="module", params=BOTH)
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Valkey]]:
    with servers.cluster(request.param) as found:
        yield found


@pytest.fixture
def cluster(nodes: list[Valkey]) -> Iterator[redis.Redis]:
    with connect.client(servers.cluster_url(nodes[:1])) as client:
        client.flushall(target_nodes="primaries")
        yield client


def test_a_cluster(cluster: redis.Redis) -> None:
    holds(cluster)
    assert all(server.dbsize() for server in connect.primaries(cluster))


def test_i4_a_slot_moves_while_it_is_written(cluster: redis.Redis, nodes: list[Valkey]) -> None:
    """Its keys are asked for at the new server (ASK) while it is on the way, and found there (MOVED) by a client that knows the
    old one."""
    slot = key_slot(b"k7")
    write(cluster, KEYS, 5)
    owner = cluster.nodes_manager.get_node_from_slot(slot)  # type: ignore[attr-defined]
    source, *others = sorted((server_admin(node) for node in nodes), key=lambda each: _port(each) != owner.port)
    target = others[0]
    here, there = (each.execute_command("CLUSTER MYID").decode() for each in (source, target))
    target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here)
    source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there)
    arguments = (LOOPBACK, _port(target), "", 0, 5000, "AUTH", PASSWORD, "KEYS", "k7")
    source.execute_command("MIGRATE", *arguments)
    assert write(cluster, KEYS, 6).written == 300
    assert write(cluster, KEYS, 5).older == 300
    assert values(cluster) == {b"6"}
    for each in (target, source, *others[1:]):
        each.execute_command("CLUSTER SETSLOT", slot, "NODE", there)
    assert write(cluster, KEYS, 7).written == 300
    assert values(cluster) == {b"7"}
    assert write(cluster, KEYS, 8).written == 300
    assert cluster.nodes_manager.get_node_from_slot(slot).port == _port(target)  # type: ignore[attr-defined]


def _port(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


def test_a_cluster_is_published_to_and_a_restarted_server_makes_it_a_new_store(
    cluster: redis.Redis, online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watermarks and rows are on different servers: one that was restarted may have lost rows alone."""
    for index in range(9):
        online.history.put([f"press-{index}"], NOON, temperature_last=float(index))
    mine = dataclasses.replace(online, redis=cluster)
    assert mine.publish().written == 9
    assert [mine.value(f"press-{index}").value for index in range(9)] == [float(index) for index in range(9)]
    assert mine.unpublished() == []
    assert compare_online(online.conn, cluster, online.definitions, online.view, project="millwright").same
    monkeypatch.setattr(stores, "incarnation", lambda _: "another")
    assert mine.unpublished() == ["machine_vitals_v1"]
    assert mine.publish().equal == 9


def test_a_cluster_without_a_server_for_a_key_says_so(cluster: redis.Redis, nodes: list[Valkey], monkeypatch: Any) -> None:
    monkeypatch.setattr(calls, "PAUSES", (0.0, 0.01))
    slot = key_slot(b"k7")
    for node in nodes:
        server_admin(node).execute_command("CLUSTER DELSLOTS", slot)
    try:
        with pytest.raises(redis.exceptions.ClusterDownError, match=r"had no server|Hash slot not served|CLUSTERDOWN"):
            write(cluster, KEYS, 5)
    finally:
        server_admin(nodes[0]).execute_command("CLUSTER ADDSLOTS", slot)
        servers.until(lambda: write(cluster, KEYS, 5))
    assert values(cluster) == {b"5"}


def feast_reads_what_it_wrote(**options: Any) -> None:
    """Feast's interface with these options of its Redis store."""
    from feast import Entity, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.types import Int64, String

    from millwright.online.store import RedisOnlineStore

    online = {
        "type": "millwright.online.store.RedisOnlineStore",
        "key_ttl_seconds": 60,
        "full_scan_for_deletion": False,
        **options,
    }
    config = RepoConfig(
        project="p", provider="local", registry="none.db", online_store=online, entity_key_serialization_version=3
    )
    source = FileSource(path="none", timestamp_field="t")
    view = FeatureView(
        name=VIEW,
        entities=[Entity(name="m", join_keys=["m"], value_type=ValueType.STRING)],
        schema=[Field(name="m", dtype=String), Field(name="x", dtype=Int64)],
        source=source,
    )
    keys = [EntityKey(join_keys=["m"], entity_values=[Value(string_val=f"m{index}")]) for index in range(20)]
    store = RedisOnlineStore()
    store.online_write_batch(config, view, [(key, {"x": Value(int64_val=7)}, NOON, NOON) for key in keys], None)
    assert store.online_read(config, view, keys) == [(NOON, {"x": Value(int64_val=7)})] * 20
    assert asyncio.run(store.online_read_async(config, view, keys)) == [(NOON, {"x": Value(int64_val=7)})] * 20
    store.delete_table(config, view)
    assert store.online_read(config, view, keys) == [(None, None)] * 20


def test_feasts_options_for_a_cluster(cluster: redis.Redis, nodes: list[Valkey]) -> None:
    hosts = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes)
    feast_reads_what_it_wrote(redis_type="redis_cluster", connection_string=f"{hosts},password={PASSWORD}")
    feast_reads_what_it_wrote(redis_type="redis_cluster", connection_string=f"redis://:{PASSWORD}@{hosts}")


def test_feasts_options_for_sentinels() -> None:
    with servers.sentinels("valkey") as (_, [*_, watcher]):
        names: Any = {"redis_type": "redis_sentinel", "sentinel_master": "features"}
        feast_reads_what_it_wrote(connection_string=f"{LOOPBACK}:{watcher.port},password={PASSWORD},db=0", **names)
        feast_reads_what_it_wrote(connection_string=f"redis://:{PASSWORD}@{LOOPBACK}:{watcher.port}/0", **names)
        with pytest.raises(redis.ConnectionError):
            feast_reads_what_it_wrote(
                connection_string=f"redis://:{PASSWORD}@{LOOPBACK}:{watcher.port}", redis_type="redis_sentinel"
            )


@pytest.mark.parametrize("url", ["http://x", "redis+sentinel://h:1", "redis+other://h", "redis+cluster://h:port"])
def test_a_url_that_names_no_redis_is_told_without_its_password(url: str) -> None:
    with pytest.raises(connect.BadUrl, match=r"is not one of redis://") as told:
        connect.client(url.replace("//", "//:secret@"))
    assert "secret" not in str(told.value)
