"""The change log as a view reads it: what came after its watermark, and which views have something to read.

Belongs here: reads of warehouse.changes and features.state. Does not: appending (commit.py), what a change touches (features/).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from millwright.definitions import FeatureView
from millwright.warehouse import statements


@dataclass(frozen=True)
class LoggedChange:
    """Rows of the entity `keys` (values in the order of the sorted join key names) changed in [first, last]."""

    relation: str
    keys: tuple[str, ...]
    first: datetime
    last: datetime
    created: datetime
    historical: bool


@dataclass(frozen=True)
class ViewState:
    """A view's row of features.state, and the commit clock of the same snapshot."""

    definition_hash: str
    refresh_watermark: datetime
    tiles_complete: bool
    clock: datetime
    script: str


def view_state(conn: psycopg.Connection[Any], view_id: str) -> ViewState | None:
    """State and compiled SQL of an applied view; None when it was never applied."""
    row = conn.execute(statements.load("view_state"), {"view_id": view_id}).fetchone()
    return None if row is None else ViewState(*row)


def pending_changes(conn: psycopg.Connection[Any], view: FeatureView, after: datetime) -> list[LoggedChange]:
    """Changes created after `after` of rows that the view reads."""
    return [
        LoggedChange(relation, tuple(keys), *rest)
        for relation, keys, *rest in conn.execute(_reading("pending_changes"), {**_reads(view), "after": after})
    ]


def stale_views(conn: psycopg.Connection[Any], views: Iterable[FeatureView]) -> list[str]:
    """Ids of the applied, not retired `views` that have unread changes, in the given order."""
    found = []
    for view in views:
        row = conn.execute(_reading("stale_views"), {**_reads(view), "view_id": view.id}).fetchone()
        if row is not None and row[0]:
            found.append(view.id)
    return found


def view_progress(conn: psycopg.Connection[Any], view: FeatureView, batch_id: int, created: datetime) -> tuple[bool, bool] | None:
    """Of a view that reads what the batch changed at `created`: (whether its rows have it, whether it is published)."""
    parameters = {**_reads(view), "view_id": view.id, "batch_id": batch_id, "created": created}
    row = conn.execute(_reading("view_progress"), parameters).fetchone()
    return None if row is None else (row[0], row[1])


def _reading(name: str) -> sql.Composed:
    """A statement about the changes that a view reads; which these are stands in one place."""
    return statements.load(name).format(reads=statements.load("reads_change"))


def _reads(view: FeatureView) -> dict[str, Any]:
    return {
        "entity": view.entity,
        "relation": view.relations[0],
        "sensor_type": view.source.word,
        "kinds": list(view.kinds),
    }
