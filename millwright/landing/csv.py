"""Reads a CSV as text, a bounded block at a time: every line with its number and its bytes.

Belongs here: encoding, header, dialect, splitting into cells by DuckDB. Does not: what a cell means (mapping.py, rules.py).

Where records begin and end is found by records.py; DuckDB gets whole, clean records as VARCHAR, with rejects stored, and
may neither cast, nor skip, nor guess. Its rows and rejects together must be exactly the records, or the file is refused.
"""

from __future__ import annotations

import csv
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from psycopg import sql

from millwright.landing.duck import cursor
from millwright.landing.records import MAX_RECORD, Records, split
from millwright.landing.rows import Block, CellError, Cells, Positions, Refused, Rejected, Unavailable

DELIMITERS = (",", ";", "\t", "|")
_BLOCK = 16 * 1024 * 1024
_SAMPLE = 256 * 1024
_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_MEND = "Save it again as `CSV UTF-8`, or convert it: iconv -f {encoding} -t UTF-8 FILE > NEW."
_LONE_CR = (
    "Line {line} has a carriage return without a newline (old Macintosh line ends). Nothing was loaded. "
    "Convert it: tr '\\r' '\\n' < FILE > NEW."
)
_READ = sql.SQL(
    "select * from read_csv({path}, header=false, auto_detect=false, columns={{{columns}}}, delim={delimiter},"
    " quote='\"', escape='\"', comment='', new_line='\\n', force_not_null=[{names}], nullstr='',"
    " strict_mode=true, null_padding=false, parallel=false,"
    " store_rejects=true, rejects_limit=0, max_line_size={line}, buffer_size={buffer})"
)


