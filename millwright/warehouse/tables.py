"""The tables of one feature view: the only DDL that is made from definitions.

Belongs here: names and types of a view's relations. Does not: rows (history.py, tiles.py), other tables (migrations/).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.base import KeyType, ReadingType
from millwright.definitions.partials import Partial, partials
from millwright.warehouse import statements

SQL_TYPES: dict[ReadingType, str] = {"double": "double precision", "int64": "bigint", "string": "text", "bool": "boolean"}


@dataclass(frozen=True)
class ViewTables:
    """Relations and columns of a view version."""

    definitions: Definitions
    view: FeatureView

    @property
    def history(self) -> sql.Identifier:
        """features.<id>_history: every version of every row."""
        return sql.Identifier("features", f"{self.view.id}_history")

    @property
    def current(self) -> sql.Identifier:
        """features.<id>: the current rows."""
        return sql.Identifier("features", self.view.id)

    @property
    def tiles(self) -> sql.Identifier:
        """features.<id>_tiles: a private cache."""
        return sql.Identifier("features", f"{self.view.id}_tiles")

    @cached_property
    def keys(self) -> dict[str, KeyType]:
        """Join keys and types in the order of every key array."""
        entity = self.definitions.entity_of(self.view)
        return {name: entity.join_keys[name] for name in entity.keys}

    @cached_property
    def features(self) -> dict[str, ReadingType]:
        """Feature columns and types, in the view's order."""
        return {feature.name: self.definitions.feature_type(self.view, feature) for feature in self.view.features}

    @cached_property
    def compared(self) -> tuple[str, ...]:
        """Features whose values say whether a row differs. An expression's follows from the others of its row, so it stays with
        them."""
        return tuple(feature.name for feature in self.view.features if feature.expression is None)

    @cached_property
    def partials(self) -> tuple[Partial, ...]:
        """Columns of the tiles."""
        return partials(self.definitions, self.view)


def key_column(name: str) -> str:
    """A join key's column in the tiles, where partials have names of their own."""
    return f"k_{name}"


def create_view_tables(owner_conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> None:
    """Make a view's history, current rows, tiles and state row where they are missing; in one transaction, idempotent.

    `owner_conn`: role owner. Comments follow the definitions. A missing tile table is made
    empty and marked as not to be believed. What is whole is not locked: a refresh that runs is not waited for.
    """
    tables = ViewTables(definitions, view)
    names = {"view_id": view.id, "hash": view.content_hash(), "current": f"features.{view.id}"}
    names |= {name: f"features.{view.id}_{name}" for name in ("history", "tiles")}
    with owner_conn.transaction():
        # Even `if not exists` locks what exists, against the order in which a refresh locks.
        if owner_conn.execute(statements.load("view_is_whole"), names).fetchone() != (True,):
            # Marks the tiles first: `if not exists` would hide that they were missing.
            owner_conn.execute(statements.load("create_state"), names)
            owner_conn.execute(statements.load("create_history").format(**_names(tables)))
            owner_conn.execute(statements.load("create_tiles").format(**_names(tables)))
        for comment in _comments(tables):
            owner_conn.execute(comment)


def _names(tables: ViewTables) -> dict[str, sql.Composable]:
    identifiers = sql.SQL(", ").join(sql.Identifier(name) for name in tables.keys)
    tile_keys = sql.SQL(", ").join(sql.Identifier(key_column(name)) for name in tables.keys)
    typed: dict[str, ReadingType] = {**tables.keys}
    return {
        "history": tables.history,
        "current": tables.current,
        "tiles": tables.tiles,
        "keys": identifiers,
        "key_columns": columns(typed, " not null"),
        "feature_columns": columns(tables.features),
        "feature_names": sql.SQL(", ").join(sql.Identifier(name) for name in tables.features),
        "tile_keys": tile_keys,
        "tile_key_columns": columns({key_column(name): kind for name, kind in typed.items()}, " not null"),
        "partial_columns": sql.Composed([sql.SQL(", ") + columns({partial.column: partial.type}) for partial in tables.partials]),
        "index_current": sql.Identifier(f"{tables.view.id}_current"),
        "index_created": sql.Identifier(f"{tables.view.id}_created"),
        "index_superseded": sql.Identifier(f"{tables.view.id}_superseded"),
    }


def columns(types: dict[str, ReadingType], suffix: str = "") -> sql.Composed:
    """`name type suffix, …` for DDL."""
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(sql.Identifier(name), sql.SQL(SQL_TYPES[kind]), sql.SQL(suffix)) for name, kind in types.items()
    )


def _comments(tables: ViewTables) -> list[sql.Composed]:
    view, definitions = tables.view, tables.definitions
    found = []
    relations = (("view", tables.current, "current rows"), ("table", tables.history, "every version of every row"))
    for kind, relation, what in relations:
        text = f"{view.description} ({what})" if view.description else what
        found.append(sql.SQL("comment on {} {} is {}").format(sql.SQL(kind), relation, sql.Literal(text)))
    for relation in (tables.current, tables.history):
        schema_table = relation._obj
        for feature in view.features:
            unit = definitions.feature_unit(view, feature)
            text = f"{feature.description} [{unit}]".strip() if unit else feature.description
            column = sql.Identifier(*schema_table, feature.name)
            found.append(sql.SQL("comment on column {} is {}").format(column, sql.Literal(text)))
    return found
