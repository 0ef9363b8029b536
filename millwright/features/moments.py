"""Deviations and slopes: second moments of values and times that stay exact wherever a series has been.

Belongs here: the moments of a set of points, their merging, their sliding over tiles. Does not: other aggregates (aggregates.py).

The moments of a set are kept about a point of that very set, its anchor (time `at` in µs, value `ax`): `n`, the means `mx`
and `mt` and the centered sums `m2`, `mtt`, `mtx` of x − ax and t − at. Because the anchor is a member, the squares summed are at
most n times the centered sum, so nothing cancels: a jump from 0 to 1e7 leaves no rest in later windows, and times stay whole
microseconds. Two sets are merged as by Chan, Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample
variances", 1979). Nothing is ever subtracted from a sliding window: W/h tiles are the suffix of one block of W/h tiles and the
prefix of the next (van Herk, "A fast algorithm for local minimum and maximum filters", 1992), each a running sum about its own
last or first tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millwright.features.aggregates import tile_index
from millwright.features.script import Script

Expression = Any  # an Ibis value
Table = Any  # an Ibis table
State = Mapping[str, Expression]
"""n and those of at, ax, mx, m2, mt, mtt, mtx that are kept."""

NAMES = ("at", "ax", "mx", "m2", "mt", "mtt", "mtx")


def of_instant(value: Expression, t: Expression, name: str) -> Expression:
    """Over the rows of one instant: a point, and what ties at it differ by."""
    import ibis

    some = value.notnull()
    if name == "at":
        return t.max(where=some)
    if name == "ax":
        return value.cast("float64").mean(where=some)
    if name == "m2":
        return value.cast("float64").var(where=some, how="pop") * value.count()
    return ibis.ifelse(value.count() > 0, ibis.literal(0.0), ibis.null("float64"))


def terms(state: State, at: Expression, ax: Expression) -> dict[str, Expression]:
    """What one set adds to the sums about the anchor (at, ax); null of an empty set."""
    n = state["n"].cast("float64").nullif(0)
    made = {"n": n}
    dx = (state["ax"] - ax) + state["mx"]
    made["x"] = n * dx
    if "m2" in state:
        made["xx"] = state["m2"] + n * dx * dx
    if "mt" in state:
        dt = (state["at"] - at).cast("float64") + state["mt"]
        made |= {"t": n * dt, "tt": state["mtt"] + n * dt * dt, "tx": state["mtx"] + n * dt * dx}
    return made


def centered(sums: State, at: Expression, ax: Expression) -> dict[str, Expression]:
    """The moments about the anchor, from sums of terms; null of an empty set."""
    n = sums["n"]
    made = {"n": n.cast("int64"), "ax": ax, "mx": sums["x"] / n}
    if "xx" in sums:
        made["m2"] = sums["xx"] - sums["x"] * (sums["x"] / n)
    if "t" in sums:
        made |= {
            "at": at,
            "mt": sums["t"] / n,
            "mtt": sums["tt"] - sums["t"] * (sums["t"] / n),
            "mtx": sums["tx"] - sums["t"] * (sums["x"] / n),
        }
    return made


def joined(first: State, second: State) -> dict[str, Expression]:
    """Two sets as one, about the anchor of the first that is not empty."""
    at = first["at"].coalesce(second["at"]) if "at" in first else None
    ax = first["ax"].coalesce(second["ax"])
    left, right = terms(first, at, ax), terms(second, at, ax)
    sums = {name: (left[name] + right[name]).fill_null(left[name]).fill_null(right[name]) for name in left}
    return centered(sums, at, ax)


def anchors(points: Table, group: Sequence[str], order: str, state: State, *, last: bool = False) -> Table:
    """One row a group: `anchor_at`, `anchor_ax` of the first (or last) set in it that is not empty."""
    some = state["n"] > 0
    chosen = "argmax" if last else "argmin"
    made = {f"anchor_{name}": getattr(state[name], chosen)(points[order], where=some) for name in ("at", "ax") if name in state}
    return points.group_by(list(group)).aggregate(**made)


def slid(script: Script, name: str, states: Table, count: int) -> Table:
    """For each tile k of `states` (entity_id, tile, n and names), the moments of the tiles k − count … k − 1."""
    import ibis

    names = states.columns[2:]
    filled = states.mutate(block=tile_index(states.tile, count)).filter(states.n > 0)
    filled = script.step(f"filled_{name}", filled)
    suffix, prefix = (_running(script, name, filled, last=last) for last in (True, False))
    frame = ibis.range_window(preceding=(count, 1), group_by="entity_id", order_by="tile")
    tile = ibis.ifelse(states.n > 0, states.tile, ibis.null("int64"))
    before, now = tile_index(states.tile - count, count), tile_index(states.tile - 1, count)
    whole_block = before == now  # the prefix at its end is all of it
    ends = {"low": tile.min().over(frame), "high": tile.max().over(frame)}
    rows = states.select("entity_id", "tile", **ends, before=ibis.ifelse(whole_block, ibis.null("int64"), before), now=now)
    rows = script.step(f"ends_{name}", rows)
    for side, run, end, block in (("last", suffix, rows.low, rows.before), ("first", prefix, rows.high, rows.now)):
        keys = [rows.entity_id == run[f"{side}_entity_id"], end == run[f"{side}_tile"], block == run[f"{side}_block"]]
        rows = rows.left_join(run, keys)
    rows = script.step(f"slid_{name}", rows)
    parts = ({kept: rows[f"{side}_{kept}"] for kept in names} for side in ("last", "first"))
    return script.step(f"window_{name}", rows.select("entity_id", "tile", **joined(*parts)))


def _running(script: Script, name: str, filled: Table, *, last: bool) -> Table:
    """The moments of each tile and those before it in its block (`last`: after it)."""
    import ibis

    group = ["entity_id", "block"]
    state = {kept: filled[kept] for kept in filled.columns if kept not in (*group, "tile")}
    rows = filled.join(anchors(filled, group, "tile", state, last=last), group)
    frame = ibis.rows_window(preceding=(None, 0), group_by=group, order_by=rows.tile.desc() if last else rows.tile.asc())
    sums = {
        f"sum_{of}": term.sum().over(frame) for of, term in terms({kept: rows[kept] for kept in state}, *_anchor(rows)).items()
    }
    side = "last" if last else "first"
    rows = script.step(f"{side}_{name}", rows.mutate(**sums))
    made = centered({of.removeprefix("sum_"): rows[of] for of in sums}, *_anchor(rows))
    made |= {kept: rows[kept] for kept in (*group, "tile")}
    return rows.select(**{f"{side}_{kept}": value for kept, value in made.items()})


def _anchor(table: Table) -> tuple[Expression, Expression]:
    return (table["anchor_at"] if "anchor_at" in table.columns else None), table["anchor_ax"]
