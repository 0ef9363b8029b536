"""The keys that requests have shown, known again without asking the database each time.

Belongs here: what is remembered of a key, for how long, and what holds while Postgres is away. Does not: keys (keys.py), scopes
and answers (access.py).

A key that is in use is looked at again every second or so, off the requests' path: a revocation is felt within
FRESH_SECONDS. While Postgres is away nobody can revoke a key: those that were good when it went go on, for HELD_SECONDS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg

from millwright.serving import keys

FRESH_SECONDS = 3.0
HELD_SECONDS = 3600.0
_ASK_SECONDS = 2.0
_IDLE_SECONDS = 300.0
_MAX_KEYS = 1000
Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]


@dataclass
class _Known:
    key: keys.Key | None
    seen: float
    used: float
    fresh_use: bool = True


class Keyring:
    """Shared by the requests of one process. `connect`: a connection of the pool."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._known: dict[str, _Known] = {}
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="keys")
        self.away = False

    async def find(self, presented: str) -> keys.Key | None:
        """The key that was presented; None when it is not one. Raises psycopg.Error when that cannot be known."""
        now = time.monotonic()
        digest = keys.digest(presented)
        known = self._known.get(digest)
        if known is not None and now - known.seen < (HELD_SECONDS if self.away else FRESH_SECONDS):
            known.used, known.fresh_use = now, True
            return known.key
        if not keys.well_formed(presented):
            return None
        if self.away:
            raise psycopg.OperationalError("the database was away a moment ago")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                found = await loop.run_in_executor(self._threads, self._ask, presented)
        except (psycopg.OperationalError, TimeoutError) as error:
            self.away = True
            if known is not None and now - known.seen < HELD_SECONDS:
                return known.key
            raise psycopg.OperationalError("the database does not answer") from error
        if len(self._known) >= _MAX_KEYS:
            self._known.clear()
        self._known[digest] = _Known(found, now, now)
        return found

    def look_again(self) -> None:
        """Bring what is known up to date and note what was used. Blocks; raises psycopg.Error."""
        now = time.monotonic()
        held = list(self._known.items())
        try:
            with self._connect() as conn:
                found = keys.again(conn, [digest for digest, _ in held]) if held else {}
                keys.note_use(conn, [known.key.key_id for _, known in held if known.key is not None and known.fresh_use])
                if not held:
                    conn.execute("select 1")
        except psycopg.OperationalError:
            self.away = True
            raise
        for digest, known in held:
            if now - known.used > _IDLE_SECONDS or digest not in found:
                self._known.pop(digest, None)
            else:
                known.key, known.seen, known.fresh_use = found[digest], now, known.used > now
        self.away = False

    def close(self) -> None:
        """Wait for nobody."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, presented: str) -> keys.Key | None:
        with self._connect() as conn:
            return keys.find(conn, presented)
