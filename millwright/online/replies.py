"""Replies of Redis straight from the socket of a redis-py connection, by hiredis.

Belongs here: bytes to replies, errors of the server and of the line. Does not: commands (lookup.py, transactions.py, calls.py).

redis-py keeps the connection (authentication, TLS, Sentinel, its pool); its own way to read takes three times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import hiredis
import redis
from redis.connection import DefaultParser

_RECEIVED = 1 << 16


@contextmanager
def line(client: redis.Redis) -> Iterator[Line]:
    """A connection of the client's pool. After an error it is closed: replies may still be on the way, keys be watched."""
    connection = client.connection_pool.get_connection()
    try:
        yield Line(connection)
    except BaseException:
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        client.connection_pool.release(connection)


class Line:
    """Sends bytes of commands and hands out their replies in order."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error)

    def send(self, commands: list[Any]) -> None:
        """Pieces of RESP, as one. Raises redis.ConnectionError, redis.TimeoutError."""
        self._connection.send_packed_command([b"".join(commands)], check_health=False)

    def receive(self, count: int) -> list[Any]:
        """The next replies; an error of the server's is one of them, as a redis.ResponseError.

        Raises redis.ConnectionError, redis.TimeoutError.
        """
        reader, found = self._reader, list[Any]()
        while len(found) < count:
            reply = reader.gets()
            if reply is False:
                reader.feed(self._more())
            elif not isinstance(reply, hiredis.PushNotification):
                found.append(reply)
        return found

    def _more(self) -> bytes:
        try:
            data: bytes = self._connection._sock.recv(_RECEIVED)
        except TimeoutError as error:
            raise redis.TimeoutError("Redis did not answer in time") from error
        except OSError as error:
            raise redis.ConnectionError(f"the connection to Redis broke: {error}") from error
        if not data:
            raise redis.ConnectionError("Redis closed the connection")
        return data
