"""Many HMGETs in one round trip on one connection.

Belongs here: commands out, replies in. Does not: which fields, what their bytes mean (read.py, codec.py).

The commands are bytes already and the replies come straight from the socket (replies.py): by way of redis-py's pipeline, 100
replies take three times as long. On a Redis Cluster redis-py's pipeline knows the slots, and follows them when they move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import redis
from redis.cluster import RedisCluster

from millwright.online.replies import line

Reply = Sequence[bytes | None]


class Fields:
    """Names of fields, as the end of a command that asks for them."""

    def __init__(self, names: Sequence[bytes]) -> None:
        self.names = list(names)
        self._head = b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(names))
        self._tail = b"\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in names)

    def command(self, key: bytes) -> bytes:
        """HMGET of these fields of a key."""
        return b"%b%d\r\n%b%b" % (self._head, len(key), key, self._tail)


def lookup(client: redis.Redis | RedisCluster, asked: Iterable[tuple[Fields, Sequence[bytes]]]) -> list[Reply]:
    """Values of the fields of each key, in the order asked; None for what is not there. Raises redis.RedisError."""
    asked = list(asked)
    if isinstance(client, RedisCluster):
        pipeline: Any = client.pipeline()  # type: ignore[no-untyped-call]
        for fields, keys in asked:
            for key in keys:
                pipeline.hmget(key, fields.names)
        return cast(list[Reply], pipeline.execute())
    commands = [fields.command(key) for fields, keys in asked for key in keys]
    if not commands:
        return []
    with line(client) as connection:
        connection.send([b"".join(commands)])
        replies = connection.receive(len(commands))
        for reply in replies:
            if isinstance(reply, redis.RedisError):
                raise reply
    return replies
