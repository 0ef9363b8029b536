"""Reads rows and tiles as the engine wants them: JSONB becomes typed columns here, once.

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
from millwright.warehouse.relations import Relation, statement, table_of
from millwright.warehouse.tables import SQL_TYPES, ViewTables, key_column
from millwright.warehouse.timestamps import from_us, to_us

if TYPE_CHECKING:
    import pyarrow as pa

# A value of another JSON type than the reading's is no value of it.
_READ: dict[ReadingType, str] = {
    "double": "case when jsonb_typeof(m.{values} -> {name}) = 'number' "
    "then (m.{values} -> {name})::double precision end as {column}",
    "int64": "case when jsonb_typeof(m.{values} -> {name}) = 'number' and m.{values} ->> {name} ~ '^-?[0-9]{{1,18}}$' "
    "then (m.{values} -> {name})::bigint end as {column}",
    "string": "case when jsonb_typeof(m.{values} -> {name}) = 'string' then m.{values} ->> {name} end as {column}",
    "bool": "case when jsonb_typeof(m.{values} -> {name}) = 'boolean' then (m.{values} -> {name})::boolean end as {column}",
}


@dataclass(frozen=True)
class Series:
    """A series that a view reads and the extent of its rows; first and last are None while it has none."""

    series_id: int
    relation: str
    keys: tuple[str, ...]
    sensor_type: str
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True)
class Stretch:
    """Rows of one series in [first, end), numbered as `segment`."""

    segment: int
    series_id: int
    relation: str
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
    """Every series of the view's source, and of the kinds of event that it is about."""
    words = {view.relations[0]: [view.source.word] if view.source.word else None, Relation.EVENTS: list(view.kinds)}
    return [
        Series(series_id, relation, tuple(keys), *rest)
        for name in view.relations
        for series_id, relation, keys, *rest in conn.execute(
            statement("series_of_entity", Relation(name)), {"entity": view.entity, "words": words[name]}
        )
    ]


def neighbours(
    conn: psycopg.Connection[Any], relation: str, looks: Sequence[tuple[int, int, datetime, datetime]]
) -> tuple[dict[int, datetime], dict[int, datetime]]:
    """Of spans [first, end) of series, as (number, series_id, first, end): by number, the time of the last row before the span
    and of the first row after it, over the number's series; a number has none where there is no such row."""
    if not looks:
        return {}, {}
    parameters = dict(zip(("numbers", "series", "firsts", "ends"), map(list, zip(*looks, strict=True)), strict=True))
    rows = conn.execute(statement("neighbours", Relation(relation)), parameters).fetchall()
    return (
        {number: before for number, before, _ in rows if before is not None},
        {number: after for number, _, after in rows if after is not None},
    )


def count_rows(conn: psycopg.Connection[Any], relation: str, spans: Sequence[tuple[int, int, int, int]]) -> dict[int, int]:
    """Rows of spans [first, end) of series, as (number, series_id, first µs, end µs): by number, where there are any."""
    if not spans:
        return {}
    segments, series, firsts, ends = zip(*spans, strict=True)
    parameters = {
        "segments": list(segments),
        "series": list(series),
        "firsts": [from_us(first) for first in firsts],
        "ends": [from_us(end) for end in ends],
        "first": from_us(min(firsts)),
        "end": from_us(max(ends)),
    }
    return dict(conn.execute(statement("count_rows", Relation(relation)), parameters).fetchall())


def every_nth(conn: psycopg.Connection[Any], relation: str, series: Sequence[int], first: int, end: int, n: int) -> list[int]:
    """Times (µs) of every nth row of the series together in [first, end) µs, ascending."""
    parameters = {"series": list(series), "first": from_us(first), "end": from_us(end), "n": n}
    return [to_us(t) for (t,) in conn.execute(statement("every_nth", Relation(relation)), parameters)]


def read_events(reader: ArrowReader, tables: ViewTables, stretches: Sequence[Stretch]) -> pa.Table:
    """The engine's `events`: (entity_id int32 = segment, t int64 µs, sensor_type, r_<input>…), `own` where it wants it."""
    import pyarrow as pa

    found = [_read(reader, tables, name, [s for s in stretches if s.relation == name]) for name in tables.view.relations]
    table = pa.concat_tables(found, promote_options="default")
    index = table.schema.get_field_index("t")
    return table.set_column(index, "t", table.column("t").cast(pa.int64()))


def _read(reader: ArrowReader, tables: ViewTables, relation: str, stretches: Sequence[Stretch]) -> pa.Table:
    # A segment whose series are empty has no stretch; its number stands nowhere else, so the engine makes nothing of it.
    stretches = stretches or [Stretch(-1, -1, relation, "", from_us(0), from_us(0))]
    rows, values = table_of(Relation(relation))
    own = relation == tables.view.relations[0]
    inputs = _values(tables, values) if own else _happened(tables.view)
    if tables.view.kinds:
        inputs.append(sql.SQL("{} as own").format(sql.Literal(own)))
    query = statements.load("read_events").format(
        inputs=sql.Composed([sql.SQL(", ") + each for each in inputs]),
        rows=rows,
        segments=sql.Literal([s.segment for s in stretches]),
        series=sql.Literal([s.series_id for s in stretches]),
        sensor_types=sql.Literal([s.sensor_type for s in stretches]),
        firsts=sql.Literal([s.first for s in stretches]),
        ends=sql.Literal([s.end for s in stretches]),
        first=sql.Literal(min(s.first for s in stretches)),
        end=sql.Literal(max(s.end for s in stretches)),
    )
    return reader.fetch(query)


def _values(tables: ViewTables, values: str) -> list[sql.Composed]:
    return [
        sql.SQL(_READ[reading_type(tables.definitions, tables.view, name)]).format(
            name=sql.Literal(name), column=sql.Identifier(f"r_{name}"), values=sql.Identifier(values)
        )
        for name in tables.view.readings
    ]


def _happened(view: FeatureView) -> list[sql.Composed]:
    return [
        sql.SQL("case when s.sensor_type = {} then true end as {}").format(sql.Literal(kind), sql.Identifier(f"r_events:{kind}"))
        for kind in view.kinds
    ]


def read_tiles(reader: ArrowReader, tables: ViewTables, ranges: Sequence[TileRange]) -> pa.Table:
    """The engine's `prior`: (entity_id int32 = segment, tile_us, tile, p_<reading>_<partial>…)."""
    partials = sql.Composed([sql.SQL(", ") + sql.Identifier("p", partial.column) for partial in tables.partials])
    query = statements.load("read_tiles").format(
        partials=partials, segments=sql.Literal([r.segment for r in ranges]), tiles=tables.tiles, **tile_match(tables, ranges)
    )
    return reader.fetch(query)


def sample_tiles(conn: psycopg.Connection[Any], tables: ViewTables, limit: int) -> list[tuple[tuple[str, ...], int, int]]:
    """(keys, tile_us, tile) of at most `limit` stored tiles at random."""
    row = conn.execute("select reltuples from pg_class where oid = %s::regclass", (tables.tiles.as_string(conn),)).fetchone()
    rows = row[0] if row else 0  # an estimate, below 0 where there is none yet
    percent = min(100.0, 100.0 * 20 * limit / rows) if rows > 0 else 100.0
    keys = sql.SQL(", ").join(sql.Identifier("p", key_column(name)) for name in tables.keys)
    query = statements.load("sample_tiles").format(keys=keys, tiles=tables.tiles, percent=sql.Literal(percent))
    return [(tuple(map(str, found)), size, tile) for *found, size, tile in conn.execute(query.as_string(conn), {"limit": limit})]


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