class CsvFile:
    """A CSV of the landing zone as a Source. Raises Refused at once for what its first bytes tell."""

    unit = "line"

    def __init__(self, path: Path, *, sha256: str | None = None) -> None:
        self._path = path
        self._sha256 = sha256
        head = self._head()
        self._skip = len(_BOM) if head.startswith(_BOM) else 0
        sample = head[self._skip :]
        self.delimiter = _sniff(sample)
        self.header: Sequence[str] = _header(sample, self.delimiter)
        self._where: list[tuple[Positions, Positions, Positions]] = []

    def facts(self) -> dict[str, Any]:
        """Encoding and dialect as they were read."""
        return {
            "encoding": "utf-8-sig" if self._skip else "utf-8",
            "delimiter": self.delimiter,
            "quote": '"',
            "columns": list(self.header),
        }

    def blocks(self) -> Iterator[Block]:
        """The data lines in order. Raises Refused, naming the line, and Unavailable when the bytes are not the ones received."""
        digest = hashlib.sha256()
        with self._open() as file, tempfile.TemporaryDirectory(prefix="millwright-") as folder, cursor() as reader:
            digest.update(file.read(self._skip))
            carry, line, offset, header = b"", 1, self._skip, True
            while True:
                more = file.read(_BLOCK)
                digest.update(more)
                data, last = carry + more, len(more) < _BLOCK
                records, used, newlines = split(data, self.delimiter, last=last)
                _check(data[:used], line, records)
                if used:
                    yield from self._block(reader, Path(folder), data, records, line, offset, header=header)
                    header = header and not records.starts.size
                carry, line, offset = data[used:], line + newlines, offset + used
                if last:
                    break
        if self._sha256 is not None and digest.hexdigest() != self._sha256:
            raise Unavailable(
                f"{self._path.name} in the landing zone is not what was received (its SHA-256 differs). Deliver the file again."
            )

    def originals(self, positions: Positions) -> list[bytes]:
        """The bytes of these lines as they came, without their line ends."""
        found = []
        with self._open() as file:
            for position in positions:
                for lines, starts, ends in self._where:
                    index = int(np.searchsorted(lines, position))
                    if index < len(lines) and lines[index] == position:
                        file.seek(int(starts[index]))
                        found.append(file.read(int(ends[index] - starts[index])))
                        break
        return found

    def _open(self) -> Any:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise Unavailable(
                f"The landing zone has lost {self._path.name} ({error.strerror}). Deliver the file again."
            ) from error

    def _head(self) -> bytes:
        with self._open() as file:
            head: bytes = file.read(_SAMPLE)
        if not head:
            raise Refused("The file is empty (0 bytes). Nothing was loaded; export it again.")
        for bom, encoding in _OTHER_BOMS.items():
            if head.startswith(bom):
                raise Refused(f"The file is {encoding}, and only UTF-8 is read. {_MEND.format(encoding=encoding)}")
        if head[:2] in (b"PK", b"\x1f\x8b"):
            raise Refused("The file is a zip, gzip or Excel file, not text. Export it as CSV (UTF-8) and deliver that.")
        return head

    def _block(
        self,
        reader: duckdb.DuckDBPyConnection,
        folder: Path,
        data: bytes,
        records: Records,
        line: int,
        offset: int,
        *,
        header: bool,
    ) -> Iterator[Block]:
        first = 1 if header else 0
        records = Records(*(part[first:] for part in vars(records).values()))
        if not records.starts.size:
            return
        lines = records.lines + line
        self._where.append((lines, records.starts + offset, records.ends + offset))
        rejected = [
            _reject(
                data,
                records,
                lines,
                index,
                "quotes",
                "a quote stands inside a cell, or a quoted cell is not closed: double quotes inside quotes",
            )
            for index in np.flatnonzero(records.irregular)
        ]
        clean = Records(*(part[~records.irregular] for part in vars(records).values()))
        lines = lines[~records.irregular]
        text, ragged = self._read(reader, folder, data, clean)
        for index, count in ragged.items():
            code = "too_few_cells" if count < len(self.header) else "too_many_cells"
            message = f"the line has {count} cells, the header has {len(self.header)}"
            rejected.append(_reject(data, clean, lines, index, code, message))
        kept = np.ones(len(lines), dtype=np.bool_)
        kept[list(ragged)] = False
        if text.num_rows != kept.sum():
            raise Refused(
                f"Lines {lines[0]} to {lines[-1]} could not be split into cells with certainty "
                f"({text.num_rows} of {kept.sum()} rows). Nothing was loaded. Check quotes and delimiters, and report the file."
            )
        columns = {name: Cells(column.combine_chunks()) for name, column in zip(self.header, text.columns, strict=True)}
        yield Block(columns, lines[kept], sorted(rejected, key=lambda line: line.position))

    def _read(self, reader: duckdb.DuckDBPyConnection, folder: Path, data: bytes, records: Records) -> tuple[Any, dict[int, int]]:
        path = folder / "block.csv"
        starts = _write_clean(path, data, records)
        names = [f"c{index}" for index in range(len(self.header))]
        query = _READ.format(
            path=sql.Literal(str(path)),
            columns=sql.SQL(", ").join(sql.SQL("{}: 'VARCHAR'").format(sql.Literal(name)) for name in names),
            names=sql.SQL(", ").join(map(sql.Literal, names)),
            delimiter=sql.Literal(self.delimiter),
            line=sql.Literal(MAX_RECORD + 2),
            buffer=sql.Literal(4 * MAX_RECORD),
        )
        for table in ("reject_errors", "reject_scans"):
            reader.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(table)).as_string(None))
        text = reader.sql(query.as_string(None)).to_arrow_table()
        ragged: dict[int, int] = {}
        for at, column, kind, cells in reader.execute(
            "select line_byte_position - 1, max(column_idx), any_value(error_type), any_value(error_message)"
            " from reject_errors group by 1"
        ).fetchall():
            if kind not in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
                raise Refused(f"The file cannot be split into cells: {kind.lower()}. Nothing was loaded.")
            found = re.search(r"Found: ([0-9]+)", cells)
            ragged[int(np.searchsorted(starts, at))] = int(found[1]) if found and kind == "MISSING COLUMNS" else int(column)
        return text, ragged


