"""Finds the dialect of a file from its first lines, where it is certain.

Belongs here: the evidence for a dialect. Does not: dialects (dialect.py), what the lines mean (structure.py).

What is declared is taken. Of the rest: the delimiter is the one of `, ; tab |` that cuts most of the first lines into as many
cells as the header; where two of them do so for every line, the file is refused. Spaces after it are left out if each delimiter
has them. Single quotes, backslash escapes and spaces as delimiter are taken only where they make every line fit and the plain
reading does not.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from millwright.definitions.datasets import Format
from millwright.landing.dialect import Dialect
from millwright.landing.records import begins, split
from millwright.landing.rows import Refused
from millwright.landing.structure import like_header

_DELIMITERS = (",", ";", "\t", "|")
_LINES = 200
_FEWEST_SPACED = 3


@dataclass(frozen=True)
class Fit:
    """How a dialect cuts the first lines: cells of each (0: cannot be cut), the most frequent number, its share of the lines.

    `header`: the first line with that number is the first of all, or looks like a header with something before it.
    """

    dialect: Dialect
    counts: tuple[int, ...]
    usual: int
    share: float
    header: bool

    @property
    def perfect(self) -> bool:
        """Every line has the same number of cells, more than one."""
        return self.share == 1 and self.usual > 1

    @property
    def score(self) -> tuple[float, bool, int]:
        """What makes one delimiter more likely than another."""
        first = self.counts[0] if self.counts else 0
        return (self.share, first == self.usual, self.usual) if self.usual > 1 and self.header else (0, False, first)


def sniff(sample: bytes, form: Format, *, whole: bool) -> Dialect:
    """The dialect of UTF-8 bytes that begin with the header (`whole`: they are all there is). Raises Refused when two fit."""
    declared = form.delimiter or ""
    base = Dialect(
        declared[:1] or ",",
        len(declared) > 1,
        '"' if form.quote is None else form.quote,
        form.escape or "double",
        form.comment or "",
    )
    found = _best(sample, [base] if declared else [replace(base, delimiter=d) for d in _DELIMITERS], whole=whole)
    candidates = [found.dialect.delimiter] if declared else _DELIMITERS
    if not found.perfect or _all_single(sample, found.dialect):
        if form.quote is None and (single := _only(sample, candidates, replace(base, quote="'"), whole=whole, needs=b"'")):
            found = single
        elif form.escape is None and (
            backslash := _only(sample, candidates, replace(base, escape="backslash"), whole=whole, needs=b"\\")
        ):
            found = backslash
    if declared:
        return found.dialect
    if found.score[2] > 1:
        return _spaced(sample, found, whole=whole)
    spaces = [fit(sample, replace(base, delimiter=" ", spaces=spaces), whole=whole) for spaces in (False, True)]
    certain = [one for one in spaces if one.perfect and one.usual >= _FEWEST_SPACED and len(one.counts) > 1]
    return certain[0].dialect if certain else replace(base, delimiter=",")


def fit(sample: bytes, dialect: Dialect, *, whole: bool) -> Fit:
    """Cut the first lines by a dialect."""
    lines = [cells for _, cells in first_lines(sample, dialect, whole=whole)]
    if not lines:
        return Fit(dialect, (), 0, 0, False)
    counts = tuple(map(len, lines))
    usual, times = Counter(counts).most_common(1)[0]
    at = counts.index(usual)
    return Fit(dialect, counts, usual, times / len(counts), at == 0 or like_header(lines[at]))


def first_lines(sample: bytes, dialect: Dialect, *, whole: bool) -> Iterable[tuple[int, list[str]]]:
    """Line (0 = the first) and cells of the first records; of one that cannot be cut, no cells. Comments are left out."""
    cut = _enough(sample)
    records, _, _ = split(cut, dialect, last=whole and len(cut) == len(sample))
    if not len(records):
        records, _, _ = split(sample, dialect, last=True)
    if dialect.comment:
        records = records.where(~begins(sample, records, dialect.comment.encode()))
    for index in range(min(len(records), _LINES)):
        text = sample[int(records.starts[index]) : int(records.ends[index])]
        cells: list[str] = []
        if not records.irregular[index]:
            try:
                cells = dialect.cells(text.decode("utf-8", errors="replace"))
            except csv.Error:
                cells = []
        yield int(records.lines[index]), cells


def _enough(sample: bytes) -> bytes:
    """As much of the sample as surely holds the lines that are looked at."""
    at = 0
    for _ in range(_LINES * 4):
        at = sample.find(b"\n", at) + 1
        if not at:
            return sample
    return sample[: max(at, 16_384)]


def _best(sample: bytes, dialects: Iterable[Dialect], *, whole: bool) -> Fit:
    fits = [fit(sample, dialect, whole=whole) for dialect in dialects]
    perfect = [one for one in fits if one.perfect and len(one.counts) > 1]
    if len(perfect) > 1:
        told = " and ".join(repr(one.dialect.delimiter) for one in perfect)
        raise Refused(
            f"Both {told} cut every line into equally many cells. Nothing was loaded; name the delimiter with --delimiter."
        )
    return max(fits, key=lambda one: one.score)


def _only(sample: bytes, delimiters: Iterable[str], base: Dialect, *, whole: bool, needs: bytes) -> Fit | None:
    """The one delimiter with which this rarer dialect makes every line fit."""
    if needs not in sample:
        return None
    fits = [fit(sample, replace(base, delimiter=delimiter), whole=whole) for delimiter in delimiters]
    perfect = [one for one in fits if one.perfect]
    return perfect[0] if len(perfect) == 1 else None


def _all_single(sample: bytes, dialect: Dialect) -> bool:
    """Every name of the header stands in single quotes."""
    _, names = next(iter(first_lines(sample, dialect, whole=True)), (0, []))
    stripped = [name.strip(" ") for name in names]
    return bool(names) and all(len(name) > 1 and name[0] == name[-1] == "'" for name in stripped)


def _spaced(sample: bytes, found: Fit, *, whole: bool) -> Dialect:
    mark = re.escape(found.dialect.delimiter.encode())
    spaced = replace(found.dialect, spaces=True)
    if re.search(mark + rb" ", sample) is None:
        return found.dialect
    if re.search(mark + rb"(?! |\r?\n|\Z)", sample) is None:
        return spaced
    if not found.perfect and fit(sample, spaced, whole=whole).perfect:
        return spaced
    return found.dialect
