"""From a view's definition to SQL: features(events, prior tiles) → (rows, tiles), written once as Ibis expressions.

Belongs here: the sawtooth windows over integer tile indices (Chronon, "Realtime feature computation"; Databricks' tiling)
and their compilation, which apply runs. Does not: running the SQL (compute.py), the aggregates' algebra (aggregates.py).

A window W with tiles of h = h(W) ends at the event t and begins at floor(t − W, h): it is the running partial of the open tile
k = floor(t / h), all events at t included, and the W/h whole tiles k − W/h … k − 1. A tile stands for every event in it, so no
engine ever needs a frame over times, and a frame costs the same for an hour as for a month.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millwright.definitions import Definitions, Feature, FeatureView
from millwright.definitions.partials import PARTIALS, Partial, partials, reading_type, tile_sizes
from millwright.features.aggregates import ALGEBRA, FINALIZERS

Table = Any  # an Ibis table
_IBIS = {"double": "float64", "int64": "int64", "string": "string", "bool": "boolean"}


def compile_view(definitions: Definitions, view: FeatureView) -> dict[str, str]:
    """SQL of the view by dialect (now: `duckdb`); the import and the compilation take about a second.

    The script reads two tables and makes three:
    `events(entity_id int, t bigint, sensor_type, r_<reading>…)`: t in µs since 1970 UTC, one row a warehouse row, from a
    boundary of all tile sizes on; `prior(entity_id, tile_us, tile, p_<reading>_<partial>…)`: whole tiles before that boundary;
    `instants`: one row per entity_id and t; `tiles`: prior and the events' own;
    `feature_rows(entity_id, t, <feature>…, tolerance:<feature>…)`.
    """
    return {"duckdb": _script(definitions, view, "duckdb")}


def _script(definitions: Definitions, view: FeatureView, dialect: str) -> str:
    import ibis

    keep = partials(definitions, view)
    readings = {f"r_{name}": _IBIS[reading_type(definitions, view, name)] for name in view.readings}
    parts = {partial.column: _IBIS[partial.type] for partial in keep}
    events = ibis.table({"entity_id": "int32", "t": "int64", "sensor_type": "string", **readings}, name="events")
    prior = ibis.table({"entity_id": "int32", "tile_us": "int64", "tile": "int64", **parts}, name="prior")
    instants = ibis.table({"entity_id": "int32", "t": "int64", **parts}, name="instants")
    tiles = ibis.table(prior.schema(), name="tiles")
    tables = {
        "instants": _instants(events, keep),
        "tiles": _tiles(definitions, view, instants, prior),
        "feature_rows": _rows(definitions, view, instants, tiles),
    }
    return "\n\n".join(_statement(name, expression, dialect) for name, expression in tables.items())


def _statement(name: str, expression: Table, dialect: str) -> str:
    """A table of declared types: engines differ in the type of a sum of integers."""
    import ibis
    import sqlglot.expressions as sge

    columns = expression.schema().to_sqlglot_column_defs(dialect)
    table = sge.Schema(this=sge.Table(this=sge.to_identifier(name)), expressions=columns)
    create = sge.Create(this=table, kind="TABLE", properties=sge.Properties(expressions=[sge.TemporaryProperty()]))
    return f"{create.sql(dialect)};\n\ninsert into {name}\n{ibis.to_sql(expression, dialect=dialect)};"


def _instants(events: Table, keep: Sequence[Partial]) -> Table:
    """One row per entity and time; ties ordered by sensor_type."""
    made = {}
    for partial in keep:
        value = events[f"r_{partial.reading}"]
        if partial.name == "last":
            made[partial.column] = value.argmax(events.sensor_type, where=value.notnull())
        else:
            made[partial.column] = ALGEBRA[partial.name].prepare(value, events.sensor_type, events.t)
    return events.group_by("entity_id", "t").aggregate(**made).cast({p.column: _IBIS[p.type] for p in keep})


def _tiles(definitions: Definitions, view: FeatureView, instants: Table, prior: Table) -> Table:
    """The tiles of the instants, every size, under those that were there."""
    import ibis

    union = prior
    for size in tile_sizes(view):
        used = partials(definitions, view, tile_us=size)
        cut = instants.mutate(tile=tile_index(instants.t, size))
        merged = {}
        for partial in used:
            column = cut[partial.column]
            if partial.name == "last":
                merged[partial.column] = column.argmax(cut[_time_of(partial)], where=column.notnull())
            else:
                merged[partial.column] = ALGEBRA[partial.name].merge(column)
        tile = cut.group_by("entity_id", "tile").aggregate(**merged).mutate(tile_us=ibis.literal(size, "int64"))
        nothing = {name: ibis.null(kind) for name, kind in prior.schema().items() if name.startswith("p_") and name not in merged}
        union = union.union(tile.mutate(**nothing).select(*prior.columns).cast(prior.schema()))
    return union


def _rows(definitions: Definitions, view: FeatureView, instants: Table, tiles: Table) -> Table:
    """One row per instant: every feature and, where it is not exact, its tolerance."""
    features = list(view.features)
    rows = instants
    for size in tile_sizes(view):
        rows = _open_tiles(rows, size, partials(definitions, view, tile_us=size))
    for size in tile_sizes(view):
        whole = _whole_tiles(tiles, size, [feature for feature in features if feature.tile_us == size])
        rows = rows.left_join(whole, [rows.entity_id == whole.entity_id, rows[f"tile_{size}"] == whole.tile])
        rows = rows.drop(*(name for name in rows.columns if name.endswith("_right")))
        rows = rows.drop("tile") if "tile" in rows.columns else rows
    rows = _look_up_last(rows, instants, tiles, features)
    values, tolerances = {}, {}
    for feature in features:
        merged = {name: _merged(rows, feature, name) for name in PARTIALS[feature.aggregate]}
        aggregate = FINALIZERS[feature.aggregate]
        values[feature.name] = aggregate.finalize(merged)
        if (tolerance := aggregate.tolerance(merged)) is not None:
            tolerances[f"tolerance:{feature.name}"] = tolerance
    return rows.select("entity_id", "t", **values, **tolerances)


def _open_tiles(rows: Table, size: int, used: Sequence[Partial]) -> Table:
    """Running partials of the open tile, up to and with t."""
    import ibis

    rows = rows.mutate(**{f"tile_{size}": tile_index(rows.t, size)})
    window = ibis.rows_window(preceding=(None, 0), group_by=["entity_id", f"tile_{size}"], order_by="t")
    running = {f"open:{size}:{p.column}": ALGEBRA[p.name].merge(rows[p.column]).over(window) for p in used if p.name != "last"}
    return rows.mutate(**running)


def _whole_tiles(tiles: Table, size: int, features: Sequence[Feature]) -> Table:
    """For each tile, the partials of the W/h tiles before it, for every window W with tiles of this size."""
    import ibis

    tiles = tiles.filter(tiles.tile_us == size)
    merged = {}
    for feature in features:
        window = ibis.range_window(preceding=(feature.window_us // size, 1), group_by="entity_id", order_by="tile")
        for name in PARTIALS[feature.aggregate]:
            if name != "last":
                column = tiles[f"p_{feature.of}_{name}"]
                merged[f"whole:{feature.window_us}:p_{feature.of}_{name}"] = ALGEBRA[name].merge(column).over(window)
    return tiles.select("entity_id", "tile", **merged)


def _merged(rows: Table, feature: Feature, name: str) -> Any:
    column = f"p_{feature.of}_{name}"
    if name == "last":
        return rows[f"last:{feature.window_us}:{column}"]
    head, whole = rows[f"open:{feature.tile_us}:{column}"], rows[f"whole:{feature.window_us}:{column}"]
    return ALGEBRA[name].join(whole, head)


def _look_up_last(rows: Table, instants: Table, tiles: Table, features: Sequence[Feature]) -> Table:
    """Add the values that stand at the windows' last times. A time before the events' first is a prior tile's."""
    for of, window, size in sorted({(f.of, f.window_us, f.tile_us) for f in features if f.aggregate == "last"}):
        feature = next(f for f in features if (f.of, f.window_us, f.aggregate) == (of, window, "last"))
        time, value, name = f"p_{of}_lastt", f"p_{of}_last", f"last:{window}:p_{of}_last"
        in_events = instants.filter(instants[time].notnull()).select("entity_id", at=time, value=value)
        in_tiles = tiles.filter((tiles.tile_us == size) & tiles[time].notnull()).select("entity_id", at=time, value=value)
        points = in_events.union(in_tiles, distinct=False)
        points = points.group_by("entity_id", "at").aggregate(**{name: points.value.max()})
        at = rows.mutate(at=_merged(rows, feature, "lastt"))
        rows = at.left_join(points, [at.entity_id == points.entity_id, at["at"] == points["at"]])
        rows = rows.drop("at", *(column for column in rows.columns if column.endswith("_right")))
    return rows


def tile_index(t: Any, size: int) -> Any:
    """floor(t / size) for integers of either sign. The division is of an exact multiple, so doubles in it do no harm."""
    return (t - (t % size + size) % size) // size


def _time_of(partial: Partial) -> str:
    return f"p_{partial.reading}_lastt"
