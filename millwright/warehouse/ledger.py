"""Reads and writes of landing.batches, the only ledger and the only plan, and of what hangs on it.

Belongs here: states of a batch, its row, topic partitions, locks. Does not: what lands (merge.py), receipts (landing/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

MAX_ATTEMPTS = 3
_LOCK = "hashtextextended('millwright.batch.' || %s::text, 0)"
_COLUMNS = """
    b.batch_id, b.source, b.dataset, b.file_name, b.sha256, b.file_bytes, b.topic_partition_id, t.topic, t.topic_id, t.partition,
    lower(b.offsets) as first_offset, upper(b.offsets) as end_offset, b.options, b.settings_hash, b.state, b.planned_at,
    b.planned_by, b.plan, b.plan_attempt, b.attempts, b.run_id, b.finished_at, b.created_timestamp, b.error, b.report,
    b.undone_timestamp
"""
_SELECT = f"select {_COLUMNS} from landing.batches b left join landing.topic_partitions t using (topic_partition_id)"


@dataclass(frozen=True)
class Batch:
    """A row of the ledger; offsets are [first_offset, end_offset)."""

    batch_id: int
    source: str
    dataset: str
    file_name: str | None
    sha256: str | None
    file_bytes: int | None
    topic_partition_id: int | None
    topic: str | None
    topic_id: str | None
    partition: int | None
    first_offset: int | None
    end_offset: int | None
    options: dict[str, Any]
    settings_hash: str
    state: str
    planned_at: datetime
    planned_by: str
    plan: str | None
    plan_attempt: int
    attempts: int
    run_id: str | None
    finished_at: datetime | None
    created_timestamp: datetime | None
    error: str | None
    report: dict[str, Any]
    undone_timestamp: datetime | None


@dataclass(frozen=True)
class Numbers:
    """What a landed batch's row says in numbers."""

    received: int
    loaded: int
    corrected: int
    deleted: int
    duplicate: int
    quarantined: int
    first_event: datetime | None
    last_event: datetime | None
    days: list[date]


@dataclass(frozen=True)
class LandedFile:
    """Bytes that deliveries brought: the newest of them, and when the last ended (None while one may still be landed)."""

    sha256: str
    file_bytes: int
    batch_id: int
    file_name: str
    ended: datetime | None


def landed_files(conn: psycopg.Connection[Any]) -> list[LandedFile]:
    """All bytes that files brought, by the number of their newest batch."""
    with conn.cursor(row_factory=class_row(LandedFile)) as cursor:
        return cursor.execute(
            """select sha256, max(file_bytes) as file_bytes, max(batch_id) as batch_id,
                 (array_agg(file_name order by batch_id desc))[1] as file_name,
                 case when bool_and(state in ('landed', 'refused', 'undone'))
                   then max(coalesce(finished_at, planned_at)) end as ended
               from landing.batches where sha256 is not null group by sha256 order by 3"""
        ).fetchall()


def get(conn: psycopg.Connection[Any], batch_id: int) -> Batch | None:
    """The batch, or None."""
    found = _batches(conn, f"{_SELECT} where b.batch_id = %s", (batch_id,))
    return found[0] if found else None


def newest(conn: psycopg.Connection[Any], limit: int) -> list[Batch]:
    """The newest batches, newest first."""
    return _batches(conn, f"{_SELECT} order by b.batch_id desc limit %s", (limit,))


def given_up(conn: psycopg.Connection[Any]) -> list[Batch]:
    """Batches that failed so often that they are not tried again by themselves, and refused ranges: they hold back later ones."""
    return _batches(
        conn,
        f"""{_SELECT} where (b.state = 'failed' and b.attempts >= %s)
              or (b.state = 'refused' and b.topic_partition_id is not null) order by b.batch_id""",
        (MAX_ATTEMPTS,),
    )


