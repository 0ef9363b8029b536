"""I4: whatever the interleaving of writers, the newest snapshot's row is what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.online import calls, codec, transactions
from millwright.online import write as module
from millwright.online.changes import Change
from millwright.online.outcomes import EQUAL, OLDER, REMOVED, WRITTEN, Written
from millwright.online.write import FeastRow, write_feast_rows, write_rows
from millwright.stack.redis import Valkey
from tests.budget import examples

VIEW, FIELD, STAMP = "v_v1", codec.field("v_v1", "x"), codec.timestamp_field("v_v1")
FIELDS = [STAMP, FIELD]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as found:
        yield found


def by_scripts(client: redis.Redis, change: Change) -> Written:
    """The other way to do what `write.write` does by transactions."""
    counts = calls.call(client, change.script, change.keys.to_pylist(), change.calls)
    return Written(written=counts[WRITTEN], older=counts[OLDER], equal=counts[EQUAL], removed=counts[REMOVED])


Way = Callable[[redis.Redis, Change], Written]
WAYS: list[Way] = [module.write, by_scripts]


def write(client: redis.Redis, order: int, values: dict[bytes, bytes | None], way: Way = module.write) -> Written:
    """One snapshot: entity → value, None for an entity whose row is gone."""
    total = Written()
    present = {key: value for key, value in values.items() if value is not None}
    if present:
        column = pa.array(list(present.values()), pa.binary())
        total += way(client, Change.rows(VIEW, pa.array(list(present), pa.binary()), [(STAMP, column), (FIELD, column)], order))
    if gone := [key for key, value in values.items() if value is None]:
        total += way(client, Change.removals(VIEW, pa.array(gone, pa.binary()), FIELDS, order))
    return total


_ENTITIES = [b"a", b"b", b"c"]
_SNAPSHOTS = st.dictionaries(
    st.integers(1, 50),
    st.dictionaries(st.sampled_from(_ENTITIES), st.none() | st.binary(min_size=1, max_size=3), min_size=1),
    min_size=1,
    max_size=6,
)


@pytest.mark.property
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshots=_SNAPSHOTS, data=st.data())
def test_i4_the_newest_snapshot_of_each_entity_stays(
    client: redis.Redis, snapshots: dict[int, dict[bytes, bytes | None]], data: st.DataObject
) -> None:
    """Snapshots come in any order, each as often as it likes, in pieces: corrections, removals and returns among them."""
    client.flushall()
    pieces = [(order, {key: value}) for order, rows in snapshots.items() for key, value in rows.items()]
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=5))
    for order, rows in data.draw(st.permutations(pieces + again)):
        write(client, order, rows, data.draw(st.sampled_from(WAYS)))
    assert_newest(client, snapshots)


def assert_newest(client: redis.Redis, snapshots: dict[int, dict[bytes, bytes | None]]) -> None:
    for key in _ENTITIES:
        newest = max((order for order, rows in snapshots.items() if key in rows), default=None)
        wanted = None if newest is None else snapshots[newest][key]
        assert client.hmget(key, FIELDS) == [wanted, wanted]
        assert client.hget(key, codec.order_field(VIEW)) == (None if newest is None else str(newest).encode())


@pytest.mark.property
@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(snapshots=_SNAPSHOTS, at_once=st.integers(1, 3), data=st.data())
def test_i4_writers_between_the_comparison_and_the_write_of_another(
    client: redis.Redis, redis_url: str, snapshots: dict[int, dict[bytes, bytes | None]], at_once: int, data: st.DataObject
) -> None:
    """Whenever a writer has compared and has not written yet, the next writer comes and does the same, down to the last."""
    client.flushall()
    waiting = list(data.draw(st.permutations(list(snapshots.items()))))
    outcome = transactions._Sender._outcomes

    def compared(sender: transactions._Sender, stored: list[bytes | None]) -> list[int]:
        found = outcome(sender, stored)
        if waiting:
            next_one()
        return found

    def next_one() -> None:
        order, rows = waiting.pop()
        with redis.Redis.from_url(redis_url) as mine:
            write(mine, order, rows, data.draw(st.sampled_from(WAYS)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transactions, "AT_ONCE", at_once)
        patch.setattr(transactions._Sender, "_outcomes", compared)
        while waiting:
            next_one()
    assert_newest(client, snapshots)


def test_i4_writers_at_the_same_time(client: redis.Redis, redis_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    keys = [f"k{index}".encode() for index in range(300)]

    def writer(offset: int) -> None:
        with redis.Redis.from_url(redis_url) as mine:
            for order in range(1 + offset, 41, 4):
                write(mine, order, dict.fromkeys(keys, None if order == 37 else f"{order}".encode()), WAYS[offset % 2])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writer, range(4)))
    assert {tuple(client.hmget(key, FIELDS)) for key in keys} == {(b"40", b"40")}


def test_i4_a_chunk_that_is_refused_again_and_again_goes_by_script(
    client: redis.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes to k7 before each EXEC; then to k7 and k8, with a newer snapshot, before the script."""
    outcome, tries = transactions._Sender._outcomes, []

    def disturbed(sender: transactions._Sender, stored: list[bytes | None]) -> list[int]:
        with redis.Redis.from_url(redis_url) as other:
            other.hset("k7", "somebody's", len(tries))
            if len(tries) == transactions.ATTEMPTS - 1:
                write(other, 6, {b"k7": b"newer", b"k8": None}, by_scripts)
        tries.append(1)
        return outcome(sender, stored)

    monkeypatch.setattr(transactions._Sender, "_outcomes", disturbed)
    done = write(client, 5, {f"k{index}".encode(): b"5" for index in range(20)})
    assert (done.written, done.older, len(tries)) == (18, 2, transactions.ATTEMPTS)
    assert [client.hget(key, FIELD) for key in ("k6", "k7", "k8")] == [b"5", b"newer", None]


