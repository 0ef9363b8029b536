"""The open rows of a quarantine as a CSV that a person can mend in a spreadsheet and upload again.

Belongs here: its columns and its dialect. Does not: reading it again (repair.py), setting rows aside (load.py).

The dialect is ours whatever the delivery's was: UTF-8, comma, double quotes, CRLF (RFC 4180). First come the line (of a topic:
the offset), the columns, codes and messages of its errors. Of a file follow `original`, the whole line where it could not be told
into cells, and then the original cells under the original header. Of a topic follows the message.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any, TextIO

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions.datasets import Format
from millwright.landing import batches
from millwright.landing.batches import Receipt
from millwright.landing.dialect import Dialect
from millwright.landing.guard import guarded
from millwright.warehouse import ledger

FORMAT = Format(encoding="utf-8", delimiter=",", quote='"', escape="double")
FIRST_CELL = 5
"""Where the original cells begin."""


class Exported(BaseModel):
    """What was written: rows, and the file if there is one."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    rows: int
    file: str | None = None


class NotExportable(ValueError):
    """The batch's open rows are those of another batch."""


def header(receipt: Receipt) -> list[str]:
    """The columns of the export of this batch."""
    if receipt.topic:
        return ["offset", "columns", "codes", "messages", "message"]
    return ["line", "columns", "codes", "messages", "original", *receipt.dialect.get("columns", [])]


def export(conn: psycopg.Connection[Any], batch_id: int, out: TextIO) -> Exported:
    """Write the open rows; several errors of a row are joined by `; `. Raises UnknownBatch, NotExportable."""
    receipt = batches.receipt(conn, batch_id)
    if (repaired := receipt.options.get("repairs")) is not None:
        raise NotExportable(
            f"Batch {batch_id} repairs batch {repaired}, and what it did not mend is still open there: "
            f"`millwright quarantine {repaired} -o errors.csv` writes it."
        )
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(map(guarded, header(receipt)))
    count = 0
    for position, original, errors, repaired_by in ledger.quarantined(conn, batch_id):
        if repaired_by is None:
            told = ["; ".join(error[part] for error in errors) for part in ("column", "code", "message")]
            # What is told is never read again, so only what a spreadsheet would run is guarded.
            told = [part if part.startswith("'") else guarded(part) for part in told]
            writer.writerow([position, *told, *map(guarded, _shown(original, receipt))])
            count += 1
    return Exported(batch_id=batch_id, rows=count)


def text_of(original: bytes, facts: dict[str, Any]) -> tuple[str, bool]:
    """A line's bytes as text, and whether that is exact; what is no text of the encoding (and NUL) is written as \\xNN."""
    encoding = facts.get("encoding", "utf-8")
    try:
        text, exact = original.decode(encoding), True
    except (UnicodeDecodeError, LookupError):
        text, exact = original.decode(encoding if encoding.startswith("utf-8") else "ascii", errors="backslashreplace"), False
    return text.replace("\0", "\\x00"), exact and "\0" not in text


def cells_of(line: str, facts: dict[str, Any]) -> list[str] | str:
    """A line's cells by the dialect of its receipt, one for each column; else the code that says why there are none."""
    columns: Sequence[str] = facts.get("columns", [])
    try:
        mark = facts["delimiter"]
        cells = Dialect(mark[0], len(mark) > 1, facts.get("quote", '"'), facts.get("escape", "double")).cells(line)
    except (KeyError, csv.Error):
        return "quotes"
    if len(cells) < len(columns):
        return "too_few_cells"
    return "too_many_cells" if "".join(cells[len(columns) :]) else cells[: len(columns)]


def _shown(original: bytes, receipt: Receipt) -> list[str]:
    text, exact = text_of(original, receipt.dialect)
    if receipt.topic:
        return [text]
    cells = cells_of(text, receipt.dialect) if exact else ""
    return [text, *[""] * len(receipt.dialect.get("columns", []))] if isinstance(cells, str) else ["", *cells]