def waiting(conn: psycopg.Connection[Any], limit: int) -> list[Batch]:
    """What should be landed, in order: planned; landing whose run is gone; failed fewer than three times.

    A Kafka range is left out while an earlier range of its partition is neither landed nor itself in this list.
    """
    found = _batches(
        conn,
        f"""{_SELECT} where b.state = 'planned' or (b.state = 'failed' and b.attempts < %s)
              or (b.state = 'landing' and not exists (
                    select from pg_locks l where l.locktype = 'advisory' and l.objsubid = 1
                      and l.database = (select oid from pg_database where datname = current_database())
                      and l.classid = (({_LOCK.replace("%s", "b.batch_id")} >> 32) & 4294967295)::oid
                      and l.objid = ({_LOCK.replace("%s", "b.batch_id")} & 4294967295)::oid))
            order by b.batch_id limit %s""",
        (MAX_ATTEMPTS, limit),
    )
    known = {batch.batch_id for batch in found}
    taken: list[Batch] = []
    for batch in found:
        before = earlier_range(conn, batch)
        if before is None or before in known:
            taken.append(batch)
        else:
            known.discard(batch.batch_id)
    return taken


def earlier_range(conn: psycopg.Connection[Any], batch: Batch) -> int | None:
    """The nearest earlier range of the batch's topic partition that has not ended, if there is one."""
    if batch.topic_partition_id is None:
        return None
    row = conn.execute(
        """select batch_id from landing.batches
           where topic_partition_id = %s and upper(offsets) <= %s and state in ('planned', 'landing', 'failed', 'refused')
           order by upper(offsets) desc limit 1""",
        (batch.topic_partition_id, batch.first_offset),
    ).fetchone()
    return row[0] if row else None


def known_delivery(conn: psycopg.Connection[Any], dataset: str, sha256: str, settings_hash: str) -> Batch | None:
    """The newest batch of this very delivery that is planned, landing or landed."""
    found = _batches(
        conn,
        f"""{_SELECT} where b.dataset = %s and b.sha256 = %s and b.settings_hash = %s
              and b.state in ('planned', 'landing', 'landed') order by b.batch_id desc limit 1""",
        (dataset, sha256, settings_hash),
    )
    return found[0] if found else None


def landed_elsewhere(conn: psycopg.Connection[Any], batch: Batch, settings_hash: str) -> int | None:
    """Another batch that has landed the same bytes of the same dataset under these settings."""
    row = conn.execute(
        """select batch_id from landing.batches
           where dataset = %s and sha256 = %s and settings_hash = %s and state = 'landed' and batch_id <> %s""",
        (batch.dataset, batch.sha256, settings_hash, batch.batch_id),
    ).fetchone()
    return row[0] if row else None


def file_name(conn: psycopg.Connection[Any], sha256: str) -> str | None:
    """What the newest delivery of these bytes called its file, None when there was none."""
    row = conn.execute(
        "select file_name from landing.batches where sha256 = %s order by batch_id desc limit 1", (sha256,)
    ).fetchone()
    return row[0] if row else None


def landed_with_header(conn: psycopg.Connection[Any], dataset: str, header: Sequence[str]) -> tuple[int, dict[str, Any]] | None:
    """(number, options) of the dataset's newest landed file that had just these columns."""
    row = conn.execute(
        """select batch_id, options from landing.batches
           where dataset = %s and state = 'landed' and sha256 is not null and report -> 'dialect' -> 'columns' = %s
           order by batch_id desc limit 1""",
        (dataset, Jsonb(list(header))),
    ).fetchone()
    return None if row is None else (row[0], row[1])


def lock_delivery(conn: psycopg.Connection[Any], dataset: str, sha256: str, settings_hash: str) -> None:
    """Until the end of the transaction nobody else plans this delivery."""
    conn.execute(
        "select pg_advisory_xact_lock(hashtextextended('millwright.delivery.' || %s, 0))",
        (f"{dataset}.{sha256}.{settings_hash}",),
    )


