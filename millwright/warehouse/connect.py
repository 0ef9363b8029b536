"""Opens Postgres connections as every part of the platform needs them.

Belongs here: session settings. Does not: pools and lifetimes (whoever opens one closes it).
"""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg


def connect(url: str, *, autocommit: bool = False, name: LiteralString = "millwright") -> psycopg.Connection[Any]:
    """A connection whose session zone is UTC. Raises psycopg.OperationalError when the server does not answer in 10 s."""
    return psycopg.connect(
        url, autocommit=autocommit, application_name=name, connect_timeout=10, options="-c timezone=UTC -c datestyle=ISO"
    )
