"""The warehouse as a resource.

Belongs here: opening a connection in a role. Does not: SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psycopg

from millwright.warehouse.connect import connect
from resources.located import Located


class PostgresResource(Located):
    """PostgreSQL: `with postgres.connect() as conn`, autocommit, session zone UTC."""

    role: Literal["app", "owner", "reader"] = "app"

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that is closed at the end. Raises NotConfigured or psycopg.OperationalError."""
        field = "postgres_url" if self.role == "app" else f"postgres_{self.role}_url"
        with connect(self.settings().require(field), autocommit=True, name="millwright dagster") as conn:
            yield conn
