"""Runs a script for each key, few calls in flight: on every server, and on a Redis Cluster, whose keys are in many slots.

Belongs here: which server has which key, slots that move meanwhile, lost scripts. Does not: the scripts (scripts.py), many
keys at a time (transactions.py).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hiredis
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, NoScriptError, RedisClusterException, TryAgainError

from millwright.online import wire
from millwright.online.connect import Client
from millwright.online.replies import line

# Calls sent before their replies are read. A reader's latency grows with it: 1.45 × at 20, 8.5 × at 1,000.
IN_FLIGHT = 40
# Attempts on a cluster whose slots move, and seconds between them: an election takes about its node timeout.
PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0)

_ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError)


def sha(script: str) -> bytes:
    """Name of the script for EVALSHA."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


def call(client: Client, script: str, keys: Sequence[bytes], commands: pa.BinaryArray) -> npt.NDArray[np.int64]:
    """Run `commands`, one EVALSHA of the script a key. Returns the count of each outcome. Raises redis.RedisError."""
    if not isinstance(client, RedisCluster):
        outcomes, _ = _calls(client, script, commands)
        return np.bincount(outcomes, minlength=4)
    try:
        return _on_cluster(client, script, keys, commands)
    except (redis.ConnectionError, redis.TimeoutError):
        _refresh(client)  # the next attempt finds the server that has taken over
        raise
    except RedisClusterException as error:
        raise ClusterDownError(str(error)) from error


def _on_cluster(client: RedisCluster, script: str, keys: Sequence[bytes], commands: pa.BinaryArray) -> npt.NDArray[np.int64]:
    counts = np.zeros(4, np.int64)
    waiting = np.arange(len(commands))
    slots = np.fromiter(map(key_slot, keys), np.int64, len(keys))
    for pause in PAUSES:
        if pause:
            time.sleep(pause)
            _refresh(client)
        moved: list[int] = []
        for node, mine in _nodes(client, slots, waiting):
            outcomes, elsewhere = _calls(node, script, commands.take(wire.integers(mine)))
            counts += np.bincount(outcomes, minlength=4)
            for place, error in elsewhere:
                if isinstance(error, AskError):
                    counts[_ask(client, error, script, commands[int(mine[place])].as_py())] += 1
                else:
                    moved.append(int(mine[place]))
        waiting = np.array(moved, np.int64)
        if not len(waiting):
            return counts
    raise ClusterDownError(f"{len(waiting)} keys had no server for {sum(PAUSES):.1f} s: their slots are moving, or down")


def _refresh(client: RedisCluster) -> None:
    """Ask which server has which slot; what was known stays where no server can tell."""
    with suppress(RedisClusterException, redis.ConnectionError, redis.TimeoutError):
        client.nodes_manager.initialize()


def _nodes(
    client: RedisCluster, slots: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> list[tuple[redis.Redis, npt.NDArray[np.int64]]]:
    """Each server with those of the rows whose keys it has."""
    owners = {int(slot): client.nodes_manager.get_node_from_slot(int(slot)) for slot in np.unique(slots[rows])}
    names = np.array([owners[slot].name for slot in slots[rows].tolist()])
    found = {node.name: node for node in owners.values()}
    return [(client.get_redis_connection(node), rows[names == name]) for name, node in found.items()]


def _calls(client: redis.Redis, script: str, commands: pa.BinaryArray) -> tuple[list[int], list[tuple[int, Exception]]]:
    """Outcomes, and the places of the calls that another server has to answer, with its error.

    Two windows are on the way at a time: one whose replies are read, one that the server works on.
    """
    client.script_load(script)
    data, ends = wire.buffers(commands)
    half = max(1, IN_FLIGHT // 2)
    windows = [(start, min(start + half, len(commands))) for start in range(0, len(commands), half)]
    replies: list[Any] = []
    with line(client) as connection:
        for number, (start, stop) in enumerate(windows):
            connection.send([data[ends[start] : ends[stop]]])
            if number:
                replies += connection.receive(start - len(replies))
                _raise_first(replies[-half:])
        replies += connection.receive(len(commands) - len(replies))
        _raise_first(replies[-half:])
    elsewhere = [(place, reply) for place, reply in enumerate(replies) if isinstance(reply, Exception)]
    return [reply for reply in replies if not isinstance(reply, Exception)] if elsewhere else replies, elsewhere


def _raise_first(replies: list[Any]) -> None:
    for reply in replies:
        if isinstance(reply, NoScriptError):
            raise redis.ConnectionError(
                "Redis lost its scripts in the middle of a write (SCRIPT FLUSH or a restart). "
                "What was confirmed stays; publish again to write the rest."
            )
        if isinstance(reply, Exception) and not isinstance(reply, _ELSEWHERE):
            raise reply


def _ask(client: RedisCluster, error: AskError, script: str, command: bytes) -> int:
    """The outcome of one call whose key is on the way from one server to another, from the other."""
    node = client.nodes_manager.get_node(error.host, error.port)
    if node is None:
        _refresh(client)
        node = client.nodes_manager.get_node(error.host, error.port)
    if node is None:
        raise ClusterDownError(f"the cluster sends us to {error.host}:{error.port}, which it does not list")
    reader = hiredis.Reader()
    reader.feed(command)
    _, _, *arguments = reader.gets()
    with line(client.get_redis_connection(node)) as connection:
        packed = [b"EVAL", script.encode(), *arguments]
        connection.send([b"*1\r\n$6\r\nASKING\r\n", packed_command(packed)])
        _, outcome = connection.receive(2)
    if isinstance(outcome, Exception):
        raise outcome
    return int(outcome)


def bulk(argument: bytes) -> bytes:
    """One argument of a command."""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


def packed_command(arguments: Sequence[bytes]) -> bytes:
    """A command."""
    return b"*%d\r\n" % len(arguments) + b"".join(map(bulk, arguments))
