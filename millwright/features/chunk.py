"""One chunk of a refresh: its segments, what they read, and which of the engine's rows and tiles are theirs.

Belongs here: from segments to ranges and back, vectorised. Does not: transactions, the order of steps (refresh.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from millwright.definitions.partials import tile_sizes, tiles_back
from millwright.features.buckets import CLOSED_BY, closed_known
from millwright.features.touched import NEVER, Change, Key, Reach, Segment, known_times
from millwright.warehouse import history
from millwright.warehouse.copy import ArrowReader
from millwright.warehouse.read import Series, Stretch, TileRange, read_events, read_tiles
from millwright.warehouse.tables import ViewTables, key_column
from millwright.warehouse.timestamps import from_us, to_us

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = "tolerance:"


class Chunk:
    """Segments numbered from 0 in ascending order: the engine's entity_id is the number."""

    def __init__(
        self,
        tables: ViewTables,
        found: Sequence[Segment],
        series: Mapping[Key, Sequence[Series]],
        work: Mapping[Key, Sequence[Change]],
        next_row: Mapping[int, int],
        before: Chunk | None = None,
    ) -> None:
        """`next_row`: by segment, the time (µs) of a row after it that the engine is to see too. `before`: the chunk of the piece
        before, where this one's only segment is a later piece of a longer one; its tiles are not in the warehouse yet."""
        self.tables, self.view, self.segments, self.series, self.work = tables, tables.view, found, series, work
        self._reach, self._next_row, self._before = Reach.of(tables.view), next_row, before
        self._left: pa.Table | None = None
        self._followed = False
        if before is not None:
            before._followed = True
        self._first = np.array([segment.first for segment in found], dtype=np.int64)
        self._last = np.array([segment.last for segment in found], dtype=np.int64)
        self._end = np.array([segment.end for segment in found], dtype=np.int64)

    def events(self, reader: ArrowReader) -> pa.Table:
        """Rows of the segments, from their boundary on."""
        stretches = [
            Stretch(number, one.series_id, one.relation, one.sensor_type, from_us(segment.start), from_us(segment.end))
            for number, segment in enumerate(self.segments)
            for one in self.series.get(segment.key, ())
            if one.first is not None
            and one.last is not None
            and to_us(one.first) < segment.end
            and to_us(one.last) >= segment.start
        ]
        stretches += [
            Stretch(number, one.series_id, one.relation, one.sensor_type, from_us(t), from_us(t + 1))
            for number, t in self._next_row.items()
            for one in self.series[self.segments[number].key]
            if one.relation == self.view.relations[0]
        ]
        return read_events(reader, self.tables, stretches)

    def prior(self, reader: ArrowReader) -> pa.Table:
        """Whole tiles before the segments' boundary that reach into their windows."""
        if self._before is not None:
            return self._before.left(self.segments[0])
        ranges = [
            TileRange(number, segment.key, size, segment.first // size - tiles_back(self.view, size), segment.start // size)
            for size in tile_sizes(self.view)
            for number, segment in enumerate(self.segments)
        ]
        return read_tiles(reader, self.tables, ranges)

    def keep(self, tiles: pa.Table) -> None:
        """Hold the engine's tiles for the piece after this one, if there is one."""
        self._left = tiles if self._followed else None

    def left(self, after: Segment) -> pa.Table:
        """Of the kept tiles, given away, those that reach into the windows of the piece after this one."""
        import pyarrow as pa

        assert self._left is not None, "a piece is computed after the piece before it"
        tiles, self._left = self._left, None
        size, tile = tiles.column("tile_us").to_numpy(), tiles.column("tile").to_numpy()
        first = np.zeros(len(tile), dtype=np.int64)
        for one in tile_sizes(self.view):
            first[size == one] = after.first // one - tiles_back(self.view, one)
        return tiles.filter(pa.array((tile >= first) & (tile < after.start // size)))

    def versions(self, rows: pa.Table) -> tuple[pa.Table, list[str]]:
        """The rows that belong to the segments' [first, end), as write_versions wants them, and the tolerant features."""
        import pyarrow as pa

        rows = rows.sort_by([("entity_id", "ascending"), ("t", "ascending")])
        number = rows.column("entity_id").to_numpy()
        t = rows.column("t").to_numpy()
        mine = (t >= self._first[number]) & (t < self._end[number])
        rows, number, t = rows.filter(pa.array(mine)), number[mine], t[mine]
        columns: dict[str, Any] = {
            "entity_id": rows.column("entity_id").cast(pa.int32()),
            "event_timestamp": pa.array(t, pa.timestamp("us", "UTC")),
            "known_timestamp": self._known(number, t, rows),
        }
        names = [name for name in rows.column_names[2:] if name != CLOSED_BY]
        columns |= {name: rows.column(name) for name in names}
        return pa.table(columns), [name.removeprefix(TOLERANCE) for name in names if name.startswith(TOLERANCE)]

    def as_table(self) -> pa.Table:
        """(segment, keys…, first_event, end_event)."""
        import pyarrow as pa

        instant = pa.timestamp("us", "UTC")
        return pa.table(
            {
                "segment": pa.array(range(len(self.segments)), pa.int32()),
                **self._keys([segment.key for segment in self.segments]),
                "first_event": pa.array(self._first, instant),
                "end_event": pa.array(self._end, instant),
            }
        )

    def rebuilt(self) -> list[TileRange]:
        """The tiles that the changes lie in."""
        return [
            TileRange(number, segment.key, size, segment.first // size, segment.last // size + 1)
            for size in tile_sizes(self.view)
            for number, segment in enumerate(self.segments)
        ]

    def rebuilt_tiles(self, tiles: pa.Table) -> pa.Table:
        """Of the engine's tiles those of `rebuilt`, as write_tiles wants them."""
        import pyarrow as pa

        number = tiles.column("entity_id").to_numpy()
        size, tile = tiles.column("tile_us").to_numpy(), tiles.column("tile").to_numpy()
        mine = (tile >= self._first[number] // size) & (tile <= self._last[number] // size)
        order = np.flatnonzero(mine)
        order = order[np.lexsort((tile[order], size[order], number[order]))]  # as the table's index, which grows faster so
        tiles = tiles.take(pa.array(order))
        keys = self._keys([self.segments[int(place)].key for place in number[order]])
        columns = {key_column(name): values for name, values in keys.items()}
        columns |= {name: tiles.column(name) for name in tiles.column_names if name != "entity_id"}
        return pa.table(columns).select(history.tile_columns(self.tables))

    def _known(self, number: Any, t: Any, rows: pa.Table) -> pa.Array:
        import pyarrow as pa

        known = np.full(len(t), NEVER, dtype=np.int64)
        closed_by = rows.column(CLOSED_BY).to_numpy() if self.view.every else None
        edges = np.searchsorted(number, np.arange(len(self.segments) + 1))
        for place, segment in enumerate(self.segments):
            here = slice(edges[place], edges[place + 1])
            changes = self.work[segment.key]
            known[here] = known_times(self._reach, changes, t[here])
            if closed_by is not None:
                closed = closed_known(self._reach, changes, self.view.relations[0], closed_by[here])
                known[here] = np.maximum(known[here], closed)
        return pa.array(known, pa.timestamp("us", "UTC"), mask=known == NEVER)

    def _keys(self, keys: Sequence[Key]) -> dict[str, pa.Array]:
        import pyarrow as pa

        return {
            name: pa.array([int(key[place]) for key in keys], pa.int64())
            if kind == "int64"
            else pa.array([key[place] for key in keys], pa.string())
            for place, (name, kind) in enumerate(self.tables.keys.items())
        }
