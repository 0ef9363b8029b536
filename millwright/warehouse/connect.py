"""Opens Postgres connections as every part of the platform needs them.

Belongs here: session settings. Does not: pools and lifetimes (whoever opens one closes it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import IsolationLevel
from psycopg.conninfo import make_conninfo


def connect(url: str, *, autocommit: bool = False, name: LiteralString = "millwright") -> psycopg.Connection[Any]:
    """A connection whose session zone is UTC. Raises psycopg.OperationalError when the server does not answer in 10 s."""
    return psycopg.connect(
        url, autocommit=autocommit, application_name=name, connect_timeout=10, options="-c timezone=UTC -c datestyle=ISO"
    )


def parameters_of(conn: psycopg.Connection[Any]) -> str:
    """What opens another connection to the same server and database as the same user, password included: never to be shown."""
    info = conn.info
    parameters: dict[str, Any] = {**info.get_parameters(), "password": info.password, "connect_timeout": 10}
    return make_conninfo(**parameters)


def beside(conn: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Another connection like this one, in autocommit. Raises psycopg.OperationalError."""
    return psycopg.connect(parameters_of(conn), autocommit=True)


@contextmanager
def snapshot(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """A read-only transaction that sees one moment. `conn`: outside a transaction."""
    before = conn.isolation_level, conn.read_only
    conn.isolation_level, conn.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        with conn.transaction():
            yield
    finally:
        if not conn.closed:
            conn.isolation_level, conn.read_only = before
