"""Reads a CSV as text, a bounded block at a time: every line with its number and its bytes.

Belongs here: the order of reading one file, and which lines are no rows. Does not: what a cell means (mapping.py, rules.py); and
each step has its module: unpack.py (gzip, zstd), encoding.py, top.py (dialect, header), records.py (lines), cells.py (columns).

`originals` and rejected lines give the bytes as they came: of a packed file the unpacked bytes; of another encoding than UTF-8
the text encoded again, which is exact where the encoding writes each character in one way (all but a few of East Asia do).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions.datasets import Format
from millwright.landing import encoding as encodings
from millwright.landing.cells import Cut, Splitter
from millwright.landing.encoding import NAME_IT, Encoding, invalid_at
from millwright.landing.limits import Limits
from millwright.landing.records import Flags, Records, begins, split
from millwright.landing.rows import Block, CellError, Cells, Positions, Refused, Rejected
from millwright.landing.structure import second_table
from millwright.landing.top import Top, check_nul, read_top
from millwright.landing.unpack import Opened, check_digest, open_plain

_BLOCK = 4 * 1024 * 1024
_RARE_BLOCK = 2 * 1024 * 1024
"""Less at once where Python splits: its texts take ten times the bytes."""
_HEAD = 256 * 1024
_LOOKED_AT = 100
_MESSAGES = {
    "quotes": "a quote stands inside a cell, or a quoted cell is not closed: double quotes inside quotes"
    " (if quotes are text in this file, say so: --quote none)",
    "escape": "a backslash stands before a letter, and it is not certain what that means: double the backslash",
    "line_ends": "a carriage return stands in the line, and others end with a newline: quote the cell, or mend the line end",
    "encoding": "the line is not {encoding}: save the file as UTF-8, or name its encoding with --encoding",
}


@dataclass(frozen=True)
class _Held:
    """A block of the file: the numbers of its first and last line, its bytes, where its records are."""

    line: int
    last: int
    data: bytes
    records: Records


class CsvFile:
    """A CSV of the landing zone as a Source. Raises Refused at once for what its first bytes tell, Unavailable if it is lost."""

    unit = "line"

    def __init__(
        self, path: Path, format: Format | None = None, *, sha256: str | None = None, limits: Limits | None = None
    ) -> None:
        self._path, self._sha256 = path, sha256
        self._form, self._limits = format or Format(), limits or Limits()
        self._open()
        self.header: Sequence[str] = self._top.header
        self.units: Mapping[str, str] = self._top.units
        self._parts: list[tuple[int, int, int, int]] = []  # offset, length, first line, last line
        self._recent: tuple[_Held, ...] = ()
        self._rows = self._undecodable = self._footer = 0
        self._comments = self._top.comments

    @property
    def delimiter(self) -> str:
        """The character between cells."""
        return self._top.dialect.delimiter

    @property
    def header_lines(self) -> int:
        """Lines above the first row: what was skipped, the header, the units."""
        return self._top.line

    def facts(self) -> dict[str, Any]:
        """Encoding and dialect as they were read; of what was left out, how many lines."""
        told: dict[str, Any] = {"encoding": self._encoding.name, **self._top.dialect.facts(), "columns": list(self.header)}
        if self._opened.compression:
            told["compression"] = self._opened.compression
        if self._top.macintosh:
            told["line_end"] = "\r"
        for option in ("skip_lines", "units_row", "footer"):
            if value := getattr(self._form, option):
                told[option] = value
        if self._form.header is not None:
            told["header"] = list(self._form.header)
        if self.units:
            told["units"] = dict(self.units)
        if left := {"comments": self._comments, "footer": self._footer}:
            told |= {f"{name}_left_out": count for name, count in left.items() if count}
        return told

    def blocks(self) -> Iterator[Block]:
        """The data lines in order. Raises Refused, naming the line, and Unavailable when the bytes are not the ones received."""
        with tempfile.TemporaryDirectory(prefix="millwright-") as folder:
            splitter = Splitter(self._top.dialect, self._top.width, self._limits, Path(folder))
            try:
                yield from self._blocks(splitter)
            finally:
                splitter.close()

    def originals(self, positions: Positions) -> list[bytes]:
        """The bytes of these lines as they came, without their line ends."""
        found = []
        held: _Held | None = None
        for position in positions.tolist():
            if held is None or not held.line <= position <= held.last:
                held = self._holding(position)
            index = int(np.searchsorted(held.records.lines, position - held.line))
            found.append(self._original(held.data, held.records, index))
        return found

    def _holding(self, position: int) -> _Held:
        """The block of a line: one of the last two, or read again, by pread: another thread may read on."""
        for held in self._recent:
            if held.line <= position <= held.last:
                return held
        offset, length, line, last = next(part for part in self._parts if part[2] <= position <= part[3])
        data = self._native(os.pread(self._opened.file.fileno(), length, offset))
        records, _, _ = split(data, self._top.dialect, last=True, longest=self._limits.record_bytes)
        return _Held(line, last, data, records)

    def _open(self) -> None:
        opened = open_plain(self._path, self._limits, self._sha256)
        head = opened.file.read(_HEAD)
        opened.file.seek(0)
        self._encoding: Encoding = encodings.find(opened.file, head, self._form.encoding)
        opened.file.seek(0)
        if not self._encoding.utf8:
            opened = self._transcoded(opened)
        self._opened = opened
        self._top: Top = read_top(opened.file, self._encoding, self._form, self._limits)

    def _transcoded(self, opened: Opened) -> Opened:
        digest = hashlib.sha256()
        text = cast(BinaryIO, tempfile.TemporaryFile(prefix="millwright-"))  # noqa: SIM115 - it lives as long as the source
        encodings.transcode(opened.file, self._encoding, text, seen=digest.update)
        if not opened.checked:
            check_digest(self._path, digest.hexdigest(), self._sha256)
        return Opened(text, opened.compression, checked=True)

    def _blocks(self, splitter: Splitter) -> Iterator[Block]:
        file, top, digest = self._opened.file, self._top, hashlib.sha256()
        file.seek(0)
        digest.update(file.read(top.begin))
        size = _BLOCK if top.dialect.plain else min(_BLOCK, _RARE_BLOCK)
        carry, line, offset = b"", top.line + 1, top.begin
        while True:
            more = file.read(size)
            digest.update(more)
            data, last = carry + self._native(more), len(more) < size
            if self._footer:
                self._footer += data.count(b"\n") + (last and not data.endswith(b"\n") and bool(data))
                used, newlines = len(data), data.count(b"\n")
            else:
                records, used, newlines = split(data, top.dialect, last=last, longest=self._limits.record_bytes)
                if used:
                    self._parts.append((offset, used, line, line + newlines - (data[used - 1] == 10)))
                    yield from self._block(splitter, data, records, line, used)
                elif len(data) > self._limits.record_bytes + size:
                    raise self._too_long(line)
            carry, line, offset = data[used:], line + newlines, offset + used
            if last:
                break
        if not self._opened.checked:
            check_digest(self._path, digest.hexdigest(), self._sha256)
        if self._undecodable * 2 > self._rows:
            raise Refused(
                f"{self._undecodable:,} of {self._rows:,} lines are not {self._encoding.name.upper()}. "
                f"Nothing was loaded. {NAME_IT}"
            )

    def _block(self, splitter: Splitter, data: bytes, records: Records, line: int, used: int) -> Iterator[Block]:
        check_nul(data[:used], line, self._form)
        self._recent = (_Held(line, self._parts[-1][3], data, records), *self._recent[:1])
        records = self._rows_of(data, records, line, used)
        if not len(records):
            return
        longest = int((records.ends - records.starts).argmax())
        if records.ends[longest] - records.starts[longest] > self._limits.record_bytes:
            raise self._too_long(line + int(records.lines[longest]))
        self._rows += len(records)
        codes = self._unreadable(data, records, line, used)
        kept = np.ones(len(records), dtype=np.bool_)
        kept[list(codes)] = False
        lines = records.lines + line
        rejected = [self._reject(data, records, lines, index, code, self._message(code)) for index, code in codes.items()]
        clean, lines = records.where(kept), lines[kept]
        cut = splitter.cut(data, clean)
        for index, count in cut.ragged.items():
            code = "too_few_cells" if count < self._top.width else "too_many_cells"
            message = f"the line has {count} cells, the header has {self._top.width}"
            rejected.append(self._reject(data, clean, lines, index, code, message))
        kept = np.ones(len(lines), dtype=np.bool_)
        kept[list(cut.ragged)] = False
        at = np.flatnonzero(kept)
        columns, good, nameless = self._columns(cut)
        for index in at[nameless].tolist():
            message = f"a cell stands to the right of the header's {len(self.header)} names"
            rejected.append(self._reject(data, clean, lines, index, "too_many_cells", message))
        yield Block(columns, lines[at[good]], sorted(rejected, key=lambda line: line.position))

    def _rows_of(self, data: bytes, records: Records, line: int, used: int) -> Records:
        """The records without comments and what follows a footer; raises Refused where a second table begins."""
        self._check_tables(data, records, line)
        if marks := [mark.encode() for mark in self._form.footer or []]:
            ends = np.flatnonzero(np.logical_or.reduce([begins(data, records, mark) for mark in marks]))
            if ends.size:
                first = int(ends[0])
                rest = data[int(records.starts[first]) : used]
                self._footer = rest.count(b"\n") + (not rest.endswith(b"\n"))
                records = records.where(slice(0, first))
        if self._top.dialect.comment:
            comments = begins(data, records, self._top.dialect.comment.encode())
            self._comments += int(comments.sum())
            records = records.where(~comments)
        return records

    def _check_tables(self, data: bytes, records: Records, line: int) -> None:
        """Look at lines that begin like the header, and at those after a blank line, if these are few."""
        gaps = np.flatnonzero(records.starts[1:] != records.nexts[:-1]) + 1
        if len(records) and records.starts[0] > 0:
            gaps = np.append(gaps, 0)
        candidates = set(gaps.tolist()) if gaps.size <= _LOOKED_AT else set()
        opening = self._top.opening
        again = np.flatnonzero(begins(data, records, opening)).tolist() if len(opening) > 1 else []
        for index in sorted(candidates.union(again[:_LOOKED_AT])):
            if index + 1 >= len(records) or records.irregular[index : index + 2].any():
                continue
            here, after = (self._cells(data, records, at) for at in (index, index + 1))
            if second_table(self.header, here, after, gap=index in candidates):
                at = line + int(records.lines[index])
                raise Refused(
                    f"A second table begins at line {at} (its header: {', '.join(here)[:60]}). Nothing was loaded; "
                    f"make two files of it: head -n {at - 1} FILE > ONE; tail -n +{at} FILE > TWO."
                )

    def _cells(self, data: bytes, records: Records, index: int) -> list[str]:
        text = data[int(records.starts[index]) : int(records.ends[index])].decode("utf-8", errors="replace")
        return self._top.dialect.cells(text)

    def _unreadable(self, data: bytes, records: Records, line: int, used: int) -> dict[int, str]:
        """Index and code of the records that cannot be split."""
        codes = dict.fromkeys(np.flatnonzero(records.irregular).tolist(), "quotes")
        dialect = self._top.dialect
        if dialect.escape == "backslash" and b"\\" in data:
            for index in np.flatnonzero(~records.irregular).tolist():
                if dialect.unclear(data[int(records.starts[index]) : int(records.ends[index])]):
                    codes[index] = "escape"
        codes |= dict.fromkeys(self._with_carriage_returns(data, records), "line_ends")
        undecodable = self._not_text(data, records, line, used)
        self._undecodable += len(undecodable)
        return codes | dict.fromkeys(undecodable, "encoding")

    def _with_carriage_returns(self, data: bytes, records: Records) -> list[int]:
        if data.count(b"\r") == data.count(b"\r\n"):
            return []
        bytes_ = np.frombuffer(data, dtype=np.uint8)
        at = np.flatnonzero(bytes_ == 13)
        at = at[bytes_[np.minimum(at + 1, len(data) - 1)] != 10]
        found = np.unique(np.searchsorted(records.starts, at, side="right") - 1)
        quote = re.escape(self._top.dialect.quote.encode())
        quoted = re.compile(quote + rb"[^" + quote + rb"]*" + quote) if quote else re.compile(rb"(?!)")
        return [
            index
            for index in found[found >= 0].tolist()
            if b"\r" in quoted.sub(b"", data[int(records.starts[index]) : int(records.ends[index])])
        ]

    def _not_text(self, data: bytes, records: Records, line: int, used: int) -> list[int]:
        found: list[int] = []
        view, begin = memoryview(data)[:used], 0
        while (at := invalid_at(cast(bytes, view[begin:]), last=True)) is not None:
            index = int(np.searchsorted(records.starts, begin + at, side="right")) - 1
            if index >= 0:
                found.append(index)
            begin = int(records.nexts[index]) if index >= 0 else begin + at + 1
        if (
            found
            and not self._undecodable
            and self._form.encoding is None
            and encodings.evidently_windows_1252(self._opened.file)
        ):
            at = line + int(records.lines[found[0]])
            raise Refused(
                f"Line {at} is not UTF-8, and the file looks like Windows-1252. Nothing was loaded; if it is, say so: "
                "--encoding windows-1252."
            )
        return found

    def _columns(self, cut: Cut) -> tuple[dict[str, Cells], Positions, Positions]:
        """The named columns of the rows that have nothing in nameless ones; which rows these are, and which are the others."""
        texts = cut.columns
        if self._top.macintosh:
            texts = [pc.replace_substring(text, "\n", "\r") for text in texts]
        rows = len(texts[0])
        outside: Flags = np.zeros(rows, dtype=np.bool_)
        for text in texts[len(self.header) :]:
            outside |= np.asarray(pc.not_equal(pc.utf8_trim_whitespace(text), "").to_numpy(zero_copy_only=False), dtype=np.bool_)
        good, other = np.flatnonzero(~outside), np.flatnonzero(outside)
        named = texts[: len(self.header)]
        if other.size:
            named = [text.take(pa.array(good)) for text in named]
        return {name: Cells(text) for name, text in zip(self.header, named, strict=True)}, good, other

    def _message(self, code: str) -> str:
        return _MESSAGES[code].format(encoding=self._encoding.name.upper())

    def _reject(self, data: bytes, records: Records, lines: Positions, index: int, code: str, message: str) -> Rejected:
        error: CellError = {"column": "", "code": code, "message": message}
        return Rejected(int(lines[index]), self._original(data, records, index), [error])

    def _original(self, data: bytes, records: Records, index: int) -> bytes:
        text = data[int(records.starts[index]) : int(records.ends[index])]
        return self._encoding.original(text.replace(b"\n", b"\r") if self._top.macintosh else text)

    def _native(self, data: bytes) -> bytes:
        """The bytes with newlines at the lines' ends."""
        if not self._top.macintosh:
            return data
        if b"\n" in data:
            raise Refused(
                "Lines end with a carriage return at first and with a newline later. Nothing was loaded. "
                "Give every line one line end: tr '\\r' '\\n' < FILE > NEW."
            )
        return data.replace(b"\r", b"\n")

    def _too_long(self, line: int) -> Refused:
        return Refused(
            f"Line {line} begins a row of more than {self._limits.record_bytes:,} bytes (setting max_record_bytes). "
            "Nothing was loaded; look for a quote that is not closed, or for other line ends."
        )
