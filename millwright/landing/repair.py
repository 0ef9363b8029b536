"""Reads the export of a quarantine again: the mended rows of one batch, as if that batch had brought them so.

Belongs here: which rows may be repaired, their cells, what the repaired batch's options mean for them. Does not: writing the
export (export.py), the rules, landing (load.py).

The columns are known by their places. A row is its cells; where `original` is filled, it is that line instead, told into cells by
the dialect of the repaired batch. What the export had to write as \\xNN is no text that anybody sent, and must be written anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset
from millwright.landing import batches, kafka
from millwright.landing.batches import Receipt
from millwright.landing.csv import CsvFile
from millwright.landing.export import FIRST_CELL, FORMAT, cells_of, header, text_of
from millwright.landing.guard import guarded, unguarded
from millwright.landing.limits import Limits
from millwright.landing.mapping import BadOptions, Delivery
from millwright.landing.rows import Block, CellError, Cells, Positions, Refused, Rejected
from millwright.settings import Settings
from millwright.warehouse import ledger

_CODES = {
    "too_few_cells": "the line in `original` has fewer cells than the header",
    "too_many_cells": "the line in `original` has more cells than the header",
    "quotes": "a quote in `original` stands inside a cell, or is not closed",
}


@dataclass(frozen=True)
class Open:
    """The rows of a batch that wait for repair: position → what the export wrote where that is not exact, else None."""

    receipt: Receipt
    rows: dict[int, str | None]


def open_rows(conn: psycopg.Connection[Any], dataset: str, repairs: int) -> Open:
    """The open rows of a batch. Raises BadOptions when it is none of this dataset's, has not landed, or has nothing to repair."""
    batch = ledger.get(conn, repairs)
    if batch is None:
        raise BadOptions(f"There is no batch {repairs} to repair. `millwright batches` lists them. Nothing was loaded.")
    receipt = batches.of(batch)
    if receipt.dataset != dataset:
        raise BadOptions(f"Batch {repairs} is a delivery of {receipt.dataset}, not of {dataset}. Nothing was loaded.")
    if receipt.state != "landed":
        raise BadOptions(f"Batch {repairs} is {receipt.state}: only rows of a landed batch can be repaired. Nothing was loaded.")
    if (other := receipt.options.get("repairs")) is not None:
        raise BadOptions(
            f"Batch {repairs} is itself a repair, and what it did not mend is still open in batch {other}: "
            f"export that one and upload it with --repairs {other}. Nothing was loaded."
        )
    rows: dict[int, str | None] = {}
    for position, original, _, repaired_by in ledger.quarantined(conn, repairs):
        if repaired_by is None:
            text, exact = text_of(original, receipt.dialect)
            rows[position] = None if exact else text
    if not rows:
        raise BadOptions(f"Batch {repairs} has no open rows in quarantine. Nothing was loaded, and nothing is left to do.")
    return Open(receipt, rows)


def check(conn: psycopg.Connection[Any], dataset: Dataset, delivery: Delivery) -> None:
    """Raise BadOptions when the delivery repairs a batch that cannot be repaired."""
    if delivery.repairs is not None:
        open_rows(conn, dataset.dataset, delivery.repairs)


@contextmanager
def opened(
    conn: psycopg.Connection[Any],
    settings: Settings,
    dataset: Dataset,
    delivery: Delivery,
    path: Path,
    *,
    sha256: str | None = None,
) -> Iterator[CsvFile | RepairFile]:
    """A delivered file as a Source. While it is a repair, the repaired batch is locked: one repair or undo of it at a time.

    Raises Refused, Unavailable, BadOptions.
    """
    limits = Limits.of(settings)
    if delivery.repairs is None:
        yield CsvFile(path, delivery.format.over(dataset.format), sha256=sha256, limits=limits)
        return
    with ledger.locked(conn, delivery.repairs):
        rows = open_rows(conn, dataset.dataset, delivery.repairs)
        yield RepairFile(path, delivery, rows, sha256=sha256, limits=limits)


def _meant(delivery: Delivery, repaired: Delivery) -> Delivery:
    return delivery.model_copy(
        update={
            "columns": {**repaired.columns, **delivery.columns},
            "constants": {**repaired.constants, **delivery.constants},
            "ignore": [*repaired.ignore, *delivery.ignore],
            "layout": delivery.layout or repaired.layout,
            "timezone": delivery.timezone or repaired.timezone,
            "timestamps": delivery.timestamps.over(repaired.timestamps),
            "numbers": delivery.numbers or repaired.numbers,
            "units": {**repaired.units, **delivery.units},
            "missing": [*repaired.missing, *delivery.missing],
            "correction": delivery.correction or repaired.correction,
            "historical": delivery.historical or repaired.historical,
        }
    )


