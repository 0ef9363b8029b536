"""What the API keeps between requests: connections, the catalog and keys it has seen, what it counts.

Belongs here: opening, closing, what runs beside the requests. Does not: routes, what a key may do (keys.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from millwright.online import connect
from millwright.online.pipe import Pipe
from millwright.online.read import Column, Plan, Question
from millwright.registry.on_demand import FeastItself
from millwright.serving.audit import Refusals
from millwright.serving.catalog import Catalog
from millwright.serving.keyring import Keyring
from millwright.serving.metrics import Metrics
from millwright.serving.rates import Rates
from millwright.settings import Settings

_ROUND_SECONDS = 1.0


class State:
    """Shared by all requests of a process; every method that is not async may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.project = settings.feast_project
        self.redis = connect.client(settings.require("redis_url"), socket_timeout=2, socket_connect_timeout=2)
        self._pool = ConnectionPool[psycopg.Connection[Any]](
            settings.require("postgres_url"),
            min_size=0,
            max_size=6,
            timeout=3,
            kwargs={
                "autocommit": True,
                "application_name": "millwright api",
                "connect_timeout": 3,
                "options": "-c timezone=UTC -c statement_timeout=30s",
            },
            open=False,
        )
        self.metrics = Metrics()
        self.refusals = Refusals()
        self.keyring = Keyring(self.connection)
        self.catalog = Catalog(self.connection, self.project)
        self.feast = FeastItself(settings)
        self.rates = Rates(self.redis, settings.api_requests_per_minute)
        self._pipe = Pipe(self.redis)
        self._stop = threading.Event()
        self._rounds = threading.Thread(target=self._go_round, name="rounds", daemon=True)

    def open(self) -> None:
        """Start the pool and the rounds; connections are made when they are needed."""
        self._pool.open()
        self._rounds.start()

    def close(self) -> None:
        """Close everything; what waits for the audit is written first."""
        self._stop.set()
        self._rounds.join(5)
        self._pipe.close()
        self.keyring.close()
        self._pool.close()
        self.redis.close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool (autocommit, role app). Raises psycopg.Error or PoolTimeout."""
        with self._pool.connection() as conn:
            yield conn

    async def read(self, plan: Plan, rows: Sequence[Mapping[str, Any]], *, keep_old: bool = False) -> list[Column]:
        """Features of entities, from Redis, now; with `keep_old` values past the TTL too.

        Raises BadEntity, redis.RedisError, Undecodable.
        """
        question = Question(plan, rows)
        return question.columns(await self._pipe.ask(question.asked), keep_old=keep_old)

    def _go_round(self) -> None:
        """Each second: look again at what is known, and write what waits. A failure is over by the next round, or goes on."""
        stopping = False
        while not stopping:
            stopping = self._stop.wait(_ROUND_SECONDS)
            with suppress(psycopg.Error):
                if not stopping:
                    self.keyring.look_again()
                    self.catalog.look_again()
                with self.connection() as conn:
                    self.refusals.flush(conn)
            self.metrics.postgres_away.set(self.keyring.away)
            self.metrics.audit_dropped.inc(self.refusals.taken_dropped())
