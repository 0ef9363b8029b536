"""Many HMGETs in one round trip on one connection.

Belongs here: commands out, replies in. Does not: which fields, what their bytes mean (read.py, codec.py).

redis-py keeps the connection (authentication, TLS, its pool); the commands are bytes already, and hiredis reads the replies
straight from the socket: by way of redis-py's pipeline, 100 replies take three times as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import hiredis
import redis
from redis.cluster import RedisCluster

Reply = Sequence[bytes | None]
_RECEIVED = 1 << 16


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
    connection: Any = client.connection_pool.get_connection()
    try:
        connection.send_packed_command([b"".join(commands)])
        return _replies(connection, len(commands))
    except BaseException:
        connection.disconnect()  # replies may still be on the way
        raise
    finally:
        client.connection_pool.release(connection)


def _replies(connection: Any, count: int) -> list[Reply]:
    reader, found = hiredis.Reader(), list[Reply]()
    socket = connection._sock
    while True:
        while (reply := reader.gets()) is not False:
            if isinstance(reply, hiredis.ReplyError):
                raise redis.ResponseError(str(reply))
            found.append(reply)
            if len(found) == count:
                return found
        try:
            data = socket.recv(_RECEIVED)
        except TimeoutError as error:
            raise redis.TimeoutError("Redis did not answer in time") from error
        except OSError as error:
            raise redis.ConnectionError(f"the connection to Redis broke: {error}") from error
        if not data:
            raise redis.ConnectionError("Redis closed the connection")
        reader.feed(data)
