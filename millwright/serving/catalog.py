"""What is served, as each process knows it. Does not: reading the catalog's tables (online/served.py)."""

from __future__ import annotations

import asyncio
import time

import psycopg

from millwright.online.served import Served
from millwright.serving.keyring import Connect

FRESH_SECONDS = 3.0


class Catalog:
    """The catalog as it was a moment ago: a change is noticed within FRESH_SECONDS; while Postgres is away the last one holds.

    It is looked at again off the requests' path, so that only the first request waits.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._known: tuple[float, Served] | None = None
        self._away = False

    @property
    def loaded(self) -> bool:
        """Whether it has been read once."""
        return self._known is not None

    async def served(self) -> Served:
        """What is served. Raises psycopg.Error when it was never read and cannot be."""
        known = self._fresh()
        return known if known is not None else await asyncio.to_thread(self.look_again)

    def served_now(self) -> Served:
        """As `served`, for a thread."""
        known = self._fresh()
        return known if known is not None else self.look_again()

    def _fresh(self) -> Served | None:
        known = self._known
        return known[1] if known is not None and (self._away or time.monotonic() - known[0] < FRESH_SECONDS) else None

    def look_again(self) -> Served:
        """Read it, or give the last one known while Postgres is away. Blocks; raises psycopg.Error when there is none."""
        known = self._known
        try:
            with self._connect() as conn:
                served = Served.from_catalog(conn)
        except psycopg.OperationalError:
            self._away = True
            if known is None:
                raise
            return known[1]
        self._known, self._away = (time.monotonic(), served), False
        return served
