"""Cells that no spreadsheet takes for a formula, and back again, exactly.

Belongs here: one character that is put in front of a cell, and taken off again. Does not: which file has such cells.

A spreadsheet runs a cell that begins with = + - @, a tab or a carriage return as a formula. Such a cell gets an apostrophe in
front; so does one that begins with an apostrophe, so that taking one off is exact. A plain number such as -5 runs nothing and
stays.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = re.compile(r"[=+\-@\t\r']")
_NUMBER = re.compile(r"[+-](?:[0-9]+(?:[.,][0-9]*)?|[.,][0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_GUARDED = r"^'[=+\-@\t\r']"


def guarded(cell: str) -> str:
    """The cell as it is safe in a spreadsheet."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.match(cell) else cell


def unguarded(cells: pa.StringArray) -> pa.StringArray:
    """The cells without what `guarded` put in front of them."""
    marked = pc.match_substring_regex(cells, _GUARDED)
    return pc.if_else(marked, pc.utf8_slice_codeunits(cells, 1), cells) if pc.any(marked).as_py() else cells
