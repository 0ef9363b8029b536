"""What every table can be asked: its columns, its unique key, whether it has rows.

Belongs here: questions that hold for any table. Does not: what the answers should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from millwright.checks.result import Seen

Relation = tuple[str, str]  # schema, name

_COLUMNS = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped
"""
_UNIQUE = """
select array(
  select a.attname::text from unnest(i.indkey) with ordinality as k(attnum, place)
  join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum order by place
) from pg_index i where i.indrelid = to_regclass(%s) and i.indisunique and i.indisvalid and i.indexprs is null
"""


def name(relation: Relation) -> str:
    """`schema.name`, for people."""
    return ".".join(relation)


def schema(conn: psycopg.Connection[Any], relation: Relation, expected: Mapping[str, str]) -> Seen:
    """Every column of `expected` (name → type as Postgres prints it) is there with that type."""
    found = dict(conn.execute(_COLUMNS, [_regclass(relation)]).fetchall())
    wrong = [
        {"column": column, "observed": found.get(column, "missing"), "expected": kind}
        for column, kind in expected.items()
        if found.get(column) != kind
    ]
    observed = f"{len(expected) - len(wrong)} of {len(expected)} columns as declared" if found else "the table is missing"
    return Seen(not wrong, observed, f"{len(expected)} columns as declared in {name(relation)}", offending=wrong)


def unique_key(conn: psycopg.Connection[Any], relation: Relation, key: Sequence[str]) -> Seen:
    """A valid unique index has exactly the columns `key`."""
    keys = [list(columns) for (columns,) in conn.execute(_UNIQUE, [_regclass(relation)])]
    observed = "; ".join(", ".join(columns) for columns in keys) or "no unique index"
    return Seen(any(set(columns) == set(key) for columns in keys), observed, f"a unique index on {', '.join(key)}")


def non_empty(conn: psycopg.Connection[Any], relation: Relation) -> Seen:
    """There is at least one row."""
    row = conn.execute(sql.SQL("select exists (select from {})").format(sql.Identifier(*relation))).fetchone()
    assert row is not None
    return Seen(bool(row[0]), "rows" if row[0] else "no row", "at least one row")


def _regclass(relation: Relation) -> str:
    return sql.Identifier(*relation).as_string(None)
