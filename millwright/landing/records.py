"""Finds where the records of CSV bytes begin and end, with exact line numbers, also around quoted newlines.

Belongs here: quotes and line ends, vectorised. Does not: cells (cells.py), files (csv.py).

A quote opens a quoted cell only at the cell's beginning and a closing one must end the cell (RFC 4180). Where every quote of a
block is regular in this sense, a newline ends a record exactly if an even number of quotes precedes it. A block with an irregular
quote (or of a rarer dialect) is walked record by record: the line with the irregular quote is no row by itself, and reading goes
on at the next line, so that an unclosed quote costs one line and not the rest of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from millwright.landing.dialect import Dialect

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MAX_RECORD = 4 * 1024 * 1024
"""A quoted cell that is not closed within so many bytes is taken for an unclosed one, unless the reader says otherwise."""
_LF, _CR = 10, 13


@dataclass(frozen=True)
class Records:
    """Records of a block: start, end (without the line end), next start, all in bytes; lines before each; irregular ones."""

    starts: Ints
    ends: Ints
    nexts: Ints
    lines: Ints
    irregular: Flags

    def __len__(self) -> int:
        return len(self.starts)

    def where(self, mask: Flags | slice) -> Records:
        """Some of the records."""
        return Records(*(part[mask] for part in vars(self).values()))


def split(data: bytes, dialect: Dialect, *, last: bool, longest: int | None = None) -> tuple[Records, int, int]:
    """Records of `data`, blank lines left out; bytes used; newlines in them.

    `last`: nothing follows, so what has no line end is a record too. Otherwise an unfinished record is left for the next block
    (bytes used < len(data)); 0 bytes used means that the block is too short for its first record.
    """
    longest = longest or MAX_RECORD
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    newlines = np.flatnonzero(bytes_ == _LF)
    quotes = np.flatnonzero(bytes_ == ord(dialect.quote)) if dialect.quote else newlines[:0]
    if _rare(data, dialect, quotes) or (quotes.size and not _regular(bytes_, quotes, ord(dialect.delimiter), last=last)):
        nexts, irregular = _walk(data, dialect, last=last, longest=longest)
    else:
        nexts = newlines[np.searchsorted(quotes, newlines) % 2 == 0] + 1 if quotes.size else newlines + 1
        if last and len(data) and (not nexts.size or nexts[-1] < len(data)):
            nexts = np.append(nexts, len(data))
        irregular = np.zeros(len(nexts), dtype=np.bool_)
        if not last and quotes.size and len(data) - (int(nexts[-1]) if nexts.size else 0) > longest:
            nexts, irregular = _walk(data, dialect, last=last, longest=longest)
    if not nexts.size:
        return _records(bytes_, newlines, nexts, irregular), 0, 0
    used = int(nexts[-1])
    return _records(bytes_, newlines, nexts, irregular), used, int(np.searchsorted(newlines, used))


def begins(data: bytes, records: Records, mark: bytes) -> Flags:
    """Which records begin with `mark`."""
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    found = np.flatnonzero(records.ends - records.starts >= len(mark))
    for at, byte in enumerate(mark):
        found = found[bytes_[records.starts[found] + at] == byte]
    flags = np.zeros(len(records), dtype=np.bool_)
    flags[found] = True
    return flags


def _rare(data: bytes, dialect: Dialect, quotes: Ints) -> bool:
    """Whether a newline may end or not end a record for another reason than the number of quotes before it."""
    if dialect.escape == "backslash" and b"\\" in data:
        return True
    if not quotes.size:
        return False
    if not dialect.plain:
        return True
    comment, quote = re.escape(dialect.comment.encode()), re.escape(dialect.quote.encode())
    return bool(comment) and re.search(rb"^" + comment + rb"[^\n]*?" + quote, data, re.MULTILINE) is not None


def _records(data: npt.NDArray[np.uint8], newlines: Ints, nexts: Ints, irregular: Flags) -> Records:
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


def _walk(data: bytes, dialect: Dialect, *, last: bool, longest: int) -> tuple[Ints, Flags]:
    record, comment = dialect.record, dialect.comment.encode()
    nexts, irregular, at = [], [], 0
    while at < len(data):
        remark = bool(comment) and data.startswith(comment, at)
        match = None if remark else record.match(data, at)
        end = match.end() if match else data.find(b"\n", at) + 1
        unsure = match is None and not remark and len(data) - at < longest
        if not last and (end in (0, len(data)) or unsure):
            break  # perhaps it ends in the next block
        nexts.append(end or len(data))
        irregular.append(match is None and not remark)
        at = nexts[-1]
    return np.array(nexts, dtype=np.int64), np.array(irregular, dtype=np.bool_)
