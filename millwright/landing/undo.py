"""Undoes landed batches: their rows go, what they replaced comes back, and features and Redis follow by the change log.

Belongs here: what may be undone, in which order, and the report. Does not: rows and images (warehouse/undo.py), landing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.landing import batches
from millwright.warehouse import commit, ledger
from millwright.warehouse import undo as rows
from millwright.warehouse.relations import Relation

_NAMED = 10


class UndoneBatch(BaseModel):
    """What the undo of one batch did, in rows: `removed`, `restored` to what they were before its correction, `shortened` by the
    values that it had merged into them; `reopened` rows of a quarantine that it had repaired; `days`: rows by UTC day."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    dataset: str
    delivery: str
    removed: int = 0
    restored: int = 0
    shortened: int = 0
    reopened: int = 0
    days: dict[date, int] = {}


class Undone(BaseModel):
    """An undo: the batch that was asked for, the clock of its commit (UTC), and every batch that it undid, newest first.

    `already`: it had been undone before, and nothing was changed.
    """

    model_config = ConfigDict(frozen=True)
    batch_id: int
    created_timestamp: datetime
    already: bool = False
    batches: list[UndoneBatch] = []


class NotUndoable(ValueError):
    """The batch has not landed, or later batches met its rows."""


class _Grown(Exception):
    """Another batch met the rows before they were locked."""


def undo(conn: psycopg.Connection[Any], batch_id: int, *, cascade: bool = False, by: str) -> Undone:
    """Undo a landed batch; with `cascade`, first the later batches that met its rows. All in one transaction (I3).

    A batch that is undone already stays as it is (I2). A Kafka range keeps its offsets. `replay` lands it again in its row;
    an undone file can also be delivered again. Duplicates that a later batch had of these rows are undone with it, and come
    when it is replayed. `conn` must not be in a transaction. Raises UnknownBatch, NotUndoable, psycopg.Error.
    """
    batches.found(conn, batch_id)
    while True:
        with suppress(_Grown), conn.transaction():
            return _undo(conn, batch_id, cascade=cascade, by=by)


def _undo(conn: psycopg.Connection[Any], batch_id: int, *, cascade: bool, by: str) -> Undone:
    # One undo at a time, then the batches' own locks, then rows, then the clock: a landing takes the last three in this order.
    ledger.lock_undo(conn)
    ledger.lock_batches(conn, [batch_id])
    batch = batches.found(conn, batch_id)
    if batch.state == "undone" and batch.undone_timestamp is not None:
        return Undone(batch_id=batch_id, created_timestamp=batch.undone_timestamp, already=True)
    if batch.state != "landed":
        raise NotUndoable(f"Batch {batch_id} is {batch.state}: it has no rows to take out. Nothing was changed.")
    together = rows.later_batches(conn, batch_id)
    if len(together) > 1 and not cascade:
        raise NotUndoable(_refusal(conn, batch_id, together[:-1]))
    ledger.lock_batches(conn, together)
    relations = {one: rows.relation_of(conn, one) for one in together}
    rows.lock_rows(conn, {r: [one for one in together if relations[one] is r] for r in {*relations.values()} if r is not None})
    if rows.later_batches(conn, batch_id) != together:
        raise _Grown
    found = [_taken_out(conn, one, relations[one]) for one in together]
    created = commit.next_timestamp(conn)
    for done in found:
        note = {"created_timestamp": created.isoformat(), "by": by, "with_batch": batch_id, **done.model_dump(mode="json")}
        ledger.finish_undone(conn, done.batch_id, created, note)
    ledger.notify(conn, "changed")
    commit.append_undone(conn, created)
    return Undone(batch_id=batch_id, created_timestamp=created, batches=found)


def _taken_out(conn: psycopg.Connection[Any], batch_id: int, relation: Relation | None) -> UndoneBatch:
    batch = batches.found(conn, batch_id)
    taken = vars(rows.take_out(conn, relation, batch_id)) if relation is not None else {}
    reopened = ledger.reopen(conn, batch_id)
    return UndoneBatch(batch_id=batch_id, dataset=batch.dataset, delivery=batches.delivery_of(batch), reopened=reopened, **taken)


def _refusal(conn: psycopg.Connection[Any], batch_id: int, later: Sequence[int]) -> str:
    named = [f"{one} ({batches.delivery_of(batches.found(conn, one))})" for one in later[:_NAMED]]
    more = f" and {len(later) - _NAMED} more" if len(later) > _NAMED else ""
    return (
        f"Batch {batch_id} cannot be undone alone: later batches met its rows: {', '.join(named)}{more}. Nothing was changed. "
        f"`millwright undo {batch_id} --cascade` undoes these too, newest first; `millwright replay` lands one of them again."
    )
