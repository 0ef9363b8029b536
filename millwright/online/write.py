"""Writes rows to Redis: one atomic compare-and-set a key, by snapshot order (invariant I4).

Belongs here: the scripts, commands, few of them in flight, counts.
Does not: which rows (publish.py, store.py), their bytes (codec.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import NoScriptError

from millwright.online import codec, scripts, wire

# Commands sent before their replies are read. A reader's latency grows with it: 1.45 × at 20, 8.5 × at 1,000.
IN_FLIGHT = 40

Client = redis.Redis | RedisCluster
OLDER, WRITTEN, EQUAL, REMOVED = 0, 1, 2, 3


@dataclass(frozen=True)
class Written:
    """What became of the rows sent: written, refused as older, equal (the same snapshot again), removed; and the bytes sent."""

    written: int = 0
    older: int = 0
    equal: int = 0
    removed: int = 0
    bytes: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.written + other.written,
            self.older + other.older,
            self.equal + other.equal,
            self.removed + other.removed,
            self.bytes + other.bytes,
        )


@dataclass(frozen=True)
class FeastRow:
    """One row as Feast's interface gives it: event time as (seconds, nanos), `created` in microseconds or None."""

    key: bytes
    values: dict[bytes, bytes]
    event: tuple[int, int]
    event_bytes: bytes
    created: int | None


def write_rows(
    client: Client, view_id: str, keys: pa.BinaryArray, fields: Sequence[tuple[bytes, pa.BinaryArray]], order: int
) -> Written:
    """Set `fields` (name, values by row) of each key as of the snapshot `order` (microseconds), unless a newer one was there.

    Raises redis.RedisError when a reply is an error or the connection is lost: rows before it may have been written, and may be
    written again.
    """
    arguments: list[wire.Piece] = [codec.order_field(view_id), str(order).encode()]
    for name, values in fields:
        arguments.extend((name, values))
    return _run(client, scripts.WRITE, keys, arguments)


def remove_rows(client: Client, view_id: str, keys: pa.BinaryArray, fields: Sequence[bytes], order: int) -> Written:
    """Delete `fields` of each key unless a newer snapshot than `order` was there; the order stays."""
    return _run(client, scripts.REMOVE, keys, [codec.order_field(view_id), str(order).encode(), *fields])


def write_feast_rows(
    client: Client, view_id: str, rows: Sequence[FeastRow], *, expire: int | None = None, always: bool = False
) -> Written:
    """Write rows of Feast's interface in their order. `expire`: seconds; `always`: compare nothing (Feast's `skip_dedup`)."""
    commands = []
    for row in rows:
        head = [
            codec.order_field(view_id),
            b"" if row.created is None else b"%d" % row.created,
            *(b"%d" % part for part in row.event),
        ]
        head += [b"" if not expire else b"%d" % expire, b"1" if always else b"", codec.timestamp_field(view_id), row.event_bytes]
        pairs = [part for pair in row.values.items() for part in pair]
        commands.append(_packed([b"EVALSHA", _sha(scripts.FEAST), b"1", row.key, *head, *pairs]))
    return _send(client, scripts.FEAST, [row.key for row in rows], wire.binary(commands))


def _run(client: Client, script: str, keys: pa.BinaryArray, arguments: Sequence[wire.Piece]) -> Written:
    pieces: list[wire.Piece] = [b"*%d\r\n" % (4 + len(arguments)), _bulk(b"EVALSHA"), _bulk(_sha(script)), _bulk(b"1")]
    for argument in (keys, *arguments):
        pieces.extend(
            [_bulk(argument)]
            if isinstance(argument, bytes)
            else [b"$", wire.decimal_lengths(argument), b"\r\n", argument, b"\r\n"]
        )
    return _send(client, script, keys, wire.join(pieces, len(keys)))


def _send(client: Client, script: str, keys: pa.BinaryArray | list[bytes], commands: pa.BinaryArray) -> Written:
    counts = np.zeros(4, np.int64)
    for node, mine in _nodes(client, keys, commands):
        node.script_load(script)
        for replies in _replies(node, script, mine):
            counts += np.bincount(np.array(replies, np.int64), minlength=4)
    total = int(wire.lengths(commands).sum())
    return Written(int(counts[WRITTEN]), int(counts[OLDER]), int(counts[EQUAL]), int(counts[REMOVED]), total)


def _nodes(client: Client, keys: Any, commands: pa.BinaryArray) -> Iterator[tuple[redis.Redis, pa.BinaryArray]]:
    if not isinstance(client, RedisCluster):
        yield client, commands
        return
    plain = keys if isinstance(keys, list) else keys.to_pylist()
    owners = [client.nodes_manager.get_node_from_slot(key_slot(key)) for key in plain]
    for owner in {node.name: node for node in owners}.values():
        mine = np.array([node.name == owner.name for node in owners])
        yield client.get_redis_connection(owner), commands.filter(wire.mask(mine))


def _replies(client: Any, script: str, commands: pa.BinaryArray) -> Iterator[list[int]]:
    """Two windows are on the way at a time: one whose replies are read, one that the server works on."""
    data, ends = wire.buffers(commands)
    half = max(1, IN_FLIGHT // 2)
    starts = list(range(0, len(commands), half))
    connection: Any = client.connection_pool.get_connection()
    try:
        waiting: list[int] = []
        for start in [*starts, None]:
            if start is not None:
                stop = min(start + half, len(commands))
                connection.send_packed_command([data[ends[start] : ends[stop]]], check_health=start == 0)
                waiting.append(stop - start)
            if len(waiting) == 2 or (start is None and waiting):
                yield [connection.read_response() for _ in range(waiting.pop(0))]
    except NoScriptError:
        connection.disconnect()  # replies of the commands after it are still on the way
        raise redis.ConnectionError(
            "Redis lost its scripts in the middle of a write (SCRIPT FLUSH or a restart). "
            "What was confirmed stays; publish again to write the rest."
        ) from None
    except BaseException:
        connection.disconnect()
        raise
    finally:
        client.connection_pool.release(connection)


def _bulk(argument: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def _packed(arguments: Sequence[bytes]) -> bytes:
    return b"*%d\r\n" % len(arguments) + b"".join(map(_bulk, arguments))


def _sha(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()