def test_no_key_stays_watched(client: redis.Redis, redis_url: str) -> None:
    """A connection goes back to the pool without a WATCH, or the next transaction on it would be refused for nothing."""
    with redis.Redis.from_url(redis_url, max_connections=2) as one:
        write(one, 5, {f"k{index}".encode(): b"5" for index in range(200)})
        assert write(one, 4, {f"k{index}".encode(): b"4" for index in range(200)}).older == 200
        client.set(b"k50", b"no hash")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            write(one, 6, {f"k{index}".encode(): b"6" for index in range(200)})
        for _ in range(2):
            client.hset(b"k1", "x", "y")
            pipeline = one.pipeline(transaction=True)
            pipeline.hset(b"mine", "x", "y")
            assert len(pipeline.execute()) == 1
        assert {told["watch"] for told in client.client_list()} <= {"0"}


@pytest.mark.parametrize("way", WAYS)
def test_counts(client: redis.Redis, way: Way) -> None:
    rows: dict[bytes, bytes | None] = {b"a": b"1", b"b": b"2"}
    assert write(client, 5, rows, way).written == 2
    stale = write(client, 4, {b"a": b"0", b"b": None}, way)
    assert (stale.older, stale.written, stale.removed) == (2, 0, 0)
    assert write(client, 5, rows, way).equal == 2
    gone = write(client, 6, {b"a": None, b"new": None}, way)
    assert (gone.removed, gone.equal) == (1, 1)
    assert client.hgetall(b"a") == {codec.order_field(VIEW): b"6"}
    assert write(client, 5, rows, way).older == 1
    mixed = write(client, 5, {b"a": None, b"new": None, b"b": None}, way)
    assert (mixed.older, mixed.removed) == (2, 1)
    assert client.hmget(b"a", FIELDS) == [None, None]


