"""The change log as a view reads it: what came after its watermark, and which views have something to read.

Belongs here: reads of warehouse.changes and features.state. Does not: appending (commit.py), what a change touches (features/).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from millwright.definitions import FeatureView
from millwright.warehouse import statements


@dataclass(frozen=True)
class LoggedChange:
    """Rows of the entity `keys` (values in the order of the sorted join key names) changed in [first, last]."""

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
    """Changes of the view's source created after `after`."""
    parameters = {"entity": view.entity, "sensor_type": view.source.sensor_type, "after": after}
    return [
        LoggedChange(tuple(keys), first, last, created, historical)
        for keys, first, last, created, historical in conn.execute(statements.load("pending_changes"), parameters)
    ]


def stale_views(conn: psycopg.Connection[Any], views: Iterable[FeatureView]) -> list[str]:
    """Ids of the applied, not retired `views` that have unread changes of their source, in the given order."""
    found = []
    for view in views:
        parameters = {"view_id": view.id, "entity": view.entity, "sensor_type": view.source.sensor_type}
        row = conn.execute(statements.load("stale_views"), parameters).fetchone()
        if row is not None and row[0]:
            found.append(view.id)
    return found


def view_progress(conn: psycopg.Connection[Any], view: FeatureView, batch_id: int, created: datetime) -> tuple[bool, bool] | None:
    """Of a view that reads what the batch changed at `created`: (whether its rows have it, whether it is published)."""
    source = {"view_id": view.id, "entity": view.entity, "sensor_type": view.source.sensor_type}
    row = conn.execute(statements.load("view_progress"), {**source, "batch_id": batch_id, "created": created}).fetchone()
    return None if row is None else (row[0], row[1])
