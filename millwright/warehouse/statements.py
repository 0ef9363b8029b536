"""Reads the SQL files beside it.

Belongs here: finding a statement by its name. Does not: running it, composing it with values.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from psycopg import sql


@cache
def load(name: str) -> sql.SQL:
    """The text of `sql/<name>.sql`, ready to execute; values are named placeholders."""
    return sql.SQL(files("millwright.warehouse").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8"))
