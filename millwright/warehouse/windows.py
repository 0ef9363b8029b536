"""Reads the rows of one window with the deliveries that they came from.

Belongs here: the queries. Does not: which window (features/), the bytes of a line (landing/), what is told of them (why.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from millwright.warehouse.relations import Relation, statement


@dataclass(frozen=True)
class Window:
    """Rows of some series of a relation in [first, last]; `name`: the value that is asked for, None where a row is an event."""

    relation: Relation
    series: Sequence[int]
    name: str | None
    first: datetime
    last: datetime

    def parameters(self, limit: int | None = None) -> dict[str, Any]:
        """As the statements name them."""
        return {"series": list(self.series), "name": self.name, "first": self.first, "last": self.last, "limit": limit}


@dataclass(frozen=True)
class Value:
    """A value of a row, and the batch and position that it came from. `replaced_by`: the batch that corrected it."""

    event_timestamp: datetime
    sensor_type: str
    value: Any
    batch_id: int
    position: int
    replaced_by: int | None = None


def values(conn: psycopg.Connection[Any], window: Window, limit: int) -> list[Value]:
    """The newest rows that have the value, newest first."""
    found = conn.execute(statement("window_rows", window.relation), window.parameters(limit))
    return [Value(*row) for row in found]


def counts(conn: psycopg.Connection[Any], window: Window) -> dict[int | None, int]:
    """Rows by the batch that gave the value; under None those without it."""
    return dict(conn.execute(statement("window_counts", window.relation), window.parameters()).fetchall())


def replaced(conn: psycopg.Connection[Any], window: Window, limit: int) -> list[Value]:
    """Values that a correction replaced by others, newest first; an event has none."""
    if window.name is None:
        return []
    return [Value(*row) for row in conn.execute(statement("window_replaced", window.relation), window.parameters(limit))]
