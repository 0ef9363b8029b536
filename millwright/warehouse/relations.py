"""The three tables that deliveries land in, of one shape: series, event timestamp, values, batch, position, sources.

Belongs here: their names, put into the templates of sql/. Does not: what a dataset says (definitions/), the statements.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from psycopg import sql

from millwright.warehouse import statements


class Relation(StrEnum):
    """A target of deliveries; its value is what `warehouse.series` and `warehouse.changes` call it."""

    MEASUREMENTS = "measurements"
    EVENTS = "events"
    FEATURE_SETS = "feature_sets"


_NAMES = {
    Relation.MEASUREMENTS: ("measurements", "measurements_history", "readings"),
    Relation.EVENTS: ("event_rows", "event_rows_history", "attributes"),
    Relation.FEATURE_SETS: ("feature_set_rows", "feature_set_rows_history", "features"),
}


@cache
def statement(name: str, relation: Relation) -> sql.Composed:
    """The template `sql/<name>.sql` for one relation: {rows} and {history} are tables of the schema warehouse, {values} is the
    column of the values, {relation} the relation's own name. Values are named placeholders."""
    rows, history, values = _NAMES[relation]
    return statements.load(name).format(
        rows=sql.Identifier(rows),
        history=sql.Identifier(history),
        values=sql.Identifier(values),
        relation=sql.Literal(relation.value),
    )


def table_of(relation: Relation) -> tuple[sql.Identifier, str]:
    """The relation's table, and the column of its values."""
    rows, _, values = _NAMES[relation]
    return sql.Identifier("warehouse", rows), values
