"""The DuckDB in memory that splits and casts text: one a process, because opening one takes longer than a small file.

Belongs here: its connections. Does not: what is asked of them (csv.py, casts.py).
"""

from __future__ import annotations

from functools import cache

import duckdb


def cursor() -> duckdb.DuckDBPyConnection:
    """A connection of its own, with its own temporary tables; close it. Calls run on the caller's thread alone."""
    return _database().cursor()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect()
    database.execute("set threads = 1")
    return database
