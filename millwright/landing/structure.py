"""Tells from its first lines when a file is not a header with rows below, and names the option that says what it is.

Belongs here: lines before the header, no header, units below it, a second table. Does not: names (header.py), cells.

Nothing is acted on here: an undeclared preamble, header or units row is only refused, where it is evident. A good file never is:
its first line has as many cells as the lines below, and it is not a row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from millwright.landing.header import bare_unit
from millwright.landing.rows import Refused

Line = tuple[int, list[str]]
_NUMBER = re.compile(r"[+-]?(\d{1,3}([., ' ]\d{3})+|\d+)?([.,]\d+)?([eE][+-]?\d+)?%?")
_TIME = re.compile(
    r"\d{4}-\d\d?-\d\d?([T ]|$)|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d\d)([T ]|$)|\d{4}[./]\d\d?[./]\d\d?([T ]|$)|\d\d?:\d\d(:\d\d)?"
)
_UNIT = re.compile(
    r"(°|º|deg|degree)?\s?(C|F|K|celsius|fahrenheit|kelvin|s)|%|‰|ppm|ppb|rpm|bar|mbar|psi|dB|g|rad|"
    r"[pnuµμmckMGT]?(m|s|g|A|V|W|Hz|Pa|N|J|l|L|Ω|ohm|F|T|Wh|VA|var|bar|min|h|eV|cd|mol|lm|lx)([23²³]|\^[23])?(\s?[/·*.]\s?\w{1,4}[23²³]?)?",
    re.IGNORECASE,
)
_MOST = 0.9
_COMMENTS = "#%;!/*"


def number(cell: str) -> bool:
    """Whether a cell is written like a number."""
    text = cell.strip()
    return any(character.isdigit() for character in text) and _NUMBER.fullmatch(text) is not None


def time(cell: str) -> bool:
    """Whether a cell begins like a date or a time of day."""
    return _TIME.match(cell.strip()) is not None


def like_header(cells: Sequence[str]) -> bool:
    """More than one cell, all different and not empty, none a number or a time."""
    text = [cell.strip() for cell in cells]
    return len(text) > 1 and all(text) and len(set(text)) == len(text) and not any(number(cell) or time(cell) for cell in text)


def check(lines: Sequence[Line], skipped: int) -> None:
    """Look at the first lines of a file whose header is not declared; `skipped` lines were before them. Raises Refused."""
    if not lines:
        return
    _check_preamble(lines, skipped)
    _check_missing(lines)
    _check_excess(lines)


def check_units(lines: Sequence[Line]) -> None:
    """Refuse units below the header that nobody declared; `lines` begin with the header."""
    if len(lines) < 3 or len({len(cells) for _, cells in lines[:3]}) != 1:
        return
    line, cells = lines[1]
    below = [row for _, row in lines[2:] if len(row) == len(cells)]
    measured = [at for at in range(len(cells)) if all(number(row[at]) or not row[at].strip() for row in below)]
    measured = [at for at in measured if any(row[at].strip() for row in below)]
    told = [cells[at].strip() for at in measured]
    if any(number(cell) or time(cell) for cell in cells):
        return
    if any(len(cell) > 24 for cell in told):
        return
    found = [cell for cell in told if cell and (bare_unit(cell) != cell or _UNIT.fullmatch(cell))]
    if found and len(found) * 2 >= len([cell for cell in told if cell not in ("", "-")]):
        shown = ", ".join(found[:3])
        raise Refused(
            f"Line {line + 1} looks like units ({shown}), not like a row. Nothing was loaded; say so with --units-row, "
            "or take the line out."
        )


def second_table(header: Sequence[str], cells: Sequence[str], after: Sequence[str], *, gap: bool) -> bool:
    """Whether `cells` begin another table: a header of its own, with a row `after` it. `gap`: a blank line is before it."""
    if not like_header(cells) or not any(number(cell) or time(cell) for cell in after) or len(after) != len(cells):
        return False
    names = {name.casefold() for name in header}
    own = {cell.strip().casefold() for cell in cells}
    return own != names and (bool(own & names) or (gap and len(cells) != len(header)))


def _check_preamble(lines: Sequence[Line], skipped: int) -> None:
    counts = [len(cells) for _, cells in lines]
    usual, _ = Counter(counts).most_common(1)[0]
    if usual < 2 or counts[0] == usual:
        return
    at = counts.index(usual)
    rest = counts[at:]
    line, cells = lines[at]
    if rest.count(usual) < max(2, _MOST * len(rest)) or not like_header(cells):
        return
    before = f"--skip-lines {line}"
    mark = lines[0][1][0][:1] if lines[0][1] else ""
    if mark and mark in _COMMENTS and all(row and row[0].startswith(mark) for _, row in lines[:at]):
        before += f", or --comment '{mark}'"
    first = skipped + 1
    told = f"line {first}" if line == first else f"lines {first} to {line}"
    raise Refused(
        f"Line {line + 1} looks like the header, and {told} like something before it. Nothing was loaded; give {before}."
    )


def _check_missing(lines: Sequence[Line]) -> None:
    line, cells = lines[0]
    below = [row for _, row in lines[1:] if len(row) == len(cells)]
    for at, cell in enumerate(cells):
        if time(cell) and all(time(row[at]) for row in below):
            shown = ",".join(f"name{column}" for column in range(1, min(len(cells), 4) + 1)) + (",…" if len(cells) > 4 else "")
            raise Refused(
                f"Line {line + 1} should be the header, and it looks like a row ({cell.strip()[:40]!r} is a time). "
                f"Nothing was loaded; give the names of its {len(cells)} columns with --header {shown}."
            )


def _check_excess(lines: Sequence[Line]) -> None:
    counts = {len(cells) for _, cells in lines[1:]}
    have, (line, _) = len(lines[0][1]), lines[0]
    if len(lines) > 2 and len(counts) == 1 and (found := counts.pop()) > have > 0:
        raise Refused(
            f"The header has {have} cells, and every line below has {found}. Nothing was loaded; correct the header, or leave it "
            f"out and give the names of all {found} columns: --skip-lines {line + 1} --header a,b,c."
        )