def _write_clean(path: Path, data: bytes, records: Records) -> Positions:
    """Write the records, each with one newline; returns where each begins in the file.

    DuckDB takes a byte order mark off the beginning of what it reads; a cell that begins with one gets a second to lose.
    """
    first = int(records.starts[0]) if records.starts.size else 0
    mark = _BOM if data.startswith(_BOM, first) else b""
    lengths = records.nexts - records.starts
    if (
        records.starts.size
        and (lengths == records.ends - records.starts + 1).all()
        and lengths.sum() == records.nexts[-1] - records.starts[0]
    ):
        with path.open("wb") as file:
            file.write(mark)
            file.write(memoryview(data)[first : int(records.nexts[-1])])
        return np.asarray(records.starts - first + len(mark))
    edges = np.zeros(len(data) + 1, dtype=np.int8)
    edges[records.starts] += 1
    edges[records.ends] -= 1
    kept = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)
    ends = records.nexts[np.frombuffer(data, dtype=np.uint8)[records.nexts - 1] == 10] - 1
    kept[ends] = True
    path.write_bytes(mark + np.frombuffer(data, dtype=np.uint8)[kept].tobytes() + b"\n")
    lengths = records.ends - records.starts + 1
    return np.asarray(np.cumsum(lengths) - lengths + len(mark))


def _reject(data: bytes, records: Records, lines: Positions, index: Any, code: str, message: str) -> Rejected:
    error: CellError = {"column": "", "code": code, "message": message}
    return Rejected(int(lines[index]), data[int(records.starts[index]) : int(records.ends[index])], [error])


def _check(data: bytes, line: int, records: Records) -> None:
    if (at := data.find(b"\0")) >= 0:
        raise Refused(
            f"Line {line + data.count(10, 0, at)} has a NUL byte: the file is binary or damaged. "
            "Nothing was loaded; export it again."
        )
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = line + data.count(10, 0, error.start)
        raise Refused(
            f"Line {where} is not UTF-8 (byte 0x{data[error.start]:02x}). Nothing was loaded. "
            + _MEND.format(encoding="WINDOWS-1252")
        ) from error
    if data.count(13) != data.count(b"\r\n"):
        for start, end in zip(records.starts.tolist(), records.ends.tolist(), strict=True):
            if data.find(b"\r", start, end) >= 0 and re.search(rb"\r(?!\n)", re.sub(rb'"(?:[^"]|"")*"', b"", data[start:end])):
                raise Refused(_LONE_CR.format(line=line + data.count(10, 0, start)))


def _sniff(sample: bytes) -> str:
    """The delimiter that splits most of the first lines into as many cells as the header; a comma when none does."""
    text = sample.decode("utf-8", errors="replace")
    lines = [line for line in text.split("\n")[:100] if line.strip()]
    if len(sample) == _SAMPLE and len(lines) > 1:
        lines.pop()
    best, score = DELIMITERS[0], (0.0, 1)
    for delimiter in DELIMITERS:
        counts: list[int] = []
        with suppress(csv.Error):
            counts = [len(cells) for cells in csv.reader(lines, delimiter=delimiter)]
        if counts and counts[0] > 1 and (found := (counts.count(counts[0]) / len(counts), counts[0])) > score:
            best, score = delimiter, found
    return best


def _header(sample: bytes, delimiter: str) -> list[str]:
    records, _, _ = split(sample, delimiter, last=True)
    if not records.starts.size:
        raise Refused("The file has only blank lines. Nothing was loaded; export it again, with a header and rows.")
    text = sample[int(records.starts[0]) : int(records.ends[0])]
    if b"\r" in text:
        raise Refused(_LONE_CR.format(line=int(records.lines[0]) + 1))
    try:
        names = [name.strip() for name in next(csv.reader([text.decode("utf-8")], delimiter=delimiter))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"The header cannot be read as UTF-8 text. {_MEND.format(encoding='WINDOWS-1252')}") from error
    if "\0" in "".join(names):
        raise Refused("The header has a NUL byte: the file is binary or damaged. Nothing was loaded; export it again.")
    seen: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise Refused(f"Column {number} of the header has no name. Nothing was loaded; give every column a name.")
        if len(name.encode()) > 63:
            raise Refused(
                f"Column {number} of the header is longer than 63 bytes ({name[:40]}…). Nothing was loaded; shorten it."
            )
        if name.casefold() in seen:
            raise Refused(
                f"The header has {seen[name.casefold()]!r} and {name!r}, which are the same name. Nothing was loaded; rename one."
            )
        seen[name.casefold()] = name
    return names
