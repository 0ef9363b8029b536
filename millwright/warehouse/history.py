"""Writes a view's history: stage what was computed, compare it with what is current, insert and supersede only what differs.

Belongs here: versions, tiles and state of a view, inside the caller's transaction. Does not: what is computed (features/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from millwright.warehouse import statements
from millwright.warehouse.copy import copy_in
from millwright.warehouse.read import TileRange, tile_match
from millwright.warehouse.tables import ViewTables, columns, key_column

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DayCount:
    """What became of the rows of one UTC day."""

    day: date
    inserted: int
    superseded: int
    retracted: int
    unchanged: int
    first_event: datetime | None
    last_event: datetime | None


def next_created(conn: psycopg.Connection[Any], view_id: str) -> datetime:
    """The view's clock, moved: greater than every created and superseded timestamp of its rows."""
    row = conn.execute(statements.load("next_created"), {"view_id": view_id}).fetchone()
    assert row is not None
    created: datetime = row[0]
    return created


def finish(conn: psycopg.Connection[Any], view_id: str, watermark: datetime) -> None:
    """Move the refresh watermark and believe the tiles."""
    conn.execute(statements.load("finish_refresh"), {"view_id": view_id, "watermark": watermark})


def open_stage(conn: psycopg.Connection[Any], tables: ViewTables, tolerances: Sequence[str]) -> None:
    """Make the transaction's temporary tables. `tolerances`: features that come with a column `tolerance:<feature>`."""
    extra = [sql.SQL(", {} double precision").format(sql.Identifier(f"tolerance:{name}")) for name in tolerances]
    conn.execute(
        statements.load("stage").format(
            key_columns=columns({**tables.keys}, " not null"),
            feature_columns=columns(tables.features),
            tolerance_columns=sql.Composed(extra),
        )
    )


def write_versions(
    conn: psycopg.Connection[Any],
    tables: ViewTables,
    segments: pa.Table,
    computed: pa.Table,
    created: datetime,
    tolerances: Sequence[str],
) -> list[DayCount]:
    """Make the current rows of `segments` (segment, keys, first_event, end_event) equal `computed` (entity_id = segment,
    event_timestamp, known_timestamp, features, tolerances). A row within its tolerance stays as it is.
    """
    conn.execute(statements.load("empty_stage"))
    copy_in(conn, sql.Identifier("refreshed"), segments)
    copy_in(conn, sql.Identifier("recomputed"), computed)
    conn.execute(statements.load("analyze_stage"))
    keys = list(tables.keys)
    names = {
        "history": tables.history,
        "keys": _list([sql.Identifier(name) for name in keys]),
        "segment_keys": _list([sql.Identifier("s", name) for name in keys]),
        "key_match": sql.SQL(" and ").join(
            sql.SQL("{} = {}").format(sql.Identifier("h", name), sql.Identifier("s", name)) for name in keys
        ),
        "same": sql.SQL(" and ").join(_same(name, name in tolerances) for name in tables.compared),
        "feature_names": _list([sql.Identifier(name) for name in tables.features]),
        "staged_features": _list([sql.Identifier("n", name) for name in tables.features]),
    }
    conn.execute(statements.load("compare").format(**names))
    conn.execute(statements.load("supersede").format(**names).as_string(conn), {"created": created})
    conn.execute(statements.load("insert_versions").format(**names).as_string(conn), {"created": created})
    return [DayCount(*row) for row in conn.execute(statements.load("count_compared"))]


def write_tiles(conn: psycopg.Connection[Any], tables: ViewTables, ranges: Sequence[TileRange], tiles: pa.Table) -> int:
    """Replace the tiles of `ranges` by `tiles` (k_<key>…, tile_us, tile, partials); returns how many were written."""
    if ranges:
        conn.execute(statements.load("delete_tiles").format(tiles=tables.tiles, **tile_match(tables, ranges)))
    return copy_in(conn, tables.tiles, tiles)


def clear_tiles(conn: psycopg.Connection[Any], tables: ViewTables) -> None:
    """Forget every tile of the view."""
    conn.execute(statements.load("clear_tiles").format(tiles=tables.tiles))


def preview(conn: psycopg.Connection[Any], tables: ViewTables, created: datetime) -> list[dict[str, Any]]:
    """At most ten of the versions that were created at `created`."""
    names = [*tables.keys, "event_timestamp", "known_timestamp", *tables.features]
    query = statements.load("preview").format(history=tables.history, columns=_list([sql.Identifier(name) for name in names]))
    return [dict(zip(names, row, strict=True)) for row in conn.execute(query.as_string(conn), {"created": created})]


def tile_columns(tables: ViewTables) -> list[str]:
    """Columns of the tile table in the order that write_tiles wants."""
    return [*(key_column(name) for name in tables.keys), "tile_us", "tile", *(partial.column for partial in tables.partials)]


def _same(name: str, tolerant: bool) -> sql.Composed:
    new, old = sql.Identifier("n", name), sql.Identifier("c", name)
    if not tolerant:
        return sql.SQL("{} is not distinct from {}").format(new, old)
    within = sql.SQL("coalesce(abs({} - {}) <= {}, false)").format(new, old, sql.Identifier("n", f"tolerance:{name}"))
    return sql.SQL("({} is not distinct from {} or {})").format(new, old, within)


def _list(parts: list[sql.Identifier]) -> sql.Composed:
    return sql.SQL(", ").join(parts)
