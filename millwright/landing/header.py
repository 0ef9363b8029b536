"""The names of a file's columns: what a header may be, and the units below it.

Belongs here: names and units of one header. Does not: finding its line (structure.py), which field a column is (mapping.py).

A name is data: it is quoted wherever it meets SQL, so quotes and semicolons in it do no harm. Refused is what cannot be told
apart or shown: no name, a name twice (also after case folding), more than 63 bytes (what a database keeps of a name), a line
break or another control character. Cells without a name at the end of the header, as of a delimiter that ends every line, are no
columns, unless most of the first lines have something there; a line that has is set aside.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from millwright.landing.limits import Limits
from millwright.landing.rows import Refused

LONGEST_NAME = 63
_OWN = "Rename it in the file, or give the names of all columns: {skip}--header a,b,c{row}."
_NO_UNIT = ("", "-", "--", "n/a", "none")


def trailing(cells: Sequence[str], below: Sequence[Sequence[str]]) -> int:
    """How many cells at the end of the header are no columns: they have no name, and most lines below have nothing there."""
    named = len(cells)
    while named and not cells[named - 1].strip():
        named -= 1
    filled = sum(bool("".join(row[named:]).strip()) for row in below)
    return len(cells) - named if named and filled * 2 <= len(below) else 0


def names(cells: Sequence[str], limits: Limits, *, line: int | None) -> list[str]:
    """The columns' names, stripped. `line`: where the header stands, None when it was declared. Raises Refused."""
    skip = f"--skip-lines {line} " if line else ""
    mend = _OWN.format(skip=skip, row=f" (without --skip-lines {line} if line {line} is no header but a row)" if line else "")
    if len(cells) > limits.columns:
        raise Refused(
            f"The header has {len(cells):,} columns, and {limits.columns:,} are read (setting max_columns). Nothing was loaded; "
            "split the file by columns, or raise the setting."
        )
    found = [cell.strip() for cell in cells]
    seen: dict[str, str] = {}
    for number, name in enumerate(found, 1):
        if not name:
            raise Refused(f"Column {number} of the header has no name. Nothing was loaded. {mend}")
        if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME:
            raise Refused(
                f"Column {number} of the header is longer than {LONGEST_NAME} bytes ({_shown(name)}). Nothing was loaded. {mend}"
            )
        if any(unicodedata.category(character) == "Cc" for character in name):
            raise Refused(
                f"Column {number} of the header has a line break or control character in its name ({_shown(name)}). "
                f"Nothing was loaded. {mend}"
            )
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise Refused(
                f"The header has {_shown(seen[folded])} and {_shown(name)} (column {number}), which are the same name. "
                f"Nothing was loaded. {mend}"
            )
        seen[folded] = name
    return found


def units(header: Sequence[str], cells: Sequence[str], line: int) -> dict[str, str]:
    """Column → unit of a units row; brackets around a unit are left out. Raises Refused when it does not fit the header."""
    if len(cells) > len(header) and not "".join(cells[len(header) :]).strip():
        cells = cells[: len(header)]
    if len(cells) != len(header):
        raise Refused(
            f"Line {line} should hold the units (--units-row), but it has {len(cells)} cells and the header has {len(header)}. "
            "Nothing was loaded; correct the line, or leave --units-row out."
        )
    bare = [bare_unit(cell) for cell in cells]
    return {name: unit for name, unit in zip(header, bare, strict=True) if unit.lower() not in _NO_UNIT}


def bare_unit(cell: str) -> str:
    """A unit without the brackets around it."""
    text = cell.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] + text[-1] in ("[]", "()", "{}", "<>") else text


def _shown(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")
