"""What a piece of work needs at hand: settings, definitions, and open connections.

Belongs here: opening and closing them together. Does not: any work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from millwright.definitions import Definitions, load
from millwright.online.connect import client
from millwright.settings import Settings
from millwright.warehouse.connect import connect


@dataclass(frozen=True)
class Platform:
    """Settings, definitions, a Postgres connection (autocommit, role app) and a Redis client."""

    settings: Settings
    definitions: Definitions
    conn: psycopg.Connection[Any]
    redis: redis.Redis


@contextmanager
def open_platform(settings: Settings, definitions: Definitions | None = None) -> Iterator[Platform]:
    """Open both stores; read the definitions unless they are handed in. Closes what it opened."""
    definitions = definitions or load(settings.feature_repo)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        store = client(settings.require("redis_url"))
        try:
            yield Platform(settings, definitions, conn, store)
        finally:
            store.close()