class RepairFile:
    """The mended export of a batch as a Source. A position is a line of this file.

    `repaired`: line → the position of the row that it repairs.
    """

    unit = "line"

    def __init__(self, path: Path, delivery: Delivery, opened: Open, *, sha256: str | None, limits: Limits) -> None:
        self._open, self._topic = opened, opened.receipt.topic is not None
        self._wanted = [guarded(name) for name in header(opened.receipt)]
        names = [f"c{place}" for place in range(len(self._wanted))]
        try:
            self._file = CsvFile(
                path, delivery.format.over(FORMAT).model_copy(update={"header": names}), sha256=sha256, limits=limits
            )
        except Refused as error:
            raise Refused(f"{self._no_export()} {error}") from error
        self.header: Sequence[str] | None = None if self._topic else opened.receipt.dialect["columns"]
        self.units: Mapping[str, str] = opened.receipt.dialect.get("units", {})
        self.repaired: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def meant(self, delivery: Delivery) -> Delivery:
        """What the rows mean: as the repaired batch's options said, but for those that the repair gives itself."""
        return _meant(delivery, Delivery.model_validate(self._open.receipt.options))

    def facts(self) -> dict[str, Any]:
        """Encoding and dialect as they were read."""
        return {**self._file.facts(), "columns": self._wanted}

    def originals(self, positions: Positions) -> list[bytes]:
        """The bytes of these lines of the repair."""
        return self._file.originals(positions)

    def blocks(self) -> Iterator[Block]:
        """The mended rows. Raises Refused when the file is not the export of this batch's quarantine."""
        first = True
        for block in self._file.blocks():
            columns = [unguarded(cells.text) for cells in block.columns.values()]
            rejected, positions, start = list(block.rejected), block.positions, 0
            if first:
                found = [cells.text[0].as_py() for cells in block.columns.values()] if block.rows else []
                if found != self._wanted:
                    raise Refused(self._no_export())
                first, start = False, 1
            yield self._block([column[start:] for column in columns], positions[start:], rejected)

    def _block(self, columns: list[pa.StringArray], positions: Positions, rejected: list[Rejected]) -> Block:
        refused: dict[int, CellError] = {}
        for at, (number, line) in enumerate(zip(columns[0].to_pylist(), positions.tolist(), strict=True)):
            if (error := self._addressed(number, line)) is not None:
                refused[at] = error
        cells = {} if self._topic else self._cells(columns, positions, refused)
        rejected += self._rejected(refused, positions)
        kept = np.setdiff1d(np.arange(len(positions)), list(refused))
        if self._topic:
            return self._messages(columns[FIRST_CELL - 1].take(pa.array(kept)), positions[kept], rejected)
        found = {name: Cells(text.take(pa.array(kept))) for name, text in cells.items()}
        return Block(found, positions[kept], sorted(rejected, key=lambda line: line.position))

    def _addressed(self, number: str, line: int) -> CellError | None:
        """Why a line repairs nothing; None where it names an open row, which is then taken."""
        batch = self._open.receipt.batch_id
        unit = self._wanted[0]
        position = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else -1
        if position not in self._open.rows:
            return _error(unit, "not_open", f"{unit} {number[:20]} of batch {batch} is not in quarantine, or is repaired already")
        if position in self._taken:
            return _error(
                unit, "given_twice", f"{unit} {position} is repaired by line {self._taken[position]} of this file already"
            )
        self._taken[position], self.repaired[line] = line, position
        return None

    def _cells(self, columns: list[pa.StringArray], positions: Positions, refused: dict[int, CellError]) -> dict[str, pa.Array]:
        """The original columns; lines that are filled into `original` are told into cells."""
        whole, cells = columns[FIRST_CELL - 1], columns[FIRST_CELL:]
        filled = [
            at for at in np.flatnonzero(pc.not_equal(whole, "").to_numpy(zero_copy_only=False)).tolist() if at not in refused
        ]
        if filled:
            rows = [column.to_pylist() for column in cells]
            for at in filled:
                told = self._whole(whole[at].as_py(), [row[at] for row in rows], self.repaired[int(positions[at])])
                if isinstance(told, dict):
                    refused[at] = told
                    continue
                for row, cell in zip(rows, told, strict=True):
                    row[at] = cell
            cells = [pa.array(row, pa.string()) for row in rows]
        return dict(zip(self.header or [], cells, strict=True))

    def _whole(self, line: str, cells: list[str], position: int) -> list[str] | CellError:
        if "".join(cells):
            return _error("original", "given_twice", "give the row in `original` or in its cells, not in both")
        if line == self._open.rows[position]:
            return _error("original", "encoding", "still has what could not be read (\\xNN): write what it should be")
        told = cells_of(line, self._open.receipt.dialect)
        return _error("original", told, _CODES[told]) if isinstance(told, str) else told

    def _messages(self, texts: pa.StringArray, positions: Positions, rejected: list[Rejected]) -> Block:
        messages: dict[int, bytes] = {}
        for line, text in zip(positions.tolist(), texts.to_pylist(), strict=True):
            if text == self._open.rows[self.repaired[line]]:
                error = _error("message", "encoding", "still has what could not be read (\\xNN): write what it should be")
                rejected += self._rejected({0: error}, np.array([line], dtype=np.int64))
            else:
                messages[line] = text.encode()
        block = kafka.block(messages)
        originals = self._file.originals(np.array([line.position for line in block.rejected], dtype=np.int64))
        rejected += [replace(line, original=original) for line, original in zip(block.rejected, originals, strict=True)]
        return Block(block.columns, block.positions, sorted(rejected, key=lambda line: line.position))

    def _rejected(self, refused: Mapping[int, CellError], positions: Positions) -> list[Rejected]:
        lines = positions[list(refused)] if refused else np.array([], dtype=np.int64)
        originals = self._file.originals(lines)
        return [
            Rejected(int(at), original, [error]) for at, original, error in zip(lines, originals, refused.values(), strict=True)
        ]

    def _no_export(self) -> str:
        batch = self._open.receipt.batch_id
        return (
            f"This is not the export of batch {batch}'s quarantine: its columns are not {', '.join(self._wanted)[:500]}. "
            f"Nothing was loaded. `millwright quarantine {batch} -o errors.csv` writes it; mend its cells and keep its header. "
            "If a spreadsheet saved it with another delimiter, name it: --delimiter ';'."
        )


def _error(column: str, code: str, message: str) -> CellError:
    return {"column": column, "code": code, "message": message}
