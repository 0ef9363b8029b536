"""Verifies tiles: a sample of stretches is computed again from the warehouse's rows and compared with what is stored.

Belongs here: choosing the stretches, comparing. Does not: mending (a backfill rebuilds), printing (stack/doctor.py).
A tile is a pure function of rows: counts, times, least and greatest values are equal, sums and moments within 1e-9 of the largest
number that went into them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.partials import Partial
from millwright.features.chunk import Chunk
from millwright.features.compute import engine, no_tiles
from millwright.features.touched import Key, Reach, Segment
from millwright.settings import Settings
from millwright.warehouse import changes
from millwright.warehouse.connect import snapshot
from millwright.warehouse.copy import arrow_reader
from millwright.warehouse.read import Series, read_tiles, sample_tiles, series_of
from millwright.warehouse.tables import ViewTables
from millwright.warehouse.timestamps import from_us, to_us

if TYPE_CHECKING:
    import pyarrow as pa

_PLACE = ["entity_id", "tile_us", "tile"]
_COMPUTED = ":computed"
_AT_ONCE = 100  # stretches that are in memory
_RELATIVE = 1e-9
# The largest number that a sum or moment of a tile can come from, by (n, largest absolute value, length in µs). Others are exact.
_LARGEST: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "sum": lambda n, x, t: n * x,
    "ax": lambda n, x, t: x,
    "mx": lambda n, x, t: x,
    "m2": lambda n, x, t: n * x * x,
    "mt": lambda n, x, t: t,
    "mtt": lambda n, x, t: n * t * t,
    "mtx": lambda n, x, t: n * t * x,
}


class WrongTile(BaseModel):
    """A tile that is not what the rows give. `begins`: UTC; `seconds`: its length; `columns`: where it differs."""

    model_config = ConfigDict(frozen=True)
    keys: tuple[str, ...]
    begins: datetime
    seconds: float
    what: Literal["different", "missing", "of no row"]
    columns: list[str] = []


class TilesReport(BaseModel):
    """What was looked at of a view's tiles. `stretches` of one entity and day (or less) each; `tiles`: stored ones in them.

    `believed`: False where the next refresh rebuilds them all anyway; then nothing was compared.
    """

    model_config = ConfigDict(frozen=True)
    view_id: str
    believed: bool = True
    stretches: int = 0
    tiles: int = 0
    wrong: list[WrongTile] = []

    @property
    def first_day(self) -> date | None:
        """Day of the earliest wrong tile."""
        return min((tile.begins.date() for tile in self.wrong), default=None)


def verify_tiles(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    view: FeatureView,
    *,
    sample: int,
    seed: int | None = None,
) -> TilesReport:
    """Compare about `sample` stretches: half where a tile is stored, half at random times of random series.

    `conn`: autocommit, outside a transaction; nothing is written. Stretches with changes that no refresh has read are left out.
    Raises psycopg.Error. A view that was never applied has no tiles.
    """
    if not view.windowed:
        return TilesReport(view_id=view.id)
    tables, random = ViewTables(definitions, view), np.random.default_rng(seed)
    with snapshot(conn):
        state = changes.view_state(conn, view.id)
        if state is None or not state.tiles_complete:
            return TilesReport(view_id=view.id, believed=False)
        of_key: dict[Key, list[Series]] = defaultdict(list)
        for one in series_of(conn, view):
            of_key[one.keys].append(one)
        unread = changes.pending_changes(conn, view, state.refresh_watermark)
        found = _stretches(conn, tables, of_key, unread, sample, random)
        stored, wrong = 0, []
        with engine(settings, state.script) as run, arrow_reader(conn) as reader:
            for start in range(0, len(found), _AT_ONCE):
                chunk = Chunk(tables, found[start : start + _AT_ONCE], of_key, {}, {})
                _, computed = run.run(chunk.events(reader), no_tiles(tables.partials))
                there = read_tiles(reader, tables, chunk.rebuilt())
                stored += there.num_rows
                wrong += _differences(chunk, there, computed)
    return TilesReport(view_id=view.id, stretches=len(found), tiles=stored, wrong=wrong)


def _stretches(
    conn: psycopg.Connection[Any],
    tables: ViewTables,
    series: Mapping[Key, Sequence[Series]],
    unread: Sequence[changes.LoggedChange],
    sample: int,
    random: np.random.Generator,
) -> list[Segment]:
    """Whole stretches between boundaries of all tile sizes, none twice, ascending."""
    boundary = Reach.of(tables.view).boundary
    places = {(keys, tile * size // boundary) for keys, size, tile in sample_tiles(conn, tables, sample - sample // 2)}
    spans = [(one.keys, to_us(one.first), to_us(one.last)) for of in series.values() for one in of if one.first and one.last]
    for chosen in random.integers(0, len(spans), sample // 2) if spans else ():
        keys, first, last = spans[chosen]
        places.add((keys, int(random.integers(first, last + 1)) // boundary))
    late = {
        (change.keys, number)
        for change in unread
        for number in range(to_us(change.first) // boundary, to_us(change.last) // boundary + 1)
    }
    return [
        Segment(keys, number * boundary, number * boundary, (number + 1) * boundary - 1, (number + 1) * boundary)
        for keys, number in sorted(places - late)
    ]


def _differences(chunk: Chunk, stored: pa.Table, computed: pa.Table) -> list[WrongTile]:
    """Tiles that are in one of the two, or differ."""
    import pyarrow as pa

    stored = stored.append_column("stored", pa.array([True] * stored.num_rows, pa.bool_()))
    computed = computed.append_column("computed", pa.array([True] * computed.num_rows, pa.bool_()))
    both = stored.join(computed, _PLACE, join_type="full outer", right_suffix=_COMPUTED)
    is_stored, is_computed = (both.column(name).is_valid().to_numpy(zero_copy_only=False) for name in ("stored", "computed"))
    differs = {partial.column: _differs(both, partial) & is_stored & is_computed for partial in chunk.tables.partials}
    any_differs = np.logical_or.reduce([*differs.values(), ~is_stored, ~is_computed])
    found = []
    for row in np.flatnonzero(any_differs).tolist():
        number, size, tile = (both.column(name)[row].as_py() for name in _PLACE)
        what: Literal["different", "missing", "of no row"] = (
            "missing" if not is_stored[row] else "of no row" if not is_computed[row] else "different"
        )
        columns = [column for column, wrong in differs.items() if wrong[row]]
        found.append(
            WrongTile(
                keys=chunk.segments[number].key, begins=from_us(tile * size), seconds=size / 1e6, what=what, columns=columns
            )
        )
    return sorted(found, key=lambda one: (one.keys, one.begins, one.seconds))


def _differs(both: pa.Table, partial: Partial) -> Any:
    """By row, whether the stored and the computed partial are of different values."""
    import pyarrow.compute as pc

    stored, computed = both.column(partial.column), both.column(partial.column + _COMPUTED)
    one_null = pc.not_equal(pc.is_null(stored), pc.is_null(computed))
    differs = pc.fill_null(pc.not_equal(stored, computed), False)
    differs = pc.or_(differs, one_null).to_numpy(zero_copy_only=False)
    if partial.name not in _LARGEST:
        return differs
    with np.errstate(over="ignore", invalid="ignore"):
        least = _RELATIVE * _LARGEST[partial.name](*(_numbers(both, name) for name in _scales(partial)))
        within = np.abs(_numbers(both, partial.column) - _numbers(both, partial.column + _COMPUTED)) <= least
    return differs & ~within


def _scales(partial: Partial) -> tuple[str, str, str]:
    return f"p_{partial.input}_n", f"p_{partial.input}_absmax", "tile_us"


def _numbers(both: pa.Table, name: str) -> Any:
    return both.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
