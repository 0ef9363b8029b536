"""Receipts and the ledger as people and Dagster see them.

Belongs here: what a delivery's report says, which batches wait. Does not: SQL (warehouse/ledger.py), landing (load.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Self

import psycopg
from pydantic import BaseModel, ConfigDict, model_validator

from millwright.warehouse import ledger


class ErrorKind(BaseModel):
    """One kind of error: how many rows have it, their share of all, where the first is and what it says."""

    model_config = ConfigDict(frozen=True)
    code: str
    column: str
    count: int
    share: float
    first_position: int
    message: str


class Duplicates(BaseModel):
    """Duplicates by the batch that they repeat (the batch itself: lines of the same delivery), and the first pair."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    rows: int
    first_position: int
    of_position: int


class UndoneNote(BaseModel):
    """What an undo did to this batch's rows: who, when (UTC, the clock of its commit), as part of the undo of which batch."""

    model_config = ConfigDict(frozen=True)
    created_timestamp: datetime
    by: str
    with_batch: int
    removed: int
    restored: int
    shortened: int
    reopened: int
    days: dict[date, int]


class Question(BaseModel):
    """What a file does not tell: what it is about (a field or an option), and options that answer it."""

    model_config = ConfigDict(frozen=True)
    about: str
    text: str
    answers: list[str] = []


class Proposal(BaseModel):
    """What the columns of a refused file may mean: options (a Delivery), the command line that delivers it so, why, and what
    must be answered first. It is never applied by itself."""

    model_config = ConfigDict(frozen=True)
    dataset: str
    options: dict[str, Any]
    command: str
    reasons: list[str] = []
    questions: list[Question] = []


class Receipt(BaseModel):
    """What became of one delivery. Counts are rows; times UTC; `days`: rows written or changed per UTC day; stages in seconds.

    `repaired`: rows of another batch's quarantine that this one mended (they are among its loaded, corrected or duplicate).
    `errors`: why rows are in quarantine, or why a batch was refused for them. `warnings`: what was odd in rows that landed.
    `ignored`: lines of a long file whose reading the delivery leaves out; they are not among the received. `dialect`: how the
    file was read; `mapping`: what its names and cells were taken to mean.

    Of a batch that is refused, failed or planned the counts are 0 and `error` says what, where and what to do next.
    """

    model_config = ConfigDict(frozen=True)
    batch_id: int | None
    source: str
    dataset: str
    state: str
    file_name: str | None = None
    topic: str | None = None
    partition: int | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    sha256: str | None = None
    bytes: int = 0
    received: int = 0
    loaded: int = 0
    corrected: int = 0
    deleted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    repaired: int = 0
    ignored: int = 0
    first_event: datetime | None = None
    last_event: datetime | None = None
    days: dict[date, int] = {}
    errors: list[ErrorKind] = []
    warnings: list[ErrorKind] = []
    new_readings: list[str] = []
    met: list[int] = []
    duplicates_of: list[Duplicates] = []
    stages: dict[str, float] = {}
    error: str | None = None
    settings_hash: str = ""
    options: dict[str, Any] = {}
    dialect: dict[str, Any] = {}
    mapping: dict[str, Any] = {}
    preview: list[dict[str, Any]] = []
    proposal: Proposal | None = None
    run_id: str | None = None
    created_timestamp: datetime | None = None
    undone: UndoneNote | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        parts = self.loaded + self.corrected + self.deleted + self.duplicate + self.quarantined
        if self.received != parts:
            raise ValueError(f"I1: {self.received} rows were received, {parts} are accounted for")
        return self


class BatchLine(BaseModel):
    """A batch in the list: its receipt's main figures."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    source: str
    dataset: str
    delivery: str
    state: str
    received: int
    loaded: int
    corrected: int
    duplicate: int
    quarantined: int
    planned_at: datetime
    error: str | None


class Batches(BaseModel):
    """The newest batches, newest first."""

    model_config = ConfigDict(frozen=True)
    batches: list[BatchLine]


class Waiting(BaseModel):
    """A batch that should be landed."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    dataset: str
    source: str
    plan: str | None
    plan_attempt: int
    attempts: int
    state: str


class UnknownBatch(LookupError):
    """The ledger has no such batch."""


