"""What the API keeps between requests: connections, the catalog and keys it has seen, each for a few seconds.

Belongs here: opening, caching, closing. Does not: routes (api.py), what a key may do (keys.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import redis
from psycopg_pool import ConnectionPool

from millwright.online.served import Served
from millwright.serving import keys
from millwright.settings import Settings

# A revoked key and a changed catalog are noticed within this many seconds.
FRESH_SECONDS = 3.0
_MAX_KEYS = 1000


class State:
    """Shared by all requests of a process; every method may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.project = settings.feast_project
        self.redis = redis.Redis.from_url(settings.require("redis_url"), socket_timeout=2, socket_connect_timeout=2)
        self._pool = ConnectionPool[psycopg.Connection[Any]](
            settings.require("postgres_url"),
            min_size=0,
            max_size=4,
            timeout=3,
            kwargs={"autocommit": True, "application_name": "millwright api", "options": "-c timezone=UTC"},
            open=False,
        )
        self._lock = threading.Lock()
        self._served: tuple[float, Served] | None = None
        self._keys: dict[str, tuple[float, keys.Key | None]] = {}

    def open(self) -> None:
        """Start the pool; connections are made when they are needed."""
        self._pool.open()

    def close(self) -> None:
        """Close everything."""
        self._pool.close()
        self.redis.close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool (autocommit, role app). Raises psycopg.Error or PoolTimeout."""
        with self._pool.connection() as conn:
            yield conn

    def served(self) -> Served:
        """The catalog; the last one known while Postgres is away. Raises psycopg.Error or PoolTimeout when none was read yet."""
        known = self._served
        if known and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            with self._pool.connection() as conn:
                served = Served.from_catalog(conn)
        except psycopg.OperationalError:
            if known is None:
                raise
            served = known[1]
        self._served = (time.monotonic(), served)
        return served

    def key(self, presented: str) -> keys.Key | None:
        """The key that was presented, None when it is not one. Raises psycopg.Error or PoolTimeout."""
        wanted = keys.digest(presented)
        known = self._keys.get(wanted)
        if known and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        if not keys.well_formed(presented):
            return None
        with self._pool.connection() as conn:
            found = keys.find(conn, presented)
        with self._lock:
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            self._keys[wanted] = (time.monotonic(), found)
        return found

    def check(self) -> dict[str, str]:
        """`ok` or the trouble of each store."""
        found = {"postgres": "ok", "redis": "ok"}
        try:
            with self._pool.connection() as conn:
                conn.execute("select 1 from catalog.feature_views limit 1")
        except psycopg.Error as error:
            found["postgres"] = type(error).__name__
        try:
            self.redis.ping()
        except redis.RedisError as error:
            found["redis"] = type(error).__name__
        return found
