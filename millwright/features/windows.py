"""From a view's definition to SQL: features(events, prior tiles) → (rows, tiles), written once as Ibis expressions.

Belongs here: the sawtooth windows over integer tile indices (Chronon, "Realtime feature computation"; Databricks' tiling)
and their compilation, which apply runs. Does not: running the SQL (compute.py), the algebra (aggregates.py, moments.py).

A window W with tiles of h = h(W) ends at the event t and begins at floor(t − W, h): it is the running partial of the open tile
k = floor(t / h), all events at t included, and the W/h whole tiles k − W/h … k − 1. A tile stands for every event in it, so no
engine ever needs a frame over times, and a frame costs the same for an hour as for a month.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.features import Windowed
from millwright.definitions.partials import PARTIALS, Partial, inputs, partials, tile_sizes
from millwright.features import moments
from millwright.features.aggregates import ALGEBRA, FINALIZERS, tile_index
from millwright.features.buckets import CLOSED_BY
from millwright.features.expressions import IBIS, with_expressions
from millwright.features.script import SPARK, Script

Table = Any  # an Ibis table
DIALECTS = ("duckdb", "postgres", "bigquery", "snowflake")
_TIME_OF = {"first": "firstt", "last": "lastt"}


def compile_view(definitions: Definitions, view: FeatureView) -> dict[str, str]:
    """SQL of the view by dialect (now: `duckdb`); the import and the compilation take about a second.

    The script reads two tables and makes three, beside those of its steps:
    `events(entity_id int, t bigint, sensor_type, r_<input>…)`: t in µs since 1970 UTC, one row a warehouse row, from a
    boundary of all tile sizes on; `prior(entity_id, tile_us, tile, p_<input>_<partial>…)`: whole tiles before that boundary.
    An input is a reading, or `events:<kind>`, true for each such event. Where there are such, `events` has a column `own` too,
    true for rows of the view's source: only these give feature rows.
    `instants`: one row per entity_id and t, with its tile of each size; `tiles`: prior and the events' own;
    `feature_rows(entity_id, t, <feature>…, tolerance:<feature>…)`, with `every` only the kept rows, and `closed:by`.
    """
    return {"duckdb": _steps(Script("duckdb"), definitions, view).sql()}


def warehouse_script(definitions: Definitions, view: FeatureView, dialect: str) -> str:
    """The same computation for a warehouse: as `compile_view`'s, but from events alone; it makes an empty `prior` itself.

    `dialect`: one of DIALECTS. The events must reach back as far as the windows do.
    """
    script = Script(dialect)
    script.empty(_prior(definitions, view))
    return _steps(script, definitions, view).sql()


def spark_steps(definitions: Definitions, view: FeatureView) -> list[tuple[str, str]]:
    """The same computation for Spark: names and queries, each over the steps before it and the views `events` and `prior`."""
    return _steps(Script(SPARK), definitions, view).steps


def _steps(script: Script, definitions: Definitions, view: FeatureView) -> Script:
    prior = _prior(definitions, view)
    copied = view.source.feature_set is not None
    rows = _copied(script, definitions, view, prior) if copied else _Compiler(definitions, view, script).rows(prior)
    if view.expressions:
        rows = with_expressions(script, definitions, view, script.step("computed", rows))
    others = [name for name in rows.columns if name == CLOSED_BY or name.startswith("tolerance:")]
    script.step("feature_rows", rows.select("entity_id", "t", *(feature.name for feature in view.features), *others))
    return script


def _prior(definitions: Definitions, view: FeatureView) -> Table:
    import ibis

    kept = {partial.column: IBIS[partial.type] for partial in partials(definitions, view)}
    return ibis.table({"entity_id": "int32", "tile_us": "int64", "tile": "int64", **kept}, name="prior")


def _copied(script: Script, definitions: Definitions, view: FeatureView, prior: Table) -> Table:
    """The rows of a feature set as they are: no window, so no tile."""
    import ibis

    values = {f"r_{name}": IBIS[kind] for name, kind in inputs(definitions, view).items()}
    events = ibis.table({"entity_id": "int32", "t": "int64", "sensor_type": "string", **values}, name="events")
    script.step("tiles", prior)
    rows = _kept(script, view, events)
    columns = {name: rows[f"r_{of}"] for name, of in view.columns.items()}
    columns |= {CLOSED_BY: rows[CLOSED_BY]} if view.every else {}
    return rows.select("entity_id", "t", **columns)


def _kept(script: Script, view: FeatureView, rows: Table) -> Table:
    """With `every` the last row of each bucket that a later row closes, with the time of that row; else all rows."""
    import ibis

    every = view.every_us
    if every is None:
        return rows
    times = rows.select("entity_id", "t")
    later = times.t.lead().over(ibis.window(group_by="entity_id", order_by="t"))
    followed = script.step("followed", times.mutate(**{CLOSED_BY: later}))
    closed = tile_index(followed[CLOSED_BY], every) > tile_index(followed.t, every)
    return _left_join(followed.filter(followed[CLOSED_BY].notnull() & closed), rows, ["entity_id", "t"])


class _Compiler:
    def __init__(self, definitions: Definitions, view: FeatureView, script: Script) -> None:
        self._view, self._script = view, script
        self._keep = partials(definitions, view)
        self._of_size = {size: partials(definitions, view, tile_us=size) for size in tile_sizes(view)}
        # An open tile is what has closed in it of smaller tiles, and the smallest open one: every event needs only that.
        self._base = {size: min(each for each in self._of_size if size % each == 0) for size in self._of_size}
        self._inputs = {f"r_{name}": IBIS[kind] for name, kind in inputs(definitions, view).items()}
        self._own = {"own": "boolean"} if view.kinds else {}

    def rows(self, prior: Table) -> Table:
        """Adds the steps to the script; the feature rows, but for expressions."""
        import ibis

        events = ibis.table(
            {"entity_id": "int32", "t": "int64", "sensor_type": "string", **self._inputs, **self._own}, name="events"
        )
        instants = _instants(events, self._keep)
        instants = instants.mutate(**{f"tile_{size}": tile_index(instants.t, size) for size in self._of_size})
        instants = self._script.step("instants", instants)
        cut = self._anchored(instants)
        tiles = self._script.step("tiles", self._tiles(cut, prior))
        rows = self._open_tiles(cut)
        rows = _kept(self._script, self._view, rows.filter(rows.own).drop("own") if self._own else rows)
        for base in sorted(set(self._base.values())):
            rows = self._closed(_left_join(rows, self._stems(cut, tiles, base), ["entity_id", f"tile_{base}"]), base)
        rows = self._look_up(rows, instants, prior)
        return self._finalize(rows)

    def _anchored(self, instants: Table) -> Table:
        """The instants with the anchor of each input's moments in their tile of each size."""
        cut = instants
        for size, used in self._of_size.items():
            for of, names in _moments_of(used).items():
                anchors = moments.anchors(cut, ("entity_id", f"tile_{size}"), "t", _state(cut, of, names))
                anchors = anchors.rename({_anchor(size, of, name.removeprefix("anchor_")): name for name in anchors.columns[2:]})
                cut = _left_join(cut, anchors, ["entity_id", f"tile_{size}"])
        return cut if cut is instants else self._script.step("anchored", cut)

    def _tiles(self, cut: Table, prior: Table) -> Table:
        """The tiles of the instants, every size, under those that were there."""
        import ibis

        union = prior
        for size, used in self._of_size.items():
            merged = {}
            for partial in used:
                column = cut[partial.column]
                if partial.name in _TIME_OF:
                    chosen = column.argmin if partial.name == "first" else column.argmax
                    merged[partial.column] = chosen(cut[f"p_{partial.input}_{_TIME_OF[partial.name]}"], where=column.notnull())
                elif partial.name in ALGEBRA:
                    merged[partial.column] = ALGEBRA[partial.name].merge(column)
            kept = _moments_of(used)
            for of, names in kept.items():
                merged |= {_sum(size, of, name): term.sum() for name, term in _terms(cut, size, of, names).items()}
                merged |= {anchor: cut[anchor].max() for anchor in _anchors(size, of, names)}
            tile = cut.group_by("entity_id", tile=cut[f"tile_{size}"]).aggregate(**merged)
            tile = self._script.step(f"sums_{size}", tile) if kept else tile
            for of, names in kept.items():
                tile = tile.mutate(**_centered(tile, size, of, names))
            tile = tile.mutate(tile_us=ibis.literal(size, "int64"))
            nothing = {name: ibis.null(kind) for name, kind in prior.schema().items() if name not in tile.columns}
            union = union.union(tile.mutate(**nothing).select(*prior.columns).cast(prior.schema()))
        return union

    def _open_tiles(self, cut: Table) -> Table:
        """Running partials of the open tile, up to and with t: moments of each size, the others of each base."""
        import ibis

        running: dict[str, Any] = {}
        kept = [(size, of, names) for size, used in self._of_size.items() for of, names in _moments_of(used).items()]
        windows = {
            size: ibis.rows_window(preceding=(None, 0), group_by=["entity_id", f"tile_{size}"], order_by="t")
            for size in self._of_size
        }
        for base in set(self._base.values()):
            merged = _merge(cut, [partial for size in self._on(base) for partial in self._of_size[size]])
            running |= {f"open:{base}:{name}": value.over(windows[base]) for name, value in merged.items()}
        for size, of, names in kept:
            terms = _terms(cut, size, of, names)
            running |= {_sum(size, of, name): term.sum().over(windows[size]) for name, term in terms.items()}
            running |= {anchor: cut[anchor] for anchor in _anchors(size, of, names)}
        rows = cut.select("entity_id", "t", *self._own, *(f"tile_{size}" for size in self._of_size), **running)
        if not kept:
            return rows
        rows = self._script.step("running", rows)
        centered: dict[str, Any] = {}
        for size, of, names in kept:
            centered |= {f"open:{size}:{name}": value for name, value in _centered(rows, size, of, names).items()}
        rows = rows.mutate(**centered)
        return self._script.step("open", rows.drop(*(name for name in rows.columns if name.startswith(("anchor:", "sum:")))))

    def _on(self, base: int) -> list[int]:
        """The sizes whose open tile is made of tiles of `base`, itself the first."""
        return [size for size, under in self._base.items() if under == base]

    def _stems(self, cut: Table, tiles: Table, base: int) -> Table:
        """For each tile of `base`, what its events share: the whole tiles before, of every size on it, and what has closed in the
        open tiles of these sizes."""
        import ibis

        above = self._on(base)[1:]
        if not above:
            return self._whole_tiles(tiles, base)
        key = f"tile_{base}"
        merged = _merge(cut, [partial for size in above for partial in self._of_size[size]])
        stems = cut.group_by("entity_id", key).aggregate(**merged)
        stems = stems.mutate(**{f"tile_{size}": tile_index(stems[key] * base, size) for size in above})
        stems = self._script.step(f"stems_{base}", stems)
        closed: dict[str, Any] = {}
        for size in above:
            before = ibis.rows_window(preceding=(None, 1), group_by=["entity_id", f"tile_{size}"], order_by=key)
            merged = _merge(stems, self._of_size[size])
            closed |= {f"closed:{size}:{name}": value.over(before) for name, value in merged.items()}
        rows = stems.select("entity_id", key, *(f"tile_{size}" for size in above), **closed)
        for size in (base, *above):
            rows = _left_join(rows, self._whole_tiles(tiles, size), ["entity_id", f"tile_{size}"])
        return rows

    def _closed(self, rows: Table, base: int) -> Table:
        """The open tiles of the sizes on `base`: what has closed in them, and the open tile of `base`."""
        opened = {
            f"open:{size}:{p.column}": ALGEBRA[p.name].join(rows[f"closed:{size}:{p.column}"], rows[f"open:{base}:{p.column}"])
            for size in self._on(base)[1:]
            for p in self._of_size[size]
            if p.name in ALGEBRA
        }
        return rows.mutate(**opened)

    def _whole_tiles(self, tiles: Table, size: int) -> Table:
        """For each tile, the partials of the W/h tiles before it, for every window W with tiles of this size."""
        import ibis

        tiles = self._script.step(f"tiles_{size}", tiles.filter(tiles.tile_us == size))
        features = [feature for feature in self._view.windowed if feature.tile_us == size]
        merged: dict[str, Any] = {}
        slides: dict[tuple[str, int], set[str]] = {}
        for feature in features:
            frame = ibis.range_window(preceding=(feature.window_us // size, 1), group_by="entity_id", order_by="tile")
            for name in PARTIALS[feature.aggregate]:
                if name in ALGEBRA:
                    column = tiles[f"p_{feature.input}_{name}"]
                    merged[f"whole:{feature.window_us}:p_{feature.input}_{name}"] = ALGEBRA[name].merge(column).over(frame)
                elif name in moments.NAMES:
                    slides.setdefault((feature.input, feature.window_us), set()).add(name)
        whole = tiles.select("entity_id", "tile", **merged)
        for (of, window), kept in sorted(slides.items()):
            names = [name for name in moments.NAMES if name in kept]
            states = tiles.select("entity_id", "tile", **_state(tiles, of, names))
            slid = moments.slid(self._script, f"{of}_{window}", states, window // size)
            slid = slid.select("entity_id", "tile", **{f"whole:{window}:p_{of}_{name}": slid[name] for name in names})
            whole = _left_join(whole, slid, ["entity_id", "tile"])
        return whole.rename({f"tile_{size}": "tile"})

    def _look_up(self, rows: Table, instants: Table, prior: Table) -> Table:
        """Add the values that stand at the windows' first and last times. A time before the events' first is a prior tile's."""
        wanted = {(f.aggregate, f.input, f.window_us): f for f in self._view.windowed if f.aggregate in _TIME_OF}
        for (end, of, window), feature in sorted(wanted.items()):
            time, value, name = f"p_{of}_{_TIME_OF[end]}", f"p_{of}_{end}", f"{end}:{window}:p_{of}_{end}"
            in_events = instants.filter(instants[time].notnull()).select("entity_id", at=time, **{name: value})
            some = (prior.tile_us == feature.tile_us) & prior[time].notnull()
            in_tiles = prior.filter(some).select("entity_id", at=time, **{name: value})
            time_of = ALGEBRA[_TIME_OF[end]]
            rows = rows.mutate(at=time_of.join(rows[f"whole:{window}:{time}"], rows[f"open:{feature.tile_us}:{time}"]))
            # No time is found twice: prior tiles end before the events begin.
            rows = _left_join(rows, in_events.union(in_tiles, distinct=False), ["entity_id", "at"]).drop("at")
        return rows

    def _finalize(self, rows: Table) -> Table:
        """One row per instant: every feature and, where it is not exact, its tolerance."""
        merged = {}
        for feature in self._view.windowed:
            for name, value in _merged(rows, feature).items():
                merged[_place(feature, name)] = value
        kept = [CLOSED_BY] if self._view.every else []
        rows = self._script.step("merged", rows.select("entity_id", "t", *kept, **merged))
        values, tolerances = {}, {}
        for feature in self._view.windowed:
            window = {name: rows[_place(feature, name)] for name in PARTIALS[feature.aggregate]} | {"t": rows.t}
            aggregate = FINALIZERS[feature.aggregate]
            values[feature.name] = aggregate.finalize(window)
            if (tolerance := aggregate.tolerance(window)) is not None:
                tolerances[f"tolerance:{feature.name}"] = tolerance
        return rows.select("entity_id", "t", **values, **tolerances, **{name: rows[name] for name in kept})


def _instants(events: Table, keep: Sequence[Partial]) -> Table:
    """One row per entity and time; ties ordered by sensor_type."""
    made = {}
    for partial in keep:
        value = events[f"r_{partial.input}"]
        if partial.name in _TIME_OF:
            chosen = value.argmin if partial.name == "first" else value.argmax
            made[partial.column] = chosen(events.sensor_type, where=value.notnull())
        elif partial.name in moments.NAMES:
            made[partial.column] = moments.of_instant(value, events.t, partial.name)
        else:
            made[partial.column] = ALGEBRA[partial.name].prepare(value, events.sensor_type, events.t)
    if "own" in events.columns:
        made["own"] = events.own.any()
    return events.group_by("entity_id", "t").aggregate(**made).cast({p.column: IBIS[p.type] for p in keep})


def _place(feature: Windowed, name: str) -> str:
    """The column of a partial of a feature's whole window. Moments differ with what is kept of them."""
    kind = feature.aggregate if name in moments.NAMES else "window"
    return f"{kind}:{feature.window_us}:p_{feature.input}_{name}"


def _merged(rows: Table, feature: Windowed) -> dict[str, Any]:
    """The partials of a feature's whole window: whole tiles and open tile, or as they were looked up."""
    found = {}
    whole, head = f"whole:{feature.window_us}:", f"open:{feature.tile_us}:"
    for name in PARTIALS[feature.aggregate]:
        column = f"p_{feature.input}_{name}"
        if name in _TIME_OF:
            found[name] = rows[f"{name}:{feature.window_us}:{column}"]
        elif name in ALGEBRA:
            found[name] = ALGEBRA[name].join(rows[whole + column], rows[head + column])
    if kept := [name for name in PARTIALS[feature.aggregate] if name in moments.NAMES]:
        both = moments.joined(_state(rows, feature.input, kept, whole), _state(rows, feature.input, kept, head))
        found |= {name: both[name] for name in kept}
    return found


def _moments_of(used: Sequence[Partial]) -> dict[str, tuple[str, ...]]:
    """Readings whose moments are kept, with the names of what is kept of each."""
    found: dict[str, tuple[str, ...]] = {}
    for partial in used:
        if partial.name in moments.NAMES:
            found[partial.input] = (*found.get(partial.input, ()), partial.name)
    return found


def _anchor(size: int, of: str, name: str) -> str:
    return f"anchor:{size}:{of}:{name}"


def _anchors(size: int, of: str, names: Sequence[str]) -> list[str]:
    return [_anchor(size, of, name) for name in ("at", "ax") if name in names]


def _anchored_at(table: Table, size: int, of: str, names: Sequence[str]) -> tuple[Any, Any]:
    return (table[_anchor(size, of, "at")] if "at" in names else None), table[_anchor(size, of, "ax")]


def _sum(size: int, of: str, name: str) -> str:
    return f"sum:{size}:{of}:{name}"


def _state(table: Table, reading: str, names: Sequence[str], prefix: str = "") -> dict[str, Any]:
    return {name: table[f"{prefix}p_{reading}_{name}"] for name in ("n", *names)}


def _terms(table: Table, size: int, of: str, names: Sequence[str]) -> dict[str, Any]:
    return moments.terms(_state(table, of, names), *_anchored_at(table, size, of, names))


def _centered(table: Table, size: int, of: str, names: Sequence[str]) -> dict[str, Any]:
    prefix = _sum(size, of, "")
    sums = {name.removeprefix(prefix): table[name] for name in table.columns if name.startswith(prefix)}
    made = moments.centered(sums, *_anchored_at(table, size, of, names))
    return {f"p_{of}_{name}": made[name] for name in names}


def _merge(table: Table, used: Sequence[Partial]) -> dict[str, Any]:
    """Partials that merge by themselves, by column: over a group, or a window."""
    return {p.column: ALGEBRA[p.name].merge(table[p.column]) for p in used if p.name in ALGEBRA}


def _left_join(left: Table, right: Table, keys: list[str]) -> Table:
    joined = left.left_join(right, keys, rname="right:{name}")
    return joined.drop(*(name for name in joined.columns if name.startswith("right:")))
