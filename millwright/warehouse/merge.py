"""Merges the typed lines of one delivery into the rows of its relation, reading by reading (DESIGN §5).

Belongs here: staging, the comparison, images for the history, the rows of the quarantine. Does not: what a cell means (landing/),
the ledger's row (ledger.py), the clock (commit.py).

The comparison is set-based and bounded by the number of reading names, not of lines: a key's state only grows, so a line that is
contained in it (duplicate) or contradicts it (conflict) is settled for good; of the others the first of each key is merged, and
the rest is judged again. That gives what line after line would give.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from millwright.warehouse import statements
from millwright.warehouse.copy import copy_in
from millwright.warehouse.direct import Direct
from millwright.warehouse.relations import Relation, statement

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_CONFLICTS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Piece:
    """Some lines of a delivery: position int64, local int32, event_timestamp, readings (JSON text); and the series that no piece
    before it had: local int32, entity, keys list<string>, sensor_type. `local` is the number of a series in the delivery."""

    series: pa.Table
    lines: pa.Table


@dataclass(frozen=True)
class Matched:
    """Duplicates of one batch: how many, the first of them, and the position there that it repeats."""

    batch_id: int
    rows: int
    first_position: int
    of_position: int


@dataclass(frozen=True)
class Conflict:
    """A line that contradicts what is there: per reading the values and the batch and position that gave the stored one."""

    position: int
    cells: list[dict[str, Any]]


@dataclass(frozen=True)
class Merged:
    """What a merge did, in lines of the delivery. `days`: lines written or changed per UTC day."""

    loaded: int
    corrected: int
    duplicate: int
    conflicts: int
    days: dict[date, int] = field(default_factory=dict)
    met: list[int] = field(default_factory=list)
    matched: list[Matched] = field(default_factory=list)


class KeysVanished(RuntimeError):
    """Rows were taken out by another transaction in the middle of the comparison; landing again is safe."""


def merge(
    conn: psycopg.Connection[Any],
    relation: Relation,
    batch_id: int,
    pieces: Iterable[Piece],
    *,
    correction: bool,
    direct: bool,
) -> Merged:
    """Merge the lines of a delivery in the caller's transaction (read committed). Raises KeysVanished, psycopg.Error.

    `direct`: what provably meets nothing skips the comparison; that can end with UniqueViolation of the rows where another
    transaction writes the same keys, and is to be landed again without. Two landings at once wait for each other: series, then
    keys, each in their order. Without `direct`, and with every series in the first piece, they never deadlock.
    """
    batch: dict[str, Any] = {"batch": batch_id, "correction": correction}
    conn.execute("set local work_mem = '128MB'")
    conn.execute("set local jit = off")
    if _one(conn, "select count(*) from pg_class where oid = to_regclass('pg_temp.staged')") == 0:
        conn.execute(statements.load("stage_tables"))
    way = Direct(conn, relation, batch_id)
    staged = 0
    for piece in pieces:
        numbered = _number(conn, relation, piece.series)
        staged += _stage(conn, way.take(piece.lines, numbered) if direct and not correction else piece.lines)
    merged = _compared(conn, relation, batch, staged) if staged else Merged(loaded=0, corrected=0, duplicate=0, conflicts=0)
    _copy(conn, "touched", way.touched())
    days = dict(conn.execute("select day, sum(lines)::bigint from touched group by day order by day").fetchall())
    return replace(merged, loaded=merged.loaded + way.rows, days=days)


def _number(conn: psycopg.Connection[Any], relation: Relation, series: pa.Table) -> npt.NDArray[np.int64]:
    """Make what series are missing; (local, series_id) of each, shape (n, 2)."""
    import numpy as np

    if not _copy(conn, "local_series", series):
        return np.empty((0, 2), dtype=np.int64)
    conn.execute("analyze local_series")
    conn.execute(statement("upsert_series", relation))
    return np.array(conn.execute(statement("number_series", relation)).fetchall(), dtype=np.int64).reshape(-1, 2)


def _stage(conn: psycopg.Connection[Any], lines: pa.Table) -> int:
    return _copy(conn, "staged", lines, jsonb=["readings"])


def _copy(conn: psycopg.Connection[Any], table: LiteralString, rows: pa.Table, *, jsonb: Collection[str] = ()) -> int:
    return copy_in(conn, sql.Identifier("pg_temp", table), rows, jsonb=jsonb) if rows.num_rows else 0


def _compared(conn: psycopg.Connection[Any], relation: Relation, batch: dict[str, Any], staged: int) -> Merged:
    """Merge what is staged, comparing it with what is there; notes what it touched."""
    conn.execute("analyze staged")
    overridden = conn.execute(statements.load("override")).rowcount if batch["correction"] else 0
    loaded = conn.execute(statement("insert_first", relation), batch).rowcount
    counts: dict[str, int] = {}
    met: list[int] = []
    if loaded < staged - overridden:
        pending = conn.execute(statement("collect_pending", relation), batch).rowcount
        if loaded + pending != staged - overridden:
            raise KeysVanished("Rows were taken out while this batch was compared with them. Nothing was changed; land it again.")
        met = [row[0] for row in conn.execute(statements.load("note_met"), batch)]
        counts = _judge(conn, relation, batch)
    conn.execute(statements.load("collect_touched"))
    return Merged(
        loaded=loaded + counts.get("loaded", 0),
        corrected=counts.get("corrected", 0),
        duplicate=counts.get("duplicate", 0) + overridden,
        conflicts=counts.get("conflict", 0),
        met=met,
        matched=[Matched(*row) for row in conn.execute(statements.load("duplicates"), batch)],
    )


def conflicts(conn: psycopg.Connection[Any]) -> Iterator[list[Conflict]]:
    """The lines with the verdict conflict, by position, some thousand at a time: a delivery may contradict as a whole."""
    with conn.cursor(name="conflicts") as cursor:
        cursor.execute(statements.load("conflicts"))
        while rows := cursor.fetchmany(_CONFLICTS_AT_ONCE):
            yield [Conflict(*row) for row in rows]


def quarantine(conn: psycopg.Connection[Any], batch_id: int, rejected: pa.Table) -> int:
    """Put lines (position int64, original binary, errors JSON text) into the quarantine of the batch; returns how many."""
    import pyarrow as pa

    if not rejected.num_rows:
        return 0
    rows = rejected.append_column("batch_id", pa.repeat(pa.scalar(batch_id, pa.int64()), rejected.num_rows))
    return copy_in(conn, sql.Identifier("landing", "quarantine"), rows, jsonb=["errors"])


def _judge(conn: psycopg.Connection[Any], relation: Relation, batch: dict[str, Any]) -> dict[str, int]:
    conn.execute("analyze pending")
    while True:
        conn.execute(statements.load("judge"), batch)
        if conn.execute(statements.load("merge_first"), batch).rowcount == 0:
            break
    counts = dict(conn.execute("select verdict, count(*) from pending group by verdict").fetchall())
    if counts.get("corrected"):
        conn.execute(statement("keep_images", relation), batch)
    if counts.get("corrected") or counts.get("loaded"):
        conn.execute(statement("write_merged", relation))
    return counts


def _one(conn: psycopg.Connection[Any], query: LiteralString) -> int:
    row = conn.execute(query).fetchone()
    assert row is not None
    return int(row[0])
