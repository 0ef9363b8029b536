"""The last statements of a transaction that changes the warehouse: the clock, then the change log.

Belongs here: created timestamps and warehouse.changes. Does not: what was changed (merge.py), a view's own clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from millwright.warehouse import statements


def next_timestamp(conn: psycopg.Connection[Any]) -> datetime:
    """The created timestamp (UTC, microseconds) of the open transaction; strictly greater than every one given out before.

    Locks the clock until the commit, so order of commit = order of time: call it as late as possible.
    """
    row = conn.execute(statements.load("next_timestamp")).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def append_undone(conn: psycopg.Connection[Any], created: datetime) -> None:
    """Append what an undo did (warehouse/undo.py) to the change log, the last statement before the commit.

    It was known when it was undone, also of a historical delivery.
    """
    conn.execute(statements.load("undo_changes"), {"created": created})


def append_changes(conn: psycopg.Connection[Any], batch_id: int, created: datetime, *, historical: bool) -> None:
    """Append what the temporary table `touched` (merge.py) holds to the change log, the last statement before the commit."""
    conn.execute(statements.load("append_changes"), {"batch": batch_id, "created": created, "historical": historical})
