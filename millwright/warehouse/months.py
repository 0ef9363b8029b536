"""Makes the month partitions of measurements, in the middle of a landing's transaction and yet outside of it.

Belongs here: which are missing, and the connection that makes them. Does not: the table (migrations/), the rows (merge.py).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import TYPE_CHECKING, Any

import psycopg

from millwright.warehouse import statements
from millwright.warehouse.connect import beside

if TYPE_CHECKING:
    import pyarrow as pa


def months_of(times: pa.ChunkedArray) -> set[date]:
    """First days of the UTC months in which these times (timestamp[us, UTC]) lie."""
    import numpy as np

    months = np.unique(times.to_numpy().astype("datetime64[M]"))
    return set(months.astype("datetime64[D]").astype(date))


def ensure_months(conn: psycopg.Connection[Any], months: Collection[date]) -> None:
    """Make the partitions of the months of these UTC days that are not there.

    Each is committed at once, by a connection of its own: no landing waits for another's end. The next statement of `conn` that
    names the table knows them, also in an open transaction (relation_openrv takes in others' changes). Raises psycopg.Error.
    """
    if not months:
        return
    missing = conn.execute(statements.load("missing_months"), [list(months)]).fetchall()
    if not missing:
        return
    with beside(conn) as other:
        for (month,) in missing:
            other.execute("select warehouse.ensure_months(%s, %s)", (month, month))
