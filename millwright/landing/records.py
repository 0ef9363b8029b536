"""Finds where the records of CSV bytes begin and end, with exact line numbers, also around quoted newlines.

Belongs here: quotes and line ends, vectorised. Does not: cells (csv.py lets DuckDB split them), files.

A quote opens a quoted cell only at the cell's beginning and a closing one must end the cell (RFC 4180). Where every quote of a
block is regular in this sense, a newline ends a record exactly if an even number of quotes precedes it. A block with an irregular
quote is walked record by record: the line with the irregular quote is no row by itself, and reading goes on at the next line, so
that an unclosed quote costs one line and not the rest of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
MAX_RECORD = 4 * 1024 * 1024
"""A record that is longer is taken for an unclosed quote."""
_LF, _CR, _QUOTE = 10, 13, 34


@dataclass(frozen=True)
class Records:
    """Records of a block: start, end (without the line end), next start, all in bytes; lines before each; irregular ones."""

    starts: Ints
    ends: Ints
    nexts: Ints
    lines: Ints
    irregular: npt.NDArray[np.bool_]


def split(data: bytes, delimiter: str, *, last: bool) -> tuple[Records, int, int]:
    """Records of `data`, blank lines left out; bytes used; newlines in them.

    `last`: nothing follows, so what has no line end is a record too. Otherwise an unfinished record is left for the next block
    (bytes used < len(data)); 0 bytes used means that the block is too short for its first record.
    """
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(bytes_ == _LF)
    quotes = np.flatnonzero(bytes_ == _QUOTE)
    if quotes.size and not _regular(bytes_, quotes, ord(delimiter), last=last):
        nexts, irregular = _walk(data, delimiter, last=last)
    else:
        nexts = newlines[np.searchsorted(quotes, newlines) % 2 == 0] + 1 if quotes.size else newlines + 1
        if last and len(data) and (not nexts.size or nexts[-1] < len(data)):
            nexts = np.append(nexts, len(data))
        irregular = np.zeros(len(nexts), dtype=np.bool_)
        if not last and len(data) - (int(nexts[-1]) if nexts.size else 0) > MAX_RECORD:
            nexts, irregular = _walk(data, delimiter, last=last)
    if not nexts.size:
        return _records(bytes_, newlines, nexts, irregular), 0, 0
    used = int(nexts[-1])
    return _records(bytes_, newlines, nexts, irregular), used, int(np.searchsorted(newlines, used))


def _records(data: npt.NDArray[np.uint8], newlines: Ints, nexts: Ints, irregular: npt.NDArray[np.bool_]) -> Records:
    starts = np.concatenate(([0], nexts[:-1])).astype(np.int64) if nexts.size else nexts.astype(np.int64)
    ends = nexts.astype(np.int64)
    for end in (_LF, _CR):
        ends = ends - ((ends > starts) & (data[np.maximum(ends, 1) - 1] == end)) if nexts.size else ends
    kept = ends > starts
    lines = np.searchsorted(newlines, starts)
    return Records(starts[kept], ends[kept], nexts[kept].astype(np.int64), lines[kept], irregular[kept])


def _regular(data: npt.NDArray[np.uint8], quotes: Ints, delimiter: int, *, last: bool) -> bool:
    if last and quotes.size % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening == 0, _LF, data[np.maximum(opening, 1) - 1])
    after = np.where(closing == data.size - 1, _LF, data[np.minimum(closing + 1, data.size - 1)])
    begins = np.isin(before, (delimiter, _LF))
    begins[1:] |= opening[1:] == closing[: opening.size - 1] + 1  # a doubled quote inside a quoted cell
    ends = np.isin(after, (delimiter, _LF, _CR))
    ends[: opening.size - 1] |= opening[1:] == closing[: opening.size - 1] + 1
    return bool(begins.all() and ends.all())


def _walk(data: bytes, delimiter: str, *, last: bool) -> tuple[Ints, npt.NDArray[np.bool_]]:
    mark = re.escape(delimiter.encode())
    cell = rb'(?:"(?:[^"]|"")*+"|[^"\n' + mark + rb"]*+)"
    record = re.compile(cell + rb"(?:" + mark + cell + rb")*+\r?(?:\n|\Z)")
    nexts, irregular, at = [], [], 0
    while at < len(data):
        match = record.match(data, at)
        end = match.end() if match else data.find(b"\n", at) + 1
        if not last and (end in (0, len(data)) or (match is None and len(data) - at < MAX_RECORD)):
            break  # perhaps it ends in the next block
        nexts.append(end or len(data))
        irregular.append(match is None)
        at = nexts[-1]
    return np.array(nexts, dtype=np.int64), np.array(irregular, dtype=np.bool_)
