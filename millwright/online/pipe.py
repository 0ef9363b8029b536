"""Many readers of one event loop on few connections: commands of requests that come together travel together.

Belongs here: commands out, replies in, on asyncio. Does not: which fields, what their bytes mean (read.py), the same on threads
(lookup.py).

redis-py makes each connection (authentication, TLS, Sentinel); then its socket is the loop's, and hiredis reads the replies
where they arrive: no task is woken that has nothing to do yet. Where there is no plain socket to take over (TLS, a cluster),
the question is asked on a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import hiredis
import redis
from redis.cluster import RedisCluster

from millwright.online.lookup import Fields, Reply, lookup

Asked = Sequence[tuple[Fields, Sequence[bytes]]]
SECONDS = 1.0
"""A question that Redis has not answered by then has failed."""
_PAUSE = 0.25
_WIDE = 100


class Pipe:
    """Questions of one event loop to one Redis.

    A question that finds Redis away fails at once for a quarter of a second after a failure, then one tries again: nobody
    waits behind a server that does not answer. Wide questions have a connection of their own, so that small ones pass them.
    """

    def __init__(self, client: redis.Redis | RedisCluster, seconds: float = SECONDS) -> None:
        self._client = client
        self._lanes: tuple[_Lane, ...] = ()
        if not isinstance(client, RedisCluster) and not issubclass(client.connection_pool.connection_class, redis.SSLConnection):
            self._lanes = (_Lane(client, seconds), _Lane(client, seconds))

    async def ask(self, asked: Asked) -> list[Reply]:
        """Values of the fields of each key, in the order asked; None for what is not there. Raises redis.RedisError."""
        count = sum(len(keys) for _, keys in asked)
        if not self._lanes:
            return await asyncio.to_thread(lookup, self._client, asked)
        if not count:
            return []
        commands = b"".join([fields.command(key) for fields, keys in asked for key in keys])
        return await self._lanes[count > _WIDE].ask(commands, count)

    def close(self) -> None:
        """End the connections; questions on the way fail."""
        for lane in self._lanes:
            lane.close()


class _Lane:
    """One connection, made when it is needed and again after it broke."""

    def __init__(self, client: redis.Redis, seconds: float) -> None:
        self._client, self._seconds = client, seconds
        self._stream: _Stream | None = None
        self._connecting: asyncio.Future[_Stream] | None = None
        self._failed: tuple[float, redis.RedisError] | None = None

    async def ask(self, commands: bytes, count: int) -> list[Reply]:
        stream = self._stream
        if stream is None or stream.broken is not None:
            stream = await self._connected()
        try:
            return await stream.ask(commands, count)
        except redis.TimeoutError as error:
            self._failed = (time.monotonic(), error)
            raise

    def close(self) -> None:
        if self._stream is not None:
            self._stream.end(redis.ConnectionError("closed"))

    async def _connected(self) -> _Stream:
        if self._failed and time.monotonic() - self._failed[0] < _PAUSE:
            raise redis.ConnectionError(f"Redis was away a moment ago: {self._failed[1]}")
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(self._done)
        return await asyncio.shield(self._connecting)

    def _done(self, connected: asyncio.Future[_Stream]) -> None:
        self._connecting = None
        if not connected.cancelled() and (error := connected.exception()) is not None:
            known = error if isinstance(error, redis.RedisError) else redis.ConnectionError(str(error))
            self._failed = (time.monotonic(), known)

    async def _connect(self) -> _Stream:
        try:
            async with asyncio.timeout(self._seconds):
                taken = await asyncio.to_thread(_taken, self._client)
                _, stream = await asyncio.get_running_loop().create_connection(lambda: _Stream(self._seconds), sock=taken)
        except TimeoutError:
            raise redis.TimeoutError(f"Redis did not answer in {self._seconds:g} s") from None
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error
        self._stream = stream
        return stream


class _Stream(asyncio.Protocol):
    """Replies to the questions on the way, in their order."""

    def __init__(self, seconds: float) -> None:
        self.broken: redis.RedisError | None = None
        self._seconds = seconds
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[list[Reply]], int, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._found: list[Reply] = []
        self._commands: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._failure: redis.RedisError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, commands: bytes, count: int) -> asyncio.Future[list[Reply]]:
        answer: asyncio.Future[list[Reply]] = self._loop.create_future()
        if self.broken is not None:
            answer.set_exception(self.broken)
            return answer
        self._waiting.append((answer, count, self._loop.time() + self._seconds))
        if self._watch is None:
            self._watch = self._loop.call_later(self._seconds, self._look)
        self._commands.append(commands)
        if len(self._commands) == 1:
            self._loop.call_soon(self._send)
        return answer

    def _send(self) -> None:
        """What was asked in this turn of the loop, by one call of the system."""
        commands, self._commands = self._commands, []
        if self.broken is None:
            self._transport.write(b"".join(commands))

    def _look(self) -> None:
        """One timer for all: the oldest question is the first to be late."""
        self._watch = None
        if not self._waiting:
            return
        left = self._waiting[0][2] - self._loop.time()
        if left <= 0:
            self.end(redis.TimeoutError(f"Redis did not answer in {self._seconds:g} s"))
        else:
            self._watch = self._loop.call_later(left, self._look)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except hiredis.HiredisError as error:
            self.end(redis.InvalidResponse(f"Redis answered what is no reply: {error}"))

    def _take(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification):
            return
        if not self._waiting:
            self.end(redis.InvalidResponse("Redis answered what nobody asked"))
            return
        if isinstance(reply, hiredis.ReplyError):
            self._failure = redis.ResponseError(str(reply))
        self._found.append(reply)
        answer, count, _ = self._waiting[0]
        if len(self._found) < count:
            return
        self._waiting.popleft()
        found, failure, self._found, self._failure = self._found, self._failure, [], None
        if answer.done():  # its asker has gone
            return
        if failure is None:
            answer.set_result(found)
        else:
            answer.set_exception(failure)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(redis.ConnectionError(f"the connection to Redis broke: {exc or 'closed by the server'}"))

    def end(self, error: redis.RedisError) -> None:
        if self.broken is not None:
            return
        self.broken = error
        waiting, self._waiting = self._waiting, deque()
        if self._watch is not None:
            self._watch.cancel()
        for answer, _, _ in waiting:
            if not answer.done():
                answer.set_exception(error)
        self._transport.abort()


def _taken(client: redis.Redis) -> socket.socket:
    """The socket of a new connection that has introduced itself. Raises redis.RedisError, OSError."""
    connection: Any = client.connection_pool.make_connection()
    connection.connect()
    found = socket.socket(fileno=connection._sock.detach())
    with contextlib.suppress(OSError):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found.setblocking(False)
    return found
