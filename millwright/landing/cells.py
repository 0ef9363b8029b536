"""Splits whole, clean records into columns of text: DuckDB for what RFC 4180 knows, Python's reader for the rarer dialects.

Belongs here: both splitters. Does not: where records begin and end (records.py), what is wrong with a line (csv.py).

Neither may cast, skip or guess: DuckDB gets everything as VARCHAR with rejects stored, and rows and rejects together must be
exactly the records, or the file is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from psycopg import sql

from millwright.landing.dialect import Dialect
from millwright.landing.duck import cursor
from millwright.landing.limits import Limits
from millwright.landing.records import Ints, Records
from millwright.landing.rows import Refused

_BOM, _LF = b"\xef\xbb\xbf", 10
_READ = sql.SQL(
    "select * from read_csv({path}, header=false, auto_detect=false, columns={{{columns}}}, delim={delimiter},"
    " quote={quote}, escape={quote}, comment='', new_line='\\n', force_not_null=[{names}], nullstr='',"
    " strict_mode=true, null_padding=false, parallel=false,"
    " store_rejects=true, rejects_limit=0, max_line_size={line}, buffer_size={buffer})"
)


@dataclass(frozen=True)
class Cut:
    """Columns of the records that have `width` cells, and of the others (by index) how many they have."""

    columns: list[pa.StringArray]
    ragged: dict[int, int]


class Splitter:
    """Splits the records of one file into `width` columns; `folder` is for its temporary files."""

    def __init__(self, dialect: Dialect, width: int, limits: Limits, folder: Path) -> None:
        self._dialect, self._width, self._limits, self._folder = dialect, width, limits, folder
        self._reader = cursor() if dialect.plain else None

    def close(self) -> None:
        """Give back what DuckDB holds."""
        if self._reader is not None:
            self._reader.close()

    def cut(self, data: bytes, records: Records) -> Cut:
        """The cells of regular records of UTF-8. Raises Refused when they cannot be split with certainty."""
        if not len(records):
            return Cut([pa.array([], pa.string())] * self._width, {})
        found = self._by_python(data, records) if self._reader is None else self._by_duckdb(self._reader, data, records)
        if len(found.columns[0]) != len(records) - len(found.ragged):
            raise Refused(
                f"Some lines could not be split into cells with certainty ({len(found.columns[0])} of "
                f"{len(records) - len(found.ragged)} rows). Nothing was loaded. Check quotes and delimiters, and report the file."
            )
        return found

    def _by_python(self, data: bytes, records: Records) -> Cut:
        dialect = self._dialect
        texts = [
            dialect.trimmed(data[start:end].decode())
            for start, end in zip(records.starts.tolist(), records.ends.tolist(), strict=True)
        ]
        try:
            rows: list[list[str]] = list(dialect.reader(texts))
        except csv.Error as error:
            raise Refused(f"The file cannot be split into cells: {error}. Nothing was loaded; report the file.") from error
        if len(rows) != len(texts):
            return Cut([pa.array([], pa.string())] * self._width, {})
        ragged = {index: len(row) for index, row in enumerate(rows) if len(row) != self._width}
        good: Sequence[Sequence[str]] = [row for row in rows if len(row) == self._width]
        columns = zip(*good, strict=True) if good else [()] * self._width
        return Cut([pa.array(column, pa.string()) for column in columns], ragged)

    def _by_duckdb(self, reader: duckdb.DuckDBPyConnection, data: bytes, records: Records) -> Cut:
        path = self._folder / "block.csv"
        starts = _write_clean(path, data, records)
        names = [f"c{index}" for index in range(self._width)]
        query = _READ.format(
            path=sql.Literal(str(path)),
            columns=sql.SQL(", ").join(sql.SQL("{}: 'VARCHAR'").format(sql.Literal(name)) for name in names),
            names=sql.SQL(", ").join(map(sql.Literal, names)),
            delimiter=sql.Literal(self._dialect.delimiter),
            quote=sql.Literal(self._dialect.quote),
            line=sql.Literal(self._limits.record_bytes + 2),
            buffer=sql.Literal(4 * self._limits.record_bytes),
        )
        for table in ("reject_errors", "reject_scans"):
            reader.execute(sql.SQL("drop table if exists {}").format(sql.Identifier(table)).as_string(None))
        try:
            text = reader.sql(query.as_string(None)).to_arrow_table()
        except duckdb.InvalidInputException as error:
            raise Refused(
                f"The file cannot be split into cells ({str(error).splitlines()[0]}). Nothing was loaded; report the file."
            ) from error
        ragged: dict[int, int] = {}
        for at, column, kind, told in reader.execute(
            "select line_byte_position - 1, max(column_idx), any_value(error_type), any_value(error_message)"
            " from reject_errors group by 1"
        ).fetchall():
            if kind not in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
                raise Refused(f"The file cannot be split into cells: {kind.lower()}. Nothing was loaded.")
            found = re.search(r"Found: ([0-9]+)", told)
            ragged[int(np.searchsorted(starts, at))] = int(found[1]) if found and kind == "MISSING COLUMNS" else int(column)
        return Cut([column.combine_chunks() for column in text.columns], ragged)


def _write_clean(path: Path, data: bytes, records: Records) -> Ints:
    """Write the records, each with one newline; returns where each begins in the file.

    DuckDB takes a byte order mark off the beginning of what it reads; a cell that begins with one gets a second to lose.
    """
    first = int(records.starts[0])
    mark = _BOM if data.startswith(_BOM, first) else b""
    lengths, ended = records.nexts - records.starts, data[int(records.nexts[-1]) - 1] == _LF
    alone = bool((lengths == records.ends - records.starts + 1).all())
    if ended and alone and lengths.sum() == records.nexts[-1] - records.starts[0]:
        with path.open("wb") as file:
            file.write(mark)
            file.write(memoryview(data)[first : int(records.nexts[-1])])
        return np.asarray(records.starts - first + len(mark))
    edges = np.zeros(len(data) + 1, dtype=np.int8)
    edges[records.starts] += 1
    edges[records.ends] -= 1
    kept = np.cumsum(edges[:-1], dtype=np.int8).astype(np.bool_)
    kept[(records.nexts if ended else records.nexts[:-1]) - 1] = True
    path.write_bytes(mark + np.frombuffer(data, dtype=np.uint8)[kept].tobytes() + (b"" if ended else b"\n"))
    lengths = records.ends - records.starts + 1
    return np.asarray(np.cumsum(lengths) - lengths + len(mark))
