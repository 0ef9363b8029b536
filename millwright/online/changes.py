"""What is to be done to Redis, as the bytes of its commands: rows to set or to take out, as of one snapshot.

Belongs here: HSET and HDEL, or calls of a script, of many keys. Does not: sending (transactions.py, calls.py), values (codec.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import pyarrow as pa

from millwright.online import codec, scripts, wire
from millwright.online.calls import bulk, sha


class Change:
    """Fields of each key to be set, or taken out, as of the snapshot `order` (µs). Bytes are made when first asked for."""

    def __init__(
        self, order_field: bytes, keys: pa.BinaryArray, order: int, arguments: Sequence[wire.Piece], *, removes: bool
    ) -> None:
        self.order_field, self.keys, self.order, self.removes = order_field, keys, order, removes
        self._arguments = list(arguments)
        self._stamp: list[wire.Piece] = [order_field, str(order).encode()]

    @classmethod
    def rows(cls, view_id: str, keys: pa.BinaryArray, fields: Sequence[tuple[bytes, pa.BinaryArray]], order: int) -> Change:
        """Set `fields` (name, values by row)."""
        return cls(codec.order_field(view_id), keys, order, [part for pair in fields for part in pair], removes=False)

    @classmethod
    def removals(cls, view_id: str, keys: pa.BinaryArray, fields: Sequence[bytes], order: int) -> Change:
        """Take `fields` out; the order stays."""
        return cls(codec.order_field(view_id), keys, order, fields, removes=True)

    def slice(self, first: int, end: int) -> Change:
        """The same for some of the keys."""
        part = [each if isinstance(each, bytes) else each.slice(first, end - first) for each in self._arguments]
        return Change(self.order_field, self.keys.slice(first, end - first), self.order, part, removes=self.removes)

    @property
    def script(self) -> str:
        """What does the same to one key."""
        return scripts.REMOVE if self.removes else scripts.WRITE

    @cached_property
    def names(self) -> pa.BinaryArray:
        """Each key as an argument of a command."""
        return wire.join([b"$", wire.decimal_lengths(self.keys), b"\r\n", self.keys, b"\r\n"], len(self.keys))

    @cached_property
    def asks(self) -> pa.BinaryArray:
        """HGET of each key's order."""
        return wire.join([b"*3\r\n", bulk(b"HGET"), self.names, bulk(self.order_field)], len(self.keys))

    @cached_property
    def commands(self) -> pa.BinaryArray:
        """An HSET for each key; of a removal an HDEL and an HSET of the order."""
        if not self.removes:
            return self._packed([b"HSET"], [*self._stamp, *self._arguments])
        return wire.join([self._packed([b"HDEL"], self._arguments), self._packed([b"HSET"], self._stamp)], len(self.keys))

    @cached_property
    def calls(self) -> pa.BinaryArray:
        """A call of the script for each key."""
        return self._packed([b"EVALSHA", sha(self.script), b"1"], [*self._stamp, *self._arguments])

    def _packed(self, start: Sequence[bytes], arguments: Sequence[wire.Piece]) -> pa.BinaryArray:
        pieces: list[wire.Piece] = [b"*%d\r\n" % (len(start) + 1 + len(arguments)), *map(bulk, start), self.names]
        for argument in arguments:
            pieces.extend(
                [bulk(argument)]
                if isinstance(argument, bytes)
                else [b"$", wire.decimal_lengths(argument), b"\r\n", argument, b"\r\n"]
            )
        return wire.join(pieces, len(self.keys))
