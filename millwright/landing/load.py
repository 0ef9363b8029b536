"""Lands one batch: typed lines, quarantine, ledger and change log in one transaction; the same way for a CSV and for Kafka.

Belongs here: the order of the steps of a landing and its states. Does not: SQL (warehouse/), reading (csv.py, kafka.py), rules.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import errors

from millwright.definitions import Dataset, Definitions
from millwright.landing import batches
from millwright.landing.batches import Duplicates, Receipt
from millwright.landing.kafka import TopicRange
from millwright.landing.mapping import BadOptions, Delivery, UnknownDataset, check_options, dataset_of, settings_hash
from millwright.landing.propose import for_refused
from millwright.landing.receive import zone_path
from millwright.landing.repair import RepairFile, opened
from millwright.landing.rows import Refused, Source, Unavailable
from millwright.landing.staged import Staged
from millwright.landing.unpack import verify
from millwright.settings import NotConfigured, Settings
from millwright.warehouse import commit, ledger, merge
from millwright.warehouse.merge import Piece
from millwright.warehouse.months import ensure_months, months_of
from millwright.warehouse.relations import Relation

T = TypeVar("T")
_log = logging.getLogger(__name__)
_DELIVERED_TWICE = "batches_landed_once"
_ATTEMPTS = 3
_FIRST_KINDS = 5
_KEPT = "Nothing was changed; what was received is kept, and the batch is tried again."


def land(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, batch_id: int, *, run_id: str | None = None
) -> Receipt:
    """Land a planned or failed batch, or one whose run was killed; of a batch that has ended, return its receipt (I2).

    Bad data does not raise: the receipt says refused (the delivery as a whole; mend it and deliver again) or failed (a store was
    away, a disk full: nothing was changed, it is tried again). A Kafka range whose earlier range has not landed stays planned.
    Raises UnknownBatch, and psycopg.OperationalError when Postgres itself is away.
    """
    batches.found(conn, batch_id)
    with ledger.locked(conn, batch_id):
        batch = batches.found(conn, batch_id)
        if batch.state not in ("planned", "landing", "failed"):
            return batches.of(batch)
        if (before := ledger.earlier_range(conn, batch)) is not None:
            waits = (
                f"It waits for batch {before}, an earlier range of its partition. It stays planned and is taken after that one."
            )
            return batches.of(batch).model_copy(update={"error": waits})
        ledger.begin(conn, batch_id, run_id)
        try:
            return _land(conn, settings, definitions, batch, run_id)
        except Exception as error:
            if conn.closed or conn.broken:
                raise
            state, problem = _ending(error)
            found = error.found if isinstance(error, TooManyBad) else {}
        ended = batches.base(batch) | found | {"state": state, "error": problem, "run_id": run_id}
        if state == "refused" and batch.sha256 is not None and batch.dataset in definitions.datasets:
            delivery = Delivery.model_validate(batch.options)
            path, name = zone_path(settings, batch.sha256), batch.file_name or ""
            dataset = definitions.datasets[batch.dataset]
            if delivery.repairs is None:
                ended["proposal"] = for_refused(conn, definitions, dataset, delivery, path, file_name=name)
        receipt = Receipt.model_validate(ended)
        ledger.finish_without(conn, batch_id, state, problem, receipt.model_dump(mode="json"))
        return receipt


def _ending(error: Exception) -> tuple[str, str]:
    """State and sentence for a landing that ended with this error; its transaction was rolled back."""
    match error:
        case Refused() | UnknownDataset() | BadOptions():
            return "refused", str(error)
        case errors.UniqueViolation() if error.diag.constraint_name == _DELIVERED_TWICE:
            return (
                "refused",
                "The same file has just landed under the same settings. Nothing was changed, and nothing is left to do.",
            )
        case Unavailable() | OSError() | psycopg.Error() | merge.KeysVanished() | NotConfigured():
            return "failed", f"{str(error).strip()} {_KEPT}"
        case _:
            _log.error("a batch could not be landed", exc_info=error)
            return (
                "failed",
                f"{type(error).__name__}: {error}. {_KEPT} It is a fault in the program: please report it with the log.",
            )


def dry_run(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, path: Path, *, dataset: str, delivery: Delivery
) -> Receipt:
    """What landing this file would do, by the same code, rolled back. The state is dry_run, or refused with an error.

    Raises UnknownDataset, BadOptions, OSError, psycopg.Error.
    """
    definition = dataset_of(definitions, dataset)
    check_options(definitions, definition, delivery)
    told: dict[str, Any] = {
        "batch_id": None,
        "source": "upload",
        "dataset": dataset,
        "file_name": path.name,
        "bytes": path.stat().st_size,
        "settings_hash": settings_hash(definition, delivery),
        "options": delivery.model_dump(mode="json"),
    }
    work = _Work(conn, settings, definitions, dataset, delivery)
    try:
        with opened(conn, settings, definition, delivery, path) as source, work.staged(source) as staged:
            result = _attempted(lambda direct: _rolled_back(work, staged, path.name, direct=direct))
    except Refused as error:
        found = error.found if isinstance(error, TooManyBad) else {}
        proposal = None
        if delivery.repairs is None:
            proposal = for_refused(conn, definitions, definition, delivery, path, file_name=str(path))
        return Receipt.model_validate(told | found | {"state": "refused", "error": str(error), "proposal": proposal})
    return Receipt.model_validate(told | result | {"state": "dry_run", "stages": work.stages})


def _land(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, batch: ledger.Batch, run_id: str | None
) -> Receipt:
    dataset = dataset_of(definitions, batch.dataset)
    delivery = Delivery.model_validate(batch.options)
    fingerprint = settings_hash(dataset, delivery)
    if batch.sha256 is not None and (other := ledger.landed_elsewhere(conn, batch, fingerprint)) is not None:
        raise Refused(
            f"Batch {other} has landed the same file under the same settings. Nothing was changed, and nothing is left to do."
        )
    work = _Work(conn, settings, definitions, batch.dataset, delivery)
    with _source(conn, settings, dataset, delivery, batch) as source, work.staged(source) as staged:
        return _attempted(lambda direct: _commit(work, batch, staged, fingerprint, run_id, direct=direct))


def _attempted(transaction: Callable[[bool], T]) -> T:
    """The result of a transaction, done again (and not the direct way) where another landing wrote the same keys."""
    attempt = 1
    while True:
        try:
            return transaction(attempt == 1)
        except (errors.UniqueViolation, errors.DeadlockDetected) as error:
            if attempt == _ATTEMPTS or error.diag.constraint_name == _DELIVERED_TWICE:
                raise
            attempt += 1


def _rolled_back(work: _Work, staged: Staged, file_name: str, *, direct: bool) -> dict[str, Any]:
    """What a receipt would say; of what it does only the partitions of months stay."""
    with work.conn.transaction(force_rollback=True):
        number = ledger.plan_file(
            work.conn,
            source="upload",
            dataset=work.dataset,
            file_name=file_name,
            sha256="0" * 64,
            file_bytes=0,
            options={},
            settings_hash="",
            by="dry run",
        )
        result = work.merge(staged, number, direct=direct)
    result["duplicates_of"] = [d for d in result["duplicates_of"] if d.batch_id != number]
    return result


def _commit(work: _Work, batch: ledger.Batch, staged: Staged, fingerprint: str, run_id: str | None, *, direct: bool) -> Receipt:
    """The transaction of a landing. Raises UniqueViolation or DeadlockDetected when another landing wrote the same keys."""
    conn = work.conn
    with conn.transaction():
        if batch.topic_partition_id is not None:
            ledger.fence(conn, batch.topic_partition_id)
        ledger.clear_quarantine(conn, batch.batch_id)
        result = work.merge(staged, batch.batch_id, direct=direct)
        if work.delivery.repairs is not None:
            result["repaired"] = ledger.repair(conn, batch.batch_id, work.delivery.repairs, work.repaired)
            if result["repaired"]:
                result["met"] = sorted({*result["met"], work.delivery.repairs})
        created = commit.next_timestamp(conn)
        receipt = Receipt.model_validate(
            batches.base(batch)
            | result
            | {
                "state": "landed",
                "error": None,
                "settings_hash": fingerprint,
                "stages": work.stages,
                "run_id": run_id,
                "created_timestamp": created,
                "bytes": batch.file_bytes or staged.bytes,
            }
        )
        numbers = ledger.Numbers(
            days=list(receipt.days),
            **{name: getattr(receipt, name) for name in ledger.Numbers.__dataclass_fields__ if name != "days"},
        )
        ledger.finish_landed(conn, batch.batch_id, created, fingerprint, numbers, receipt.model_dump(mode="json"))
        ledger.notify(conn, "changed")
        commit.append_changes(conn, batch.batch_id, created, historical=work.meant.historical)
    return receipt


@contextmanager
def _source(
    conn: psycopg.Connection[Any], settings: Settings, dataset: Dataset, delivery: Delivery, batch: ledger.Batch
) -> Iterator[Source]:
    if batch.sha256 is not None:
        path = zone_path(settings, batch.sha256)
        try:
            with opened(conn, settings, dataset, delivery, path, sha256=batch.sha256) as file:
                yield file
        except Refused:
            verify(path, batch.sha256)  # what is wrong may have come after it was received: then the sender cannot mend it
            raise
        return
    assert batch.topic is not None and batch.topic_id is not None and batch.partition is not None
    assert batch.first_offset is not None and batch.end_offset is not None
    bootstrap = settings.require("kafka_bootstrap")
    yield TopicRange(bootstrap, batch.topic, batch.topic_id, batch.partition, batch.first_offset, batch.end_offset)


class TooManyBad(Refused):
    """More of a delivery's rows are bad than its dataset allows. `found`: what the receipt says of them."""

    def __init__(self, dataset: str, limit: float, bad: int, staged: Staged) -> None:
        kinds = staged.kinds()
        first = "; ".join(
            f"{staged.unit} {kind.first_position}: {': '.join(filter(None, (kind.column, kind.code)))}: {kind.message}"
            for kind in kinds[:_FIRST_KINDS]
        )
        super().__init__(
            f"{bad:,} of {staged.received:,} rows ({bad / staged.received:.1%}) are bad, and the dataset {dataset} takes at most "
            f"{limit:.1%} (max_bad_fraction). Nothing was loaded. The first of each kind: {first}. "
            "Mend the file, or its mapping, and deliver it again."
        )
        self.found = {"errors": kinds, "dialect": staged.facts}


