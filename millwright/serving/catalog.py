"""What is served, as each process knows it. Does not: reading the catalog's tables (online/served.py, prediction/served.py)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import psycopg

from millwright.online.served import Served
from millwright.prediction.served import ServedModels
from millwright.registry.on_demand import OnDemand
from millwright.serving.keyring import Connect

FRESH_SECONDS = 3.0


@dataclass(frozen=True)
class Known:
    """Feature views, models, and what only Feast knows, as they were at one moment."""

    at: float
    views: Served
    models: ServedModels
    on_demand: OnDemand


class Catalog:
    """The catalog as it was a moment ago: a change is noticed within FRESH_SECONDS; while Postgres is away the last one holds.

    It is looked at again off the requests' path, so that only the first request waits.
    """

    def __init__(self, connect: Connect, project: str) -> None:
        self._connect, self._project = connect, project
        self._known: Known | None = None
        self._away = False

    @property
    def loaded(self) -> bool:
        """Whether it has been read once."""
        return self._known is not None

    async def served(self) -> Served:
        """The feature views. Raises psycopg.Error when the catalog was never read and cannot be."""
        return (await self.known()).views

    async def known(self) -> Known:
        """Feature views and models. Raises as `served` does."""
        known = self._known
        if known is not None and (self._away or time.monotonic() - known.at < FRESH_SECONDS):
            return known
        return await asyncio.to_thread(self.look_again)

    def look_again(self) -> Known:
        """Read it, or give the last one known while Postgres is away. Blocks; raises psycopg.Error when there is none."""
        known = self._known
        try:
            with self._connect() as conn:
                views, models = Served.from_catalog(conn), ServedModels.from_catalog(conn)
                on_demand = OnDemand.from_registry(conn, self._project)
        except psycopg.OperationalError:
            self._away = True
            if known is None:
                raise
            return known
        if known is not None and views.views == known.views.views:
            views = known.views  # what is kept of them stays good
        self._known, self._away = Known(time.monotonic(), views, models, on_demand), False
        return self._known
