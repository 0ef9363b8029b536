"""Inputs of the matrix that are too large to be kept as files: each function gives the bytes of one file.

Belongs here: bytes. Does not: what must become of them (files/<case>/).
"""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

_HEADER = "timestamp,machine_id,sensor_type,"


def large_cell() -> bytes:
    """A cell of 3 MB between two plain rows."""
    rows = [("2026-03-01T00:00:00Z", "a"), ("2026-03-01T00:01:00Z", "x" * 3_000_000), ("2026-03-01T00:02:00Z", "b")]
    return (f"{_HEADER}status\n" + "".join(f"{at},m1,press,{text}\n" for at, text in rows)).encode()


def many_columns() -> bytes:
    """5,000 columns that no definition has, and a row that lacks one."""
    names = ",".join(f"r{number}" for number in range(4997))
    values = ",".join(map(str, range(4997)))
    row = "2026-03-01T00:0{}:00Z,m1,press,{}\n"
    return (f"{_HEADER}{names}\n" + row.format(0, values) + row.format(1, values.removesuffix(",4996"))).encode()


@cache
def gzip_bomb() -> bytes:
    """A hundred megabytes of one row in a hundred kilobytes."""
    row = b"2026-03-01T00:00:00Z,m1,press,1\n"
    packer = zlib.compressobj(wbits=31)
    parts = [packer.compress(f"{_HEADER}temperature\n".encode())]
    parts += [packer.compress(row * 32_768) for _ in range(100)]
    return b"".join([*parts, packer.flush()])


@cache
def zstd_bomb() -> bytes:
    """A hundred megabytes of one row in ten kilobytes."""
    row = b"2026-03-01T00:00:00Z,m1,press,1\n"
    packer = zstandard.ZstdCompressor().compressobj()
    parts = [packer.compress(f"{_HEADER}temperature\n".encode())]
    parts += [packer.compress(row * 32_768) for _ in range(100)]
    return b"".join([*parts, packer.flush()])


def row_beyond_measure() -> bytes:
    """A row of 6 MB, more than max_record_bytes."""
    return f"{_HEADER}status\n2026-03-01T00:00:00Z,m1,press,{'x' * 6_000_000}\n".encode()


def xlsx() -> bytes:
    """A spreadsheet, as far as its first bytes tell."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
        file.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return out.getvalue()


def parquet() -> bytes:
    """A Parquet file of one column."""
    out = io.BytesIO()
    pq.write_table(pa.table({"temperature": [1.0]}), out)
    return out.getvalue()


@cache
def noise() -> bytes:
    """Bytes without any order."""
    return random.Random(4).randbytes(5_000)
