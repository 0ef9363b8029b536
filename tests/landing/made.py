"""Inputs of the matrix that are too large to be kept as files: each function gives the bytes of one file.

Belongs here: bytes. Does not: what must become of them (files/<case>/).
"""

from __future__ import annotations

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
