"""Reads measurements and tiles as the engine wants them: JSONB becomes typed columns here, once.

Belongs here: the queries and the types. Does not: which stretches are read (features/touched.py), what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from millwright.definitions import FeatureView
from millwright.definitions.base import ReadingType
from millwright.definitions.partials import reading_type
from millwright.warehouse import statements
from millwright.warehouse.copy import ArrowReader
from millwright.warehouse.tables import SQL_TYPES, ViewTables, key_column

if TYPE_CHECKING:
    import pyarrow as pa

# A value of another JSON type than the reading's is no value of it.
_READ: dict[ReadingType, str] = {
    "double": "case when jsonb_typeof(m.readings -> {name}) = 'number' "
    "then (m.readings -> {name})::double precision end as {column}",
    "int64": "case when jsonb_typeof(m.readings -> {name}) = 'number' and m.readings ->> {name} ~ '^-?[0-9]{{1,18}}$' "
    "then (m.readings -> {name})::bigint end as {column}",
    "string": "case when jsonb_typeof(m.readings -> {name}) = 'string' then m.readings ->> {name} end as {column}",
    "bool": "case when jsonb_typeof(m.readings -> {name}) = 'boolean' then (m.readings -> {name})::boolean end as {column}",
}


@dataclass(frozen=True)
class Series:
    """A series of a view's source and the extent of its rows; first and last are None while it has none."""

    series_id: int
    keys: tuple[str, ...]
    sensor_type: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Stretch:
    """Rows of one series in [first, end), numbered as `segment`."""

    segment: int
    series_id: int
    sensor_type: str
    first: datetime
    end: datetime


@dataclass(frozen=True)
class TileRange:
    """Tiles first ≤ tile < end of size `tile_us` (µs) of one entity, numbered as `segment`."""

    segment: int
    keys: tuple[str, ...]
    tile_us: int
    first: int
    end: int


def series_of(conn: psycopg.Connection[Any], view: FeatureView) -> list[Series]:
    """Every series of the view's source."""
    parameters = {"entity": view.entity, "sensor_type": view.source.sensor_type}
    rows = conn.execute(statements.load("series_of_entity"), parameters)
    return [Series(series_id, tuple(keys), sensor_type, first, last) for series_id, keys, sensor_type, first, last in rows]


def read_events(reader: ArrowReader, tables: ViewTables, stretches: Sequence[Stretch]) -> pa.Table:
    """The engine's `events`: (entity_id int32 = segment, t int64 µs, sensor_type, r_<reading>…)."""
    import pyarrow as pa

    readings = sql.SQL(", ").join(
        sql.SQL(_READ[reading_type(tables.definitions, tables.view, name)]).format(
            name=sql.Literal(name), column=sql.Identifier(f"r_{name}")
        )
        for name in tables.view.readings
    )
    query = statements.load("read_events").format(
        readings=readings,
        segments=sql.Literal([s.segment for s in stretches]),
        series=sql.Literal([s.series_id for s in stretches]),
        sensor_types=sql.Literal([s.sensor_type for s in stretches]),
        firsts=sql.Literal([s.first for s in stretches]),
        ends=sql.Literal([s.end for s in stretches]),
        first=sql.Literal(min(s.first for s in stretches)),
        end=sql.Literal(max(s.end for s in stretches)),
    )
    table = reader.fetch(query)
    index = table.schema.get_field_index("t")
    return table.set_column(index, "t", table.column("t").cast(pa.int64()))


def read_tiles(reader: ArrowReader, tables: ViewTables, ranges: Sequence[TileRange]) -> pa.Table:
    """The engine's `prior`: (entity_id int32 = segment, tile_us, tile, p_<reading>_<partial>…)."""
    partials = sql.SQL(", ").join(sql.Identifier("p", partial.column) for partial in tables.partials)
    query = statements.load("read_tiles").format(
        partials=partials, segments=sql.Literal([r.segment for r in ranges]), tiles=tables.tiles, **tile_match(tables, ranges)
    )
    return reader.fetch(query)


def tile_match(tables: ViewTables, ranges: Sequence[TileRange]) -> dict[str, sql.Composable]:
    """Arrays of tile ranges and their match with the tile table `p`, for the statements that name them."""
    names = list(tables.keys)
    arrays = [
        sql.SQL("{}::{}[]").format(sql.Literal([r.keys[place] for r in ranges]), sql.SQL(SQL_TYPES[tables.keys[name]]))
        for place, name in enumerate(names)
    ]
    matches = [sql.SQL("{} = {}").format(sql.Identifier("s", name), sql.Identifier("p", key_column(name))) for name in names]
    return {
        "sizes": sql.Literal([r.tile_us for r in ranges]),
        "firsts": sql.Literal([r.first for r in ranges]),
        "ends": sql.Literal([r.end for r in ranges]),
        "key_arrays": sql.SQL(", ").join(arrays),
        "keys": sql.SQL(", ").join(map(sql.Identifier, names)),
        "key_match": sql.SQL(" and ").join(matches),
    }