@dataclass
class _Work:
    """The steps that a landing and a dry run share, with the seconds of each."""

    conn: psycopg.Connection[Any]
    settings: Settings
    definitions: Definitions
    dataset: str
    delivery: Delivery
    stages: dict[str, float] = field(default_factory=dict)
    meant: Delivery = field(init=False)
    """The delivery's options, of a repair with those of the batch that it repairs below them."""
    repaired: Mapping[int, int] = field(default_factory=dict)
    """Of a repair: line → the position that it repairs; known when the lines are read."""

    def __post_init__(self) -> None:
        self.meant = self.delivery

    @property
    def relation(self) -> Relation:
        """Where the rows go."""
        return Relation(self.definitions.datasets[self.dataset].relation)

    @contextmanager
    def staged(self, source: Source) -> Iterator[Staged]:
        """The delivery's lines; read already where they are judged as a whole before anything is written."""
        if isinstance(source, RepairFile):
            self.meant, self.repaired = source.meant(self.delivery), source.repaired
        staged = Staged(self.settings, self.definitions, self.dataset, self.meant, source, now=datetime.now(UTC))
        try:
            if not staged.streams or self._most_bad is not None:
                with self._timed("check"):
                    staged.fill()
                self._check_share(staged, staged.rejected.rows)
            yield staged
        finally:
            staged.close()

    def merge(self, staged: Staged, batch_id: int, *, direct: bool = True) -> dict[str, Any]:
        """Merge and quarantine in the open transaction; returns what the receipt says about the rows. Raises TooManyBad."""
        staged.forget_conflicts()
        with self._timed("merge"):
            pieces = self._pieces(staged)
            merged = merge.merge(self.conn, self.relation, batch_id, pieces, correction=self.meant.correction, direct=direct)
        with self._timed("quarantine"):
            rejected = chain(
                staged.rejected.tables(), (staged.conflicting(some, batch_id) for some in merge.conflicts(self.conn))
            )
            quarantined = sum(merge.quarantine(self.conn, batch_id, lines) for lines in rejected)
        self._check_share(staged, quarantined)
        return {
            "received": staged.received,
            "loaded": merged.loaded,
            "corrected": merged.corrected,
            "duplicate": merged.duplicate,
            "quarantined": quarantined,
            "first_event": staged.first_event,
            "last_event": staged.last_event,
            "days": merged.days,
            "errors": staged.kinds(),
            "new_readings": staged.new_readings,
            "met": merged.met,
            "duplicates_of": [Duplicates(**vars(matched)) for matched in merged.matched],
            "dialect": staged.facts,
            "mapping": staged.mapping,
            "warnings": staged.warnings,
            "ignored": staged.ignored,
            "preview": staged.preview,
        }

    def _pieces(self, staged: Staged) -> Iterator[Piece]:
        """The lines, when the partitions that they need are there. The time of waiting for them is that of `check`."""
        pieces, months = staged.pieces(), set[date]()
        while True:
            with self._timed("check", of="merge"):
                piece = next(pieces, None)
            if piece is None:
                return
            if self.relation is Relation.MEASUREMENTS:
                found = months_of(piece.lines["event_timestamp"])
                ensure_months(self.conn, found - months)
                months |= found
            yield piece

    @property
    def _most_bad(self) -> float | None:
        """`max_bad_fraction`; what is left of a repair is no new delivery, and its share says nothing."""
        return self.definitions.datasets[self.dataset].max_bad_fraction if self.delivery.repairs is None else None

    def _check_share(self, staged: Staged, bad: int) -> None:
        if (limit := self._most_bad) is not None and bad > limit * staged.received:
            raise TooManyBad(self.dataset, limit, bad, staged)

    @contextmanager
    def _timed(self, stage: str, *, of: str | None = None) -> Iterator[None]:
        """Add the seconds of the block to a stage, and take them from the one `of` which they are a part."""
        start = time.perf_counter()
        yield
        spent = time.perf_counter() - start
        self.stages[stage] = round(self.stages.get(stage, 0.0) + spent, 4)
        if of is not None:
            self.stages[of] = round(self.stages.get(of, 0.0) - spent, 4)
