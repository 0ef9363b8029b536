"""How far a delivery has come: received, checked, landed, features, online.

Belongs here: what the ledger, the views' watermarks and the publications say of one batch. Does not: showing it, waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import redis
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions
from millwright.landing.batches import found
from millwright.online import stores
from millwright.warehouse import changes, latest

STAGES = ("received", "checked", "landed", "features", "online")
_ENDED_EARLY = ("refused", "failed", "undone")
_BUSY = """
select exists (select from pg_locks where locktype = 'advisory' and granted and pid <> pg_backend_pid()
  and database = (select oid from pg_database where datname = current_database()))
"""


class Progress(BaseModel):
    """Stages that a batch has passed (the first `passed` of STAGES); `ended`: no further one comes by itself.

    `taken`: a run has it. `waits_for`: views that have not taken it in, or not published it.
    """

    model_config = ConfigDict(frozen=True)
    batch_id: int
    state: str
    passed: int
    ended: bool
    taken: bool
    waits_for: list[str] = []


class Follower:
    """Looks at one batch again and again. A view counts as published once Redis has all that it held when it had the batch."""

    def __init__(self, definitions: Definitions, batch_id: int, *, client: Callable[[], redis.Redis], project: str) -> None:
        """`client` is called when a published view reads the batch, not before."""
        self._definitions, self._batch_id, self._client, self._project = definitions, batch_id, client, project
        self._orders: dict[str, datetime] = {}

    def look(self, conn: psycopg.Connection[Any]) -> Progress:
        """Where the batch is now. Raises UnknownBatch, psycopg.Error, redis.RedisError."""
        batch = found(conn, self._batch_id)
        taken = batch.plan is not None or batch.state != "planned"
        told = Progress(batch_id=batch.batch_id, state=batch.state, passed=1, ended=batch.state in _ENDED_EARLY, taken=taken)
        if batch.state != "landed" or batch.created_timestamp is None:
            return told
        unread, published = [], []
        for view in self._definitions.feature_views.values():
            reads = changes.view_progress(conn, view, batch.batch_id, batch.created_timestamp)
            if reads is None:
                continue
            has_it, is_published = reads
            if not has_it:
                unread.append(view.id)
            elif is_published:
                published.append(view.id)
        if unread:
            return told.model_copy(update={"passed": 3, "waits_for": unread})
        waits = self._unpublished(conn, published)
        return told.model_copy(update={"passed": 4 if waits else 5, "ended": not waits, "waits_for": waits})

    def _unpublished(self, conn: psycopg.Connection[Any], views: list[str]) -> list[str]:
        for view_id in views:
            if view_id not in self._orders and (order := latest.newest(conn, self._definitions.feature_views[view_id])):
                self._orders[view_id] = order
        wanted = [view_id for view_id in views if view_id in self._orders]
        if not wanted:
            return []
        marks = stores.watermarks(conn, self._client(), self._project)
        return [view_id for view_id in wanted if view_id not in marks or marks[view_id] < self._orders[view_id]]


def busy(conn: psycopg.Connection[Any]) -> bool:
    """Whether somebody lands, refreshes, publishes or applies at this moment: all of them hold advisory locks."""
    row = conn.execute(_BUSY).fetchone()
    return row is not None and bool(row[0])
