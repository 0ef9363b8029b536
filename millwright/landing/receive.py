"""Receives files: bytes into the landing zone under their SHA-256, then a planned batch, then a wake-up.

Belongs here: what must be true before a delivery counts as received. Does not: the inbox folder (inbox.py), reading cells.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Literal

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Dataset, Definitions
from millwright.landing.mapping import BadOptions, Delivery, UnknownDataset, check_options, dataset_of, settings_hash
from millwright.settings import Settings
from millwright.warehouse import ledger

__all__ = ["BadOptions", "Delivery", "Received", "TooLarge", "UnknownDataset", "receive", "zone_path"]
_PIECE = 1024 * 1024


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

    Raises UnknownDataset, BadOptions, TooLarge (nothing is kept), OSError (landing zone), psycopg.Error.
    """
    definition = dataset_of(definitions, dataset)
    check_options(definitions, definition, delivery)
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
    """Plan a batch for bytes of the landing zone, unless this very delivery is planned, landing or landed already."""
    fingerprint = settings_hash(dataset, delivery)
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
    settings.zone.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=settings.zone)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            while piece := source.read(_PIECE):
                size += len(piece)
                if size > settings.max_file_bytes:
                    raise TooLarge(
                        f"The file is larger than {settings.max_file_bytes:,} bytes (setting max_file_bytes). "
                        "Nothing was kept; split it."
                    )
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        target = zone_path(settings, digest.hexdigest())
        target.parent.mkdir(exist_ok=True)
        part.replace(target)
        for folder in (target.parent, settings.zone):
            _sync(folder)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest(), size


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
