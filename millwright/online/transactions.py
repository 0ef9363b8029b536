"""Compares and sets many keys of one server at a time: optimistic transactions (invariant I4).

Belongs here: WATCH and HGET of the orders, the comparison, MULTI/EXEC, what was refused. Does not: which rows (publish.py),
one key at a time by a script (calls.py), which of the two ways (write.py).

Redis refuses EXEC when a watched key was written to after WATCH, by anybody, also by a script or by Feast's own writer: what
was compared is what is replaced, as in a script. The server spends half of a script's time on it. Each block of commands holds
the transaction of a chunk, and WATCH and HGET of the next. A Redis Cluster wants all keys of a transaction in one slot.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import redis

from millwright.online import wire
from millwright.online.changes import Change
from millwright.online.outcomes import EQUAL, OLDER, REMOVED, WRITTEN
from millwright.online.replies import Line, line

# Keys of a transaction. The server does it in one go: a reader waits for that.
AT_ONCE = 20
ATTEMPTS = 3
_MULTI, _EXEC, _UNWATCH = b"*1\r\n$5\r\nMULTI\r\n", b"*1\r\n$4\r\nEXEC\r\n", b"*1\r\n$7\r\nUNWATCH\r\n"

Chunk = tuple[int, int]


def compare_and_set(client: redis.Redis, change: Change) -> tuple[npt.NDArray[np.int64], list[Chunk]]:
    """Do the change to each key whose order is not newer.

    Returns the count of each outcome, and the rows (first, last + 1) that somebody else wrote to ATTEMPTS times. Raises
    redis.RedisError: a chunk's rows are then all written or none, except where the server refuses single commands.
    """
    chunks = [(start, min(start + AT_ONCE, len(change.keys))) for start in range(0, len(change.keys), AT_ONCE)]
    counts = np.zeros(4, np.int64)
    sender = _Sender(change)
    with line(client) as first, line(client) as second:
        for _ in range(ATTEMPTS):
            refused: list[Chunk] = []
            runs = [sender.run(first, chunks[::2], counts, refused), sender.run(second, chunks[1::2], counts, refused)]
            while runs:
                runs = [run for run in runs if next(run, False)]
            chunks = refused
    return counts, chunks


class _Sender:
    def __init__(self, change: Change) -> None:
        self._order, self._removes = change.order, change.removes
        self._names, self._asks, self._commands = _Parts(change.names), _Parts(change.asks), _Parts(change.commands)

    def run(
        self, line: Line, chunks: Sequence[Chunk], counts: npt.NDArray[np.int64], refused: list[Chunk]
    ) -> Generator[bool, None, None]:
        """One attempt at each chunk; adds to the counts and to what was refused. Yields where Redis has something to do."""
        if chunks:
            line.send(self._watch(chunks[0]))
            yield True
        for chunk, following in pairwise([*chunks, None]):
            assert chunk is not None
            outcomes = self._outcomes(_checked(line.receive(1 + chunk[1] - chunk[0]))[1:])
            free = None if OLDER not in outcomes else [place for place, outcome in enumerate(outcomes) if outcome != OLDER]
            line.send([*self._set(chunk, free), *(self._watch(following) if following else ())])
            yield True
            done = self._done(line, len(outcomes) if free is None else len(free))
            if done is None:
                refused.append(chunk)
                continue
            if self._removes:
                gone = [REMOVED if count else EQUAL for count in done[::2]]
                outcomes = gone + [OLDER] * (len(outcomes) - len(gone))
            counts += np.bincount(outcomes, minlength=4)

    def _watch(self, chunk: Chunk) -> list[Any]:
        return [b"*%d\r\n$5\r\nWATCH\r\n" % (1 + chunk[1] - chunk[0]), self._names[chunk], self._asks[chunk]]

    def _outcomes(self, stored: list[bytes | None]) -> list[int]:
        known = {value: self._outcome(value) for value in set(stored)}
        return [known[value] for value in stored]

    def _outcome(self, stored: bytes | None) -> int:
        try:
            before = int(stored or b"")
        except ValueError:
            return WRITTEN
        return OLDER if before > self._order else EQUAL if before == self._order else WRITTEN

    def _set(self, chunk: Chunk, free: list[int] | None) -> list[Any]:
        if free is None:
            return [_MULTI, self._commands[chunk], _EXEC]
        if not free:
            return [_UNWATCH]
        return [_MULTI, *(self._commands[chunk[0] + place, chunk[0] + place + 1] for place in free), _EXEC]

    def _done(self, line: Line, rows: int) -> list[int] | None:
        """Replies of the transaction's commands; None when it was refused."""
        if not rows:
            _checked(line.receive(1))
            return []
        *_, done = _checked(line.receive(2 + rows * (2 if self._removes else 1)))
        return None if done is None else _checked(done)


class _Parts:
    """Bytes of consecutive rows."""

    def __init__(self, values: pa.BinaryArray) -> None:
        self._data, self._ends = wire.buffers(values)

    def __getitem__(self, rows: Chunk) -> memoryview:
        return self._data[self._ends[rows[0]] : self._ends[rows[1]]]


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise reply
    return replies
