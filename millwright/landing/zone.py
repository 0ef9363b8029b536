"""The landing zone as a store: whether it holds what the ledger says, how much that is, what may go.

Belongs here: looking at received bytes, and removing old ones when asked. Does not: receiving (receive.py), reading (csv.py).
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.landing.receive import PART, zone_path
from millwright.settings import Settings
from millwright.warehouse import ledger

SAMPLED = 20
_PIECE = 1024 * 1024
_LEFT_BEHIND = timedelta(days=1)


class Lost(BaseModel):
    """Received bytes that are not there, or are others than were received."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    file_name: str
    sha256: str
    damaged: bool


class Zone(BaseModel):
    """The landing zone: what lies in it, what was compared with the ledger, what of it is lost.

    `expected`: deliveries whose bytes should be there. `strays`: bytes of no delivery, and parts of deliveries that were cut off.
    """

    model_config = ConfigDict(frozen=True)
    folder: Path
    files: int
    bytes: int
    strays: int
    expected: int
    checked: int
    lost: list[Lost]


class Pruned(BaseModel):
    """What `prune` removed, or with a dry run would."""

    model_config = ConfigDict(frozen=True)
    dry_run: bool
    files: int
    bytes: int
    strays: int


class KeptForEver(ValueError):
    """Nothing may be removed: no setting says for how long bytes are kept."""


def inspect(conn: psycopg.Connection[Any], settings: Settings, *, every: bool) -> Zone:
    """Compare the zone with the ledger: each file is there and as long as it was; the SHA-256 of `every` file, or of some, too.

    Raises OSError, psycopg.Error.
    """
    received = ledger.landed_files(conn)
    known = {file.sha256 for file in received}
    kept = [file for file in received if not _may_go(file, settings)]
    there = list(_entries(settings))
    lost = []
    read = {file.sha256 for file in (kept if every else random.sample(kept, min(SAMPLED, len(kept))))}
    for file in kept:
        path = zone_path(settings, file.sha256)
        if not path.is_file():
            lost.append(_lost(file, damaged=False))
        elif path.stat().st_size != file.file_bytes or (file.sha256 in read and _digest(path) != file.sha256):
            lost.append(_lost(file, damaged=True))
    return Zone(
        folder=settings.zone,
        files=len(there),
        bytes=sum(path.stat().st_size for path in there),
        strays=sum(path.name not in known for path in there),
        expected=len(kept),
        checked=len(read),
        lost=lost,
    )


def prune(conn: psycopg.Connection[Any], settings: Settings, *, dry_run: bool) -> Pruned:
    """Remove bytes whose batches ended more than `keep_landed_files` days ago, and what cut off deliveries left a day ago.

    Bytes of a batch that still waits or may be tried again stay. Receipts, quarantine and rows stay: only landing the batch
    again needs the bytes. Raises KeptForEver, OSError, psycopg.Error.
    """
    if settings.keep_landed_files is None:
        raise KeptForEver("Received files are kept for ever. Set MILLWRIGHT_KEEP_LANDED_FILES to the days to keep them first.")
    known = {file.sha256: file for file in ledger.landed_files(conn)}
    files = size = strays = 0
    for path in _entries(settings):
        file = known.get(path.name)
        age = timedelta(seconds=time.time() - path.stat().st_mtime)
        if file is None and age > _LEFT_BEHIND:
            strays += 1
        elif file is not None and _may_go(file, settings) and age > timedelta(days=settings.keep_landed_files):
            files += 1
        else:
            continue
        size += path.stat().st_size
        if not dry_run:
            path.unlink()
    return Pruned(dry_run=dry_run, files=files, bytes=size, strays=strays)


def _may_go(file: ledger.LandedFile, settings: Settings) -> bool:
    """Whether its batches ended so long ago that its bytes need not be there."""
    if settings.keep_landed_files is None or file.ended is None:
        return False
    return datetime.now(UTC) - file.ended > timedelta(days=settings.keep_landed_files)


def _entries(settings: Settings) -> Iterator[Path]:
    """Files of the zone, and parts of files."""
    for path in settings.zone.glob("*"):
        if path.is_dir():
            yield from (file for file in path.iterdir() if file.is_file())
        elif path.name.endswith(PART):
            yield path


def _lost(file: ledger.LandedFile, *, damaged: bool) -> Lost:
    return Lost(batch_id=file.batch_id, file_name=file.file_name, sha256=file.sha256, damaged=damaged)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