def test_orders_are_exact_to_the_microsecond(client: redis.Redis) -> None:
    order = 4_102_444_800_000_001  # in the year 2100
    write(client, order, {b"a": b"new"})
    assert write(client, order - 1, {b"a": b"old"}).older == 1
    assert write(client, order + 1, {b"a": b"newer"}).written == 1


def test_more_rows_than_are_in_flight_and_wide_ones(client: redis.Redis) -> None:
    keys = pa.array([f"k{index}".encode() for index in range(1237)], pa.binary())
    fields = [(f"f{index}".encode(), pa.array([b"x" * (row % 7) for row in range(1237)], pa.binary())) for index in range(500)]
    done = write_rows(client, VIEW, keys, fields, 1)
    assert done.written == 1237
    assert client.hlen(b"k1236") == 501
    assert client.hget(b"k13", b"f499") == b"x" * 6
    assert write_rows(client, VIEW, pa.array([], pa.binary()), [(b"f", pa.array([], pa.binary()))], 1) == Written()


def test_an_error_from_the_server_is_raised_and_the_connection_still_serves(client: redis.Redis) -> None:
    client.set(b"k50", b"no hash")
    rows: dict[bytes, bytes | None] = {f"k{index}".encode(): b"1" for index in range(100)}
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        write(client, 1, rows)
    client.delete(b"k50")
    assert write(client, 1, rows).older == 0
    assert client.hget(b"k50", FIELD) == b"1"


def test_a_full_server_refuses_loudly(redis_server: Valkey, client: redis.Redis) -> None:
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError, match="OOM|memory"):
            write(client, 1, {b"a": b"1"})
    finally:
        client.config_set("maxmemory", redis_server.max_memory)
    assert write(client, 1, {b"a": b"1"}).written == 1


def feast_row(value: bytes, event: float, created: int | None = None) -> FeastRow:
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp(seconds=int(event // 1), nanos=int(event % 1 * 1e9))
    return FeastRow(b"k", {FIELD: value}, (stamp.seconds, stamp.nanos), stamp.SerializeToString(), created)


@pytest.mark.parametrize("events", [(100.5, 100.25), (0, -1), (-1.5, -1.75), (-(2**33), -(2**33) - 1), (200, 130)])
def test_without_created_the_later_event_stays_and_an_equal_one_corrects(
    client: redis.Redis, events: tuple[float, float]
) -> None:
    later, earlier = events
    write_feast_rows(client, VIEW, [feast_row(b"old", earlier), feast_row(b"new", later), feast_row(b"old", earlier)])
    assert client.hget(b"k", FIELD) == b"new"
    write_feast_rows(client, VIEW, [feast_row(b"corrected", later)])
    assert client.hget(b"k", FIELD) == b"corrected"
    assert write_feast_rows(client, VIEW, [feast_row(b"old", earlier)], always=True).written == 1
    assert client.hget(b"k", FIELD) == b"old"


def test_created_decides_where_both_have_one(client: redis.Redis) -> None:
    write_feast_rows(client, VIEW, [feast_row(b"1", 100, created=10)])
    assert write_feast_rows(client, VIEW, [feast_row(b"undone", 90, created=11)]).written == 1
    assert write_feast_rows(client, VIEW, [feast_row(b"stale", 200, created=9)]).older == 1
    assert write_feast_rows(client, VIEW, [feast_row(b"same batch", 80, created=11)]).older == 1
    assert write_feast_rows(client, VIEW, [feast_row(b"pushed", 95)]).written == 1
    assert client.hget(b"k", FIELD) == b"pushed"


def test_keys_expire_only_when_asked(client: redis.Redis) -> None:
    write_feast_rows(client, VIEW, [feast_row(b"1", 100)])
    assert client.ttl(b"k") == -1
    write_feast_rows(client, VIEW, [feast_row(b"1", 100)], expire=60)
    assert 0 < client.ttl(b"k") <= 60
