"""Reads the top of a file: line ends, dialect, header, units, and where the rows begin.

Belongs here: the first lines of one file, as declared or as found. Does not: the evidence (sniff.py, structure.py), rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from millwright.definitions.datasets import Format
from millwright.landing import header as headers
from millwright.landing import structure
from millwright.landing.dialect import Dialect
from millwright.landing.encoding import NAME_IT, Encoding, invalid_at
from millwright.landing.limits import Limits
from millwright.landing.records import Records, begins, split
from millwright.landing.rows import Refused
from millwright.landing.sniff import first_lines, sniff

_SAMPLE = 256 * 1024
_MORE = 1024 * 1024
_FEWEST = 4
_LONE_CR = (
    "Line {line} has a carriage return without a newline, and other lines end with a newline. Nothing was loaded. "
    "Give every line one line end: tr '\\r' '\\n' < FILE > NEW."
)


@dataclass(frozen=True)
class Top:
    """How a file's rows are to be read.

    `begin`, `line`: the byte at which the rows begin, and the lines before it. `width`: cells of a row, more than the header's
    names when nameless ones follow. `opening`: how the header begins in the file, with the first delimiter. `comments`: comment
    lines above the rows.
    """

    dialect: Dialect
    header: list[str]
    width: int
    units: dict[str, str]
    begin: int
    line: int
    opening: bytes
    macintosh: bool
    comments: int


def read_top(file: BinaryIO, encoding: Encoding, form: Format, limits: Limits) -> Top:
    """The top of a file of UTF-8 (after a mark). Raises Refused, naming what is wrong or what to declare."""
    skip = encoding.bom if encoding.utf8 else 0
    file.seek(skip)
    sample, whole = _sample(file, limits)
    macintosh = b"\r" in sample and b"\n" not in sample
    if macintosh:
        sample = sample.replace(b"\r", b"\n")
    check_nul(sample, 1, form)
    at = _skipped(sample, form.skip_lines or 0)
    table, whole = _before_footer(sample[at:], form, whole=whole)
    if not table.strip(b"\r\n"):
        raise Refused("The file has only blank lines. Nothing was loaded; export it again, with a header and rows.")
    dialect = sniff(table, form, whole=whole)
    records, _, _ = split(table, dialect, last=True, longest=limits.record_bytes)
    comments = begins(table, records, dialect.comment.encode()) if dialect.comment else np.zeros(len(records), dtype=np.bool_)
    remarks, records = records.where(comments), records.where(~comments)
    skipped = form.skip_lines or 0
    lines = [(line + skipped, cells) for line, cells in first_lines(table, dialect, whole=whole)]
    if form.header is not None:
        names, width, opening, first = *_declared(form, lines, limits), b"", 0
    else:
        names, width = _found(table, records, lines, limits, skipped, units=form.units_row)
        opening, first = _opening(table, records, dialect), 1
    units: dict[str, str] = {}
    if form.units_row and len(records) > first:
        units = headers.units(names, lines[first][1], lines[first][0] + 1)
        first += 1
    end = int(records.nexts[first - 1]) if first else 0
    return Top(
        dialect,
        names,
        width,
        units,
        skip + at + end,
        skipped + table.count(b"\n", 0, end),
        opening,
        macintosh,
        int((remarks.starts < end).sum()),
    )


def check_nul(data: bytes, line: int, form: Format) -> None:
    """Refuse bytes with a NUL; `line` is the number of their first line."""
    if (at := data.find(b"\0")) >= 0:
        wide = "" if form.encoding else " If it is UTF-16 without its mark, say so: --encoding utf-16-le."
        raise Refused(
            f"Line {line + data.count(10, 0, at)} has a NUL byte: the file is binary or damaged. "
            f"Nothing was loaded; export it again.{wide}"
        )


def _sample(file: BinaryIO, limits: Limits) -> tuple[bytes, bool]:
    """The first bytes with some whole lines, and whether they are all there is."""
    sample = file.read(_SAMPLE)
    while True:
        enough = sample.count(b"\n") + sample.count(b"\r") >= _FEWEST or len(sample) > 2 * limits.record_bytes
        more = file.read(1 if enough else _MORE)
        sample += more
        if enough or not more:
            return sample, not more


def _skipped(sample: bytes, lines: int) -> int:
    at = 0
    for number in range(lines):
        at = sample.find(b"\n", at) + 1
        if not at:
            raise Refused(
                f"--skip-lines {lines} leaves nothing of the file: after line {number + 1} there is none. Nothing was loaded."
            )
    return at


def _before_footer(table: bytes, form: Format, *, whole: bool) -> tuple[bytes, bool]:
    found = [at for mark in form.footer or [] if (at := (b"\n" + table).find(b"\n" + mark.encode())) >= 0]
    return (table[: min(found)], True) if found else (table, whole)


def _declared(form: Format, lines: Sequence[structure.Line], limits: Limits) -> tuple[list[str], int]:
    names = headers.names(form.header or [], limits, line=None)
    rows = [cells for _, cells in lines[1 if form.units_row else 0 :]]
    folded = [name.casefold() for name in names]
    if lines and [cell.strip().casefold() for cell in lines[0][1]] == folded:
        line = lines[0][0] + 1
        raise Refused(
            f"Line {line} has the names that --header gives: the file has its header. Nothing was loaded; leave --header out, "
            f"or leave the line out with --skip-lines {line}."
        )
    counts = {len(cells) for cells in rows}
    if len(counts) == 1 and (found := counts.pop()) != len(names):
        if found > len(names) and not any("".join(cells[len(names) :]).strip() for cells in rows):
            return names, found
        raise Refused(
            f"--header names {len(names)} columns, and every line has {found} cells. Nothing was loaded; name all {found}."
        )
    return names, len(names)


def _found(
    table: bytes,
    records: Records,
    lines: Sequence[structure.Line],
    limits: Limits,
    skipped: int,
    *,
    units: bool | None,
) -> tuple[list[str], int]:
    if not lines:
        raise Refused("The file has only comments. Nothing was loaded; export it again, with a header and rows.")
    text = table[int(records.starts[0]) : int(records.ends[0])]
    line = skipped + int(records.lines[0]) + 1
    if invalid_at(text, last=True) is not None:
        raise Refused(f"The header (line {line}) is not UTF-8. Nothing was loaded. {NAME_IT}")
    if b"\r" in text:
        raise Refused(_LONE_CR.format(line=line))
    if records.irregular[0]:
        raise Refused(
            f"The header (line {line}) has a quote inside a name, or one that is not closed. Nothing was loaded; double quotes "
            "inside quotes, or say how they are written: --quote, --escape backslash."
        )
    structure.check(lines, skipped)
    if units is None:
        structure.check_units(lines)
    cells, below = lines[0][1], [row for _, row in lines[1:]]
    extra = headers.trailing(cells, [row for row in below if len(row) == len(cells)])
    names = headers.names(cells[: len(cells) - extra], limits, line=line)
    width = len(names) if below and all(len(row) == len(names) for row in below) else len(cells)
    return names, width


def _opening(table: bytes, records: Records, dialect: Dialect) -> bytes:
    text = table[int(records.starts[0]) : int(records.ends[0])]
    return text[: text.find(dialect.delimiter.encode()) + 1]
