"""Merges the typed lines of one delivery into the rows of its relation, reading by reading (DESIGN §5).

Belongs here: staging, the comparison, images for the history, the rows of the quarantine. Does not: what a cell means (landing/),
the ledger's row (ledger.py), the clock (commit.py).

The comparison is set-based and bounded by the number of reading names, not of lines: a key's state only grows, so a line that is
contained in it (duplicate) or contradicts it (conflict) is settled for good; of the others the first of each key is merged, and
the rest is judged again. That gives what line after line would give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from millwright.warehouse import statements
from millwright.warehouse.copy import copy_in
from millwright.warehouse.relations import Relation, statement

if TYPE_CHECKING:
    import pyarrow as pa

_CONFLICTS_AT_ONCE = 10_000


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


@contextmanager
def staging(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """The temporary tables of one landing, for the length of the block; outside any transaction."""
    conn.execute(statements.load("stage_tables"))
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute(statements.load("drop_tables"))


def stage(conn: psycopg.Connection[Any], lines: pa.Table) -> None:
    """Append typed lines: position int64, local int32 (number of its series), event_timestamp, readings (JSON text)."""
    if lines.num_rows:
        copy_in(conn, sql.Identifier("pg_temp", "staged"), lines, jsonb=["readings"])


def stage_rejected(conn: psycopg.Connection[Any], rejected: pa.Table) -> None:
    """Append lines for the quarantine: position int64, original binary, errors (JSON text)."""
    if rejected.num_rows:
        copy_in(conn, sql.Identifier("pg_temp", "rejected"), rejected, jsonb=["errors"])


def stage_series(conn: psycopg.Connection[Any], series: pa.Table) -> None:
    """Say which series the local numbers are: local int32, entity, keys list<string>, sensor_type. After the last `stage`."""
    if series.num_rows:
        copy_in(conn, sql.Identifier("pg_temp", "local_series"), series)
    for table in ("staged", "local_series"):
        conn.execute(sql.SQL("analyze {}").format(sql.Identifier("pg_temp", table)))


def ensure_months(conn: psycopg.Connection[Any], first: date, last: date) -> None:
    """Make the month partitions that these UTC days need; before the landing's transaction, so that none waits for another."""
    conn.execute("select warehouse.ensure_months(%s, %s)", (first, last))


def merge(conn: psycopg.Connection[Any], relation: Relation, batch_id: int, *, correction: bool) -> Merged:
    """Merge what is staged, in the caller's transaction (read committed). Raises KeysVanished, psycopg.Error.

    Two landings at once wait for each other and never deadlock: series, then keys, each in their order.
    """
    batch: dict[str, Any] = {"batch": batch_id, "correction": correction}
    conn.execute("set local work_mem = '128MB'")
    conn.execute("set local jit = off")
    overridden = conn.execute(statements.load("override")).rowcount if correction else 0
    conn.execute(statement("upsert_series", relation))
    conn.execute(statement("number_series", relation))
    staged = _one(conn, "select count(*) from staged")
    loaded = conn.execute(statement("insert_first", relation), batch).rowcount
    counts: dict[str, int] = {}
    met: list[int] = []
    if loaded < staged:
        pending = conn.execute(statement("collect_pending", relation), batch).rowcount
        if loaded + pending != staged:
            raise KeysVanished("Rows were taken out while this batch was compared with them. Nothing was changed; land it again.")
        met = [row[0] for row in conn.execute(statements.load("note_met"), batch)]
        counts = _judge(conn, relation, batch)
    conn.execute(statements.load("collect_touched"))
    days = dict(conn.execute("select day, sum(lines)::bigint from touched group by day order by day").fetchall())
    return Merged(
        loaded=loaded + counts.get("loaded", 0),
        corrected=counts.get("corrected", 0),
        duplicate=counts.get("duplicate", 0) + overridden,
        conflicts=counts.get("conflict", 0),
        days=days,
        met=met,
        matched=[Matched(*row) for row in conn.execute(statements.load("duplicates"), batch)],
    )


def conflicts(conn: psycopg.Connection[Any]) -> Iterator[list[Conflict]]:
    """The lines with the verdict conflict, by position, some thousand at a time."""
    rows = conn.execute(statements.load("conflicts")).fetchall()
    for start in range(0, len(rows), _CONFLICTS_AT_ONCE):
        yield [Conflict(*row) for row in rows[start : start + _CONFLICTS_AT_ONCE]]


def quarantine(conn: psycopg.Connection[Any], batch_id: int) -> int:
    """Move the rejected lines to the quarantine of the batch; returns how many."""
    return conn.execute(statements.load("quarantine"), {"batch": batch_id}).rowcount


def event_bounds(conn: psycopg.Connection[Any]) -> tuple[datetime | None, datetime | None]:
    """First and last event time of what is staged."""
    row = conn.execute("select min(event_timestamp), max(event_timestamp) from staged").fetchone()
    assert row is not None
    return row[0], row[1]


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
