"""The quarantine of a batch: its open rows with the reasons, and how many were repaired.

Belongs here: how a set-aside row is shown. Does not: setting it aside (load.py), the export as CSV (export.py), SQL (ledger.py).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.landing import batches
from millwright.warehouse import ledger


class CellReason(BaseModel):
    """Why a cell could not land; without a column it is the whole row."""

    model_config = ConfigDict(frozen=True)
    column: str
    code: str
    message: str


class QuarantinedRow(BaseModel):
    """A row: line or offset, its bytes as text (what is not UTF-8 as \\xNN), every failing cell."""

    model_config = ConfigDict(frozen=True)
    position: int
    original: str
    errors: list[CellReason]


class Quarantined(BaseModel):
    """Open rows of a batch's quarantine by position. `total`: rows that were set aside; `open`: those that wait, also beyond a
    limit; `repaired`: rows by the batch that repaired them."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    total: int
    open: int
    repaired: dict[int, int]
    rows: list[QuarantinedRow]


def quarantined(conn: psycopg.Connection[Any], batch_id: int, limit: int | None = None) -> Quarantined:
    """The first `limit` open rows (all without it); raises UnknownBatch."""
    batches.found(conn, batch_id)
    rows: list[QuarantinedRow] = []
    repaired: Counter[int] = Counter()
    open_ = 0
    for position, original, errors, repaired_by in ledger.quarantined(conn, batch_id):
        if repaired_by is not None:
            repaired[repaired_by] += 1
            continue
        open_ += 1
        if limit is None or open_ <= limit:
            told = [CellReason.model_validate(error) for error in errors]
            rows.append(QuarantinedRow(position=position, original=_text(original), errors=told))
    total = open_ + repaired.total()
    return Quarantined(batch_id=batch_id, total=total, open=open_, repaired=dict(sorted(repaired.items())), rows=rows)


def _text(original: bytes) -> str:
    return original.decode("utf-8", errors="backslashreplace")
