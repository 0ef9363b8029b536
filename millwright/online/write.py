"""Writes rows to Redis: an atomic compare-and-set of each key, by snapshot order (invariant I4).

Belongs here: what is written and its commands, the choice of the way: transactions of many keys on one server; a script a key
on a Redis Cluster, for rows of Feast's interface, and for keys that others write to all the time.
Does not: which rows (publish.py, store.py), their bytes (codec.py), sending (transactions.py, calls.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from redis.cluster import RedisCluster

from millwright.online import codec, scripts, wire
from millwright.online.calls import call, packed_command, sha
from millwright.online.changes import Change
from millwright.online.connect import Client
from millwright.online.outcomes import EQUAL, OLDER, REMOVED, WRITTEN, Written
from millwright.online.transactions import compare_and_set


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
    return write(client, Change.rows(view_id, keys, fields, order))


def remove_rows(client: Client, view_id: str, keys: pa.BinaryArray, fields: Sequence[bytes], order: int) -> Written:
    """Delete `fields` of each key unless a newer snapshot than `order` was there; the order stays."""
    return write(client, Change.removals(view_id, keys, fields, order))


def prepare(client: Client, change: Change) -> Change:
    """The change with its bytes made, so that a thread can do that beside the one that sends."""
    _ = change.calls if isinstance(client, RedisCluster) else (change.commands, change.asks)
    return change


def write(client: Client, change: Change) -> Written:
    """Do the change to each key whose order is not newer; see `write_rows`. Keys that others keep writing to go by script."""
    if not len(change.keys):
        return Written()
    if isinstance(client, RedisCluster):
        return _written(call(client, change.script, change.keys.to_pylist(), change.calls), change.calls)
    counts, refused = compare_and_set(client, change)
    done = _written(counts, change.commands)
    for first, end in refused:
        part = change.slice(first, end)
        done += _written(call(client, change.script, [], part.calls), part.calls)
    return done


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
        commands.append(packed_command([b"EVALSHA", sha(scripts.FEAST), b"1", row.key, *head, *pairs]))
    packed = wire.binary(commands)
    return _written(call(client, scripts.FEAST, [row.key for row in rows], packed), packed)


def _written(counts: npt.NDArray[np.int64], commands: pa.BinaryArray) -> Written:
    size = int(wire.lengths(commands).sum())
    return Written(int(counts[WRITTEN]), int(counts[OLDER]), int(counts[EQUAL]), int(counts[REMOVED]), size)