def plan_file(
    conn: psycopg.Connection[Any],
    *,
    source: str,
    dataset: str,
    file_name: str,
    sha256: str,
    file_bytes: int,
    options: dict[str, Any],
    settings_hash: str,
    by: str,
) -> int:
    """Insert a planned batch for a file of the landing zone; returns its number."""
    row = conn.execute(
        """insert into landing.batches (source, dataset, file_name, sha256, file_bytes, options, settings_hash, planned_by)
           values (%s, %s, %s, %s, %s, %s, %s, %s) returning batch_id""",
        (source, dataset, file_name, sha256, file_bytes, Jsonb(options), settings_hash, by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def plan_range(
    conn: psycopg.Connection[Any], *, topic_partition_id: int, dataset: str, first: int, end: int, settings_hash: str, by: str
) -> int:
    """Insert a planned batch for the offsets [first, end); raises ExclusionViolation when some are planned already."""
    row = conn.execute(
        """insert into landing.batches (source, dataset, topic_partition_id, offsets, settings_hash, planned_by)
           values ('kafka', %s, %s, int8range(%s, %s), %s, %s) returning batch_id""",
        (dataset, topic_partition_id, first, end, settings_hash, by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def topic_partition(conn: psycopg.Connection[Any], topic: str, topic_id: str, partition: int) -> tuple[int, int | None]:
    """(its number in the ledger, the offset after the newest range or None), made if new and locked until the commit."""
    conn.execute(
        "insert into landing.topic_partitions (topic, topic_id, partition) values (%s, %s, %s) on conflict do nothing",
        (topic, topic_id, partition),
    )
    row = conn.execute(
        "select topic_partition_id from landing.topic_partitions where topic_id = %s and partition = %s for update",
        (topic_id, partition),
    ).fetchone()
    assert row is not None
    end = conn.execute("select max(upper(offsets)) from landing.batches where topic_partition_id = %s", (row[0],)).fetchone()
    assert end is not None
    return row[0], end[0]


def next_offset(conn: psycopg.Connection[Any], topic_id: str, partition: int) -> int | None:
    """The offset after the newest range of this partition, None if it was never seen; locks nothing."""
    row = conn.execute(
        """select max(upper(offsets)) from landing.batches join landing.topic_partitions using (topic_partition_id)
           where topic_id = %s and partition = %s""",
        (topic_id, partition),
    ).fetchone()
    assert row is not None
    return row[0]  # type: ignore[no-any-return]


def fence(conn: psycopg.Connection[Any], topic_partition_id: int) -> None:
    """Lock a topic partition until the commit: one landing of it at a time."""
    conn.execute("select from landing.topic_partitions where topic_partition_id = %s for update", (topic_partition_id,))


def notify(conn: psycopg.Connection[Any], payload: str) -> None:
    """Wake the planner (channel millwright) when the transaction commits."""
    conn.execute("select pg_notify('millwright', %s)", (payload,))


@contextmanager
def locked(conn: psycopg.Connection[Any], batch_id: int) -> Iterator[None]:
    """Hold the batch's session lock: while it is held, a batch in state landing is really landing."""
    conn.execute(f"select pg_advisory_lock({_LOCK})", (batch_id,))
    try:
        yield
    finally:
        if not conn.closed and not conn.broken:
            conn.execute(f"select pg_advisory_unlock({_LOCK})", (batch_id,))


def begin(conn: psycopg.Connection[Any], batch_id: int, run_id: str | None) -> None:
    """The batch is landing; a commit of its own."""
    conn.execute(
        "update landing.batches set state = 'landing', attempts = attempts + 1, run_id = %s, error = null where batch_id = %s",
        (run_id, batch_id),
    )


def finish_landed(
    conn: psycopg.Connection[Any], batch_id: int, created: datetime, settings_hash: str, numbers: Numbers, report: dict[str, Any]
) -> None:
    """Account for every row; raises CheckViolation (every_row_accounted_for) when the numbers do not add up."""
    conn.execute(
        """update landing.batches set state = 'landed', finished_at = clock_timestamp(), created_timestamp = %(created)s,
             settings_hash = %(hash)s, received = %(received)s, loaded = %(loaded)s, corrected = %(corrected)s,
             deleted = %(deleted)s, duplicate = %(duplicate)s, quarantined = %(quarantined)s,
             first_event = %(first_event)s, last_event = %(last_event)s,
             days = %(days)s::date[], error = null, report = %(report)s, undone_timestamp = null
           where batch_id = %(batch)s""",
        {"batch": batch_id, "created": created, "hash": settings_hash, "report": Jsonb(report), **vars(numbers)},
    )


def finish_without(conn: psycopg.Connection[Any], batch_id: int, state: str, error: str, report: dict[str, Any]) -> None:
    """The batch ended refused or failed and changed nothing."""
    conn.execute(
        "update landing.batches set state = %s, finished_at = clock_timestamp(), error = %s, report = %s where batch_id = %s",
        (state, error, Jsonb(report), batch_id),
    )


def finish_undone(conn: psycopg.Connection[Any], batch_id: int, created: datetime, note: dict[str, Any]) -> None:
    """The batch is undone: its counts stay as they were, `note` joins its report, and what it had met is forgotten."""
    conn.execute(
        """update landing.batches set state = 'undone', undone_timestamp = %s, report = report || %s where batch_id = %s""",
        (created, Jsonb({"undone": note}), batch_id),
    )
    conn.execute("delete from landing.met where batch_id = %s", (batch_id,))


def reopen(conn: psycopg.Connection[Any], batch_id: int) -> int:
    """Rows of a quarantine that the batch repaired are open again; returns how many."""
    return conn.execute("update landing.quarantine set repaired_by = null where repaired_by = %s", (batch_id,)).rowcount


def repair(conn: psycopg.Connection[Any], batch_id: int, repairs: int, lines: Mapping[int, int]) -> int:
    """The rows of `repairs` that lines of the batch mended (line → position), but for lines that it set aside; returns how many.

    From then on an undo of `repairs` has to look at the batch.
    """
    parameters = {"batch": batch_id, "of": repairs, "lines": list(lines), "positions": list(lines.values())}
    count = conn.execute(
        """update landing.quarantine q set repaired_by = %(batch)s
           from unnest(%(lines)s::bigint[], %(positions)s::bigint[]) as r(line, position)
           where q.batch_id = %(of)s and q.position = r.position and q.repaired_by is null
             and not exists (select from landing.quarantine a where a.batch_id = %(batch)s and a.position = r.line)""",
        parameters,
    ).rowcount
    if count:
        conn.execute("insert into landing.met values (%(batch)s, %(of)s) on conflict do nothing", parameters)
    return count


def clear_quarantine(conn: psycopg.Connection[Any], batch_id: int) -> None:
    """Forget what an earlier landing of the batch, since undone, had set aside."""
    conn.execute("delete from landing.quarantine where batch_id = %s", (batch_id,))


def lock_undo(conn: psycopg.Connection[Any]) -> None:
    """Until the end of the transaction nobody else undoes anything."""
    conn.execute("select pg_advisory_xact_lock(hashtextextended('millwright.undo', 0))")


def lock_batches(conn: psycopg.Connection[Any], batch_ids: Sequence[int]) -> None:
    """Until the end of the transaction nobody lands, repairs or undoes one of these batches; what is at it is waited for."""
    for batch_id in sorted(batch_ids):
        conn.execute(f"select pg_advisory_xact_lock({_LOCK})", (batch_id,))


def plan_again(conn: psycopg.Connection[Any], batch_id: int) -> None:
    """Put a failed, refused or undone batch back into the plan."""
    conn.execute(
        """update landing.batches set state = 'planned', attempts = 0, plan = null, plan_attempt = 0, error = null
           where batch_id = %s and state in ('failed', 'refused', 'undone')""",
        (batch_id,),
    )


def assign_plan(conn: psycopg.Connection[Any], batch_ids: Sequence[int], plan: str, attempt: int) -> None:
    """Note which plan (run key) took the batches, and its attempt."""
    conn.execute(
        "update landing.batches set plan = %s, plan_attempt = %s where batch_id = any(%s)", (plan, attempt, list(batch_ids))
    )


def quarantined(conn: psycopg.Connection[Any], batch_id: int) -> Iterator[tuple[int, bytes, list[dict[str, Any]], int | None]]:
    """(position, original, errors, repaired by) of a batch's quarantine, by position, streamed."""
    with conn.transaction(), conn.cursor("quarantined") as cursor:
        cursor.execute(
            "select position, original, errors, repaired_by from landing.quarantine where batch_id = %s order by position",
            (batch_id,),
        )
        for position, original, errors, repaired_by in cursor:
            yield position, bytes(original), errors, repaired_by


def _batches(conn: psycopg.Connection[Any], query: LiteralString, parameters: tuple[Any, ...]) -> list[Batch]:
    with conn.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(query, parameters).fetchall()
