"""The quarantine of a batch: its rows with the reasons, and its export as CSV.

Belongs here: how a set-aside row is shown. Does not: setting it aside (load.py), SQL (warehouse/ledger.py).
"""

from __future__ import annotations

import csv
import io
from typing import Any, TextIO

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
    """A row: line or offset, its bytes as text (what is not UTF-8 as \\xNN), every failing cell, the batch that repaired it."""

    model_config = ConfigDict(frozen=True)
    position: int
    original: str
    errors: list[CellReason]
    repaired_by: int | None


class Quarantined(BaseModel):
    """Rows of a batch's quarantine by position; `total` counts those left out by a limit too."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    total: int
    rows: list[QuarantinedRow]


class Exported(BaseModel):
    """What was written: rows, and the file if there is one."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    rows: int
    file: str | None = None


def quarantined(conn: psycopg.Connection[Any], batch_id: int, limit: int | None = None) -> Quarantined:
    """The first `limit` rows (all without it); raises UnknownBatch."""
    batches.found(conn, batch_id)
    rows: list[QuarantinedRow] = []
    total = 0
    for position, original, errors, repaired_by in ledger.quarantined(conn, batch_id):
        total += 1
        if limit is None or total <= limit:
            told = [CellReason.model_validate(error) for error in errors]
            rows.append(QuarantinedRow(position=position, original=_text(original), errors=told, repaired_by=repaired_by))
    return Quarantined(batch_id=batch_id, total=total, rows=rows)


def export(conn: psycopg.Connection[Any], batch_id: int, out: TextIO) -> Exported:
    """Write the rows as CSV: line (or offset), columns, codes, messages, then the original cells. Raises UnknownBatch.

    Several errors of a row are joined by `; `. A line that could not be split has its text in the first cell.
    """
    receipt = batches.receipt(conn, batch_id)
    header: list[str] = receipt.dialect.get("columns", ["message" if receipt.topic else "original"])
    delimiter = receipt.dialect.get("delimiter")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["offset" if receipt.topic else "line", "columns", "codes", "messages", *header])
    count = 0
    for position, original, errors, _ in ledger.quarantined(conn, batch_id):
        told = ["; ".join(error[part] for error in errors) for part in ("column", "code", "message")]
        text = _text(original)
        split = delimiter is not None and not any(error["code"] == "quotes" for error in errors)
        writer.writerow([position, *told, *(_split(text, delimiter) if split and delimiter else [text])])
        count += 1
    return Exported(batch_id=batch_id, rows=count)


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter), [""])


def _text(original: bytes) -> str:
    return original.decode("utf-8", errors="backslashreplace")