class NotReplayable(ValueError):
    """The batch is in a state from which it cannot be planned again."""


def found(conn: psycopg.Connection[Any], batch_id: int) -> ledger.Batch:
    """The batch's row, or UnknownBatch."""
    batch = ledger.get(conn, batch_id)
    if batch is None:
        raise UnknownBatch(f"There is no batch {batch_id}. `millwright batches` lists them.")
    return batch


def base(batch: ledger.Batch) -> dict[str, Any]:
    """What a receipt of the batch says before anything is known of its rows."""
    return {
        "batch_id": batch.batch_id,
        "source": batch.source,
        "dataset": batch.dataset,
        "state": batch.state,
        "file_name": batch.file_name,
        "topic": batch.topic,
        "partition": batch.partition,
        "first_offset": batch.first_offset,
        "end_offset": batch.end_offset,
        "sha256": batch.sha256,
        "bytes": batch.file_bytes or 0,
        "settings_hash": batch.settings_hash,
        "options": batch.options,
        "error": batch.error,
        "run_id": batch.run_id,
        "created_timestamp": batch.created_timestamp,
    }


def of(batch: ledger.Batch) -> Receipt:
    """The receipt of a row of the ledger: what its last landing reported, under its present state."""
    reported = batch.report if batch.state in ("landed", "undone", "refused", "failed") else {}
    return Receipt.model_validate({**reported, **base(batch), "bytes": reported.get("bytes", batch.file_bytes or 0)})


def receipt(conn: psycopg.Connection[Any], batch_id: int) -> Receipt:
    """The receipt of a batch; raises UnknownBatch."""
    return of(found(conn, batch_id))


def batches(conn: psycopg.Connection[Any], limit: int = 50) -> Batches:
    """The newest `limit` batches, newest first."""
    return Batches(batches=[_line(batch) for batch in ledger.newest(conn, limit)])


def waiting(conn: psycopg.Connection[Any], limit: int) -> list[Waiting]:
    """What should be landed, in the order to land it: planned, landing but its run is gone, failed fewer than three times.

    A Kafka range waits for the earlier ranges of its partition.
    """
    names = set(Waiting.model_fields)
    return [
        Waiting.model_validate({name: value for name, value in vars(batch).items() if name in names})
        for batch in ledger.waiting(conn, limit)
    ]


def given_up(conn: psycopg.Connection[Any]) -> list[str]:
    """For each batch that is not tried again by itself: what it is, what it holds up, what to do."""
    told = []
    for batch in ledger.given_up(conn):
        line = _line(batch)
        ended = "was refused" if batch.state == "refused" else f"failed {batch.attempts} times"
        held = " and holds back what comes after it in its partition" if batch.topic else ""
        told.append(
            f"Batch {batch.batch_id} ({line.delivery}) {ended}{held}: "
            f"`millwright batches {batch.batch_id}` says why, `millwright replay {batch.batch_id}` tries it again."
        )
    return told


def assign_plan(conn: psycopg.Connection[Any], batch_ids: Sequence[int], plan: str, attempt: int) -> None:
    """Note which plan took the batches, and which attempt of it."""
    ledger.assign_plan(conn, batch_ids, plan, attempt)


def replay(conn: psycopg.Connection[Any], batch_id: int) -> Receipt:
    """Plan a failed, refused or undone batch again, in its row, and wake the planner; raises UnknownBatch, NotReplayable."""
    with conn.transaction():
        batch = found(conn, batch_id)
        if batch.state not in ("failed", "refused", "undone"):
            raise NotReplayable(f"Batch {batch_id} is {batch.state}: only a failed, refused or undone batch can be landed again.")
        ledger.plan_again(conn, batch_id)
        ledger.notify(conn, "batch")
    return receipt(conn, batch_id)


def delivery_of(batch: ledger.Batch) -> str:
    """The file's name, or topic, partition and offsets."""
    return batch.file_name or f"{batch.topic}[{batch.partition}] {batch.first_offset}…{batch.end_offset}"


def _line(batch: ledger.Batch) -> BatchLine:
    told = of(batch)
    return BatchLine(
        delivery=delivery_of(batch),
        planned_at=batch.planned_at,
        **told.model_dump(include=set(BatchLine.model_fields) - {"delivery", "planned_at"}),
    )
