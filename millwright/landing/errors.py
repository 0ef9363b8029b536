"""The errors of a block's rows, collected column by column.

Belongs here: which row has which errors, how a cell is quoted in a message. Does not: rules.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.landing.arrays import Mask
from millwright.landing.arrays import mask as as_mask
from millwright.landing.hints import Hints
from millwright.landing.rows import CellError, Cells, Kind, Positions

_QUOTED = 60


class Errors:
    """Errors by row of a block; `bad` says which rows have any. Cells of `hidden` columns are never quoted."""

    def __init__(self, rows: int, hidden: frozenset[str] = frozenset()) -> None:
        self.rows: dict[int, list[CellError]] = {}
        self.bad = np.zeros(rows, dtype=np.bool_)
        self._hidden = hidden
        self._columns: dict[str, Mask] = {}
        self._whole: Errors | None = None
        self._at: Positions = np.arange(0)

    def part(self, at: Positions, hidden: frozenset[str] = frozenset()) -> Errors:
        """The errors of some rows of the block: what is added to them is added here."""
        part = Errors(len(at), self._hidden | hidden)
        part._whole, part._at = self, at
        return part

    def add(self, mask: Mask, column: str, code: str, message: str, text: pa.Array | None = None) -> None:
        """Note an error of `column` for the rows of `mask`; `text` is quoted in front of the message."""
        indices = np.flatnonzero(mask)
        if not indices.size:
            return
        self._columns[column] = self.in_column(column) | mask
        quoted = [message] * indices.size
        if text is not None and column not in self._hidden:
            quoted = [f"{short(cell)} {message}" for cell in text.take(pa.array(indices)).to_pylist()]
        for index, told in zip(indices.tolist(), quoted, strict=True):
            self._note(index, {"column": column, "code": code, "message": told})

    def _note(self, row: int, error: CellError) -> None:
        self.bad[row] = True
        if self._whole is not None:
            self._whole._note(int(self._at[row]), error)
        else:
            self.rows.setdefault(row, []).append(error)

    def explain(self, mask: Mask, column: str, code: str, hints: Hints, otherwise: str, text: pa.Array) -> None:
        """Note an error for the rows of `mask`; each is told the first hint that its text matches, or else `otherwise`."""
        indices = np.flatnonzero(mask)
        if not indices.size:
            return
        cells = text.take(pa.array(indices))
        rest = np.ones(indices.size, dtype=np.bool_)
        for expression, message in (*hints, ("", otherwise)):
            told = rest & as_mask(pc.match_substring_regex(cells, expression))
            if told.any():
                rest &= ~told
                these = np.zeros(mask.size, dtype=np.bool_)
                these[indices[told]] = True
                self.add(these, column, code, message, text)
            if not rest.any():
                break

    def in_column(self, column: str) -> Mask:
        """Rows that have an error in the column already."""
        return self._columns.get(column, np.zeros(self.bad.size, dtype=np.bool_))

    def kinds(self, cells: Cells, column: str, allowed: tuple[Kind, ...], wanted: str, but: Mask | None = None) -> Mask:
        """Note and return JSON values of another kind than allowed, `but` for some rows; none for a CSV."""
        if cells.kinds is None:
            return np.zeros(len(cells.text), dtype=np.bool_)
        wrong: Mask = ~np.isin(cells.kinds, (Kind.MISSING, *allowed))
        if but is not None:
            wrong &= ~but
        self.add(wrong, column, "wrong_type", f"is not {wanted}", cells.text)
        return wrong


def short(cell: str) -> str:
    """A cell as a message may show it."""
    return repr(cell if len(cell) <= _QUOTED else f"{cell[:_QUOTED]}…")
