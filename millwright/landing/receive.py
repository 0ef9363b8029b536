"""Receives files: bytes into the landing zone under their SHA-256, then a planned batch, then a wake-up.

Belongs here: what must be true before a delivery counts as received. Does not: the inbox folder (inbox.py), reading cells.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Dataset, Definitions
from millwright.landing.mapping import BadOptions, Delivery, UnknownDataset, check_options, dataset_of, settings_hash
from millwright.landing.names import label
from millwright.settings import Settings
from millwright.warehouse import ledger

__all__ = ["BadOptions", "Delivery", "Received", "TooLarge", "UnknownDataset", "receive", "zone_path"]
_PIECE = 1024 * 1024
PART = ".part"


class Received(BaseModel):
    """A delivery whose bytes are safe. `already`: this very delivery was known, and no new batch was planned."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    dataset: str
    file_name: str
    sha256: str
    file_bytes: int
    already: bool
    state: str


class TooLarge(ValueError):
    """More bytes than `max_file_bytes`."""


def receive(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    source: BinaryIO | Path,
    *,
    dataset: str,
    file_name: str,
    delivery: Delivery,
    channel: Literal["upload", "inbox"],
    by: str,
) -> Received:
    """Keep the bytes, plan a batch, wake the planner. The same bytes under the same settings are planned once (I2).

    Raises UnknownDataset, BadOptions, BadName, TooLarge (nothing is kept), OSError (landing zone), psycopg.Error.
    """
    definition = dataset_of(definitions, dataset)
    check_options(definitions, definition, delivery)
    label(file_name)
    if isinstance(source, Path):
        with source.open("rb") as file:
            sha256, size = store(settings, file)
    else:
        sha256, size = store(settings, source)
    return plan(conn, definition, sha256, size, file_name=file_name, delivery=delivery, channel=channel, by=by)


def plan(
    conn: psycopg.Connection[Any],
    dataset: Dataset,
    sha256: str,
    size: int,
    *,
    file_name: str,
    delivery: Delivery,
    channel: Literal["upload", "inbox"],
    by: str,
) -> Received:
    """Plan a batch for bytes of the landing zone, unless this very delivery is planned, landing or landed already.

    Raises BadName, BadOptions, psycopg.Error.
    """
    file_name = label(file_name)
    fingerprint = settings_hash(dataset, delivery)
    if delivery.repairs is not None and ledger.known_delivery(conn, dataset.dataset, sha256, fingerprint) is None:
        from millwright.landing.repair import check  # imported here: it brings the readers

        check(conn, dataset, delivery)
    with conn.transaction():
        ledger.lock_delivery(conn, dataset.dataset, sha256, fingerprint)
        known = ledger.known_delivery(conn, dataset.dataset, sha256, fingerprint)
        if known is None:
            batch_id = ledger.plan_file(
                conn,
                source=channel,
                dataset=dataset.dataset,
                file_name=file_name,
                sha256=sha256,
                file_bytes=size,
                options=delivery.model_dump(mode="json"),
                settings_hash=fingerprint,
                by=by,
            )
            ledger.notify(conn, "batch")
    return Received(
        batch_id=known.batch_id if known else batch_id,
        dataset=dataset.dataset,
        file_name=file_name,
        sha256=sha256,
        file_bytes=size,
        already=known is not None,
        state=known.state if known else "planned",
    )


def zone_path(settings: Settings, sha256: str) -> Path:
    """Where the landing zone keeps these bytes."""
    return settings.zone / sha256[:2] / sha256


def store(settings: Settings, source: BinaryIO) -> tuple[str, int]:
    """Copy a stream into the landing zone, durably; returns (sha256, bytes). Raises TooLarge, OSError; leaves nothing half."""
    with Incoming(settings) as incoming:
        while piece := source.read(_PIECE):
            incoming.write(piece)
        return incoming.keep()


class Incoming:
    """Bytes on their way into the landing zone, counted and capped as they come. Without `keep` nothing of them stays."""

    def __init__(self, settings: Settings) -> None:
        """Open a part file beside its later place. Raises OSError."""
        self._zone, self._limit = settings.zone, settings.max_file_bytes
        self._zone.mkdir(parents=True, exist_ok=True)
        self._digest, self._size = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=PART, dir=self._zone)
        self._part, self._file = Path(name), os.fdopen(descriptor, "wb")

    def write(self, piece: bytes | bytearray) -> None:
        """Add some bytes. Raises TooLarge, OSError."""
        self._size += len(piece)
        if self._size > self._limit:
            raise too_large(self._limit)
        self._digest.update(piece)
        self._file.write(piece)

    def keep(self) -> tuple[str, int]:
        """Put the bytes under their SHA-256, durably; returns (sha256, bytes). Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        sha256 = self._digest.hexdigest()
        target = self._zone / sha256[:2] / sha256
        target.parent.mkdir(exist_ok=True)
        self._part.replace(target)
        for folder in (target.parent, self._zone):
            _sync(folder)
        return sha256, self._size

    def close(self) -> None:
        """Remove what was not kept."""
        with suppress(OSError):  # a full disk: the rest of the buffer is not wanted
            self._file.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def too_large(limit: int) -> TooLarge:
    """The refusal of more than `limit` bytes."""
    return TooLarge(f"The file is larger than {limit:,} bytes (setting max_file_bytes). Nothing was kept; split it.")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
