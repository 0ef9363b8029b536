"""Takes the rows of batches out again, in the caller's transaction, and puts back what they replaced.

Belongs here: which rows, images and values are a batch's, and the locks on them. Does not: whether it may be undone (landing/),
the ledger's row (ledger.py), the clock (commit.py).

A row says by `batch_id` who made it and by `sources` who added which value; the history keeps it as it was before a correction.
So, once no later batch has anything in a row, a batch's part of it is: the image that it replaced, else the whole row, else its
values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from millwright.warehouse import statements
from millwright.warehouse.relations import Relation, statement


@dataclass(frozen=True)
class TakenOut:
    """What the undo of one batch did, in rows: removed, restored to their image, rid of merged values; and by UTC day."""

    removed: int
    restored: int
    shortened: int
    days: dict[date, int]


def later_batches(conn: psycopg.Connection[Any], batch_id: int) -> list[int]:
    """The batch last, before it every landed batch that met its rows, or rows of one that did; newest first."""
    return [row[0] for row in conn.execute(statements.load("later_batches"), {"batch": batch_id})]


def relation_of(conn: psycopg.Connection[Any], batch_id: int) -> Relation | None:
    """Where the batch's rows are, by the change log of its landing; None where it wrote none."""
    row = conn.execute(
        """select c.relation from landing.batches b join warehouse.changes c using (batch_id, created_timestamp)
           where b.batch_id = %s limit 1""",
        (batch_id,),
    ).fetchone()
    return None if row is None else Relation(row[0])


def lock_rows(conn: psycopg.Connection[Any], batch_ids: Mapping[Relation, Sequence[int]]) -> None:
    """Find and lock, until the commit, every row that one of the batches wrote. A landing that has met one is waited for."""
    conn.execute(statements.load("undo_tables"))
    for relation, ids in batch_ids.items():
        conn.execute(statement("undo_find", relation), {"batches": list(ids)})
    conn.execute("analyze undo_keys")
    for relation in batch_ids:
        conn.execute(statement("undo_lock", relation))


def take_out(conn: psycopg.Connection[Any], relation: Relation, batch_id: int) -> TakenOut:
    """Undo one batch whose rows are locked and which no landed batch came after. `commit.append_undone` logs it."""
    found = {
        name: conn.execute(statement(f"undo_{name}", relation), {"batch": batch_id}).rowcount
        for name in ("restore", "remove", "shorten")
    }
    days = conn.execute(
        "select (event_timestamp at time zone 'UTC')::date, count(*) from undone where batch_id = %s group by 1 order by 1",
        (batch_id,),
    )
    return TakenOut(removed=found["remove"], restored=found["restore"], shortened=found["shorten"], days=dict(days.fetchall()))
