"""From changes to work: which stretch of which entity is recomputed, and since when its values are known.

Belongs here: interval arithmetic in integer microseconds, pure. Does not: SQL, reading rows, computing values.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millwright.definitions import FeatureView
from millwright.definitions.partials import tile_sizes, tiles_back

Key = tuple[str, ...]
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Change:
    """Rows of one entity and relation changed in [first, last]. `created`: the delivery's clock; None for a requested
    recomputation, which touches no row after its own `last`. All in µs."""

    first: int
    last: int
    relation: str = "measurements"
    created: int | None = None
    historical: bool = False


@dataclass(frozen=True)
class Segment:
    """A stretch of one entity: rows in [first, end) are recomputed from events in [start, end) and tiles before start.

    `start` is a boundary of every tile size, so that the events make whole tiles. Tiles of [first, last] are rebuilt.
    """

    key: Key
    start: int
    first: int
    last: int
    end: int


@dataclass(frozen=True)
class Reach:
    """How far a view's changes reach. `boundary` (µs): every multiple of it begins a tile of each size.

    `tiles`: how many whole tiles reach into one row's windows. `windows`: (h, W) of the features by the relation that they are
    about, µs. `every`: length of the buckets of which one row
    is kept, 1 µs where all rows are: whole buckets are touched.
    """

    boundary: int
    windows: Mapping[str, frozenset[tuple[int, int]]]
    every: int = 1
    tiles: int = 0

    @classmethod
    def of(cls, view: FeatureView) -> Reach:
        """The reach of a view."""
        windows = {
            relation: frozenset((f.tile_us, f.window_us) for f in view.windowed if f.relation == relation)
            for relation in view.relations
        }
        tiles = sum(tiles_back(view, size) for size in tile_sizes(view))
        return cls(math.lcm(*tile_sizes(view)), windows, view.every_us or 1, tiles)

    def begin(self, change: Change) -> int:
        """First t (µs) that the change touches."""
        return change.first // self.every * self.every

    def end(self, change: Change) -> int:
        """First t (µs) that the change does not touch: the greatest floor(last, h) + h + W over the features about its relation,
        and after its own rows in any case."""
        if change.created is None:  # whole days were asked for: they end on a boundary of every tile size
            end = change.last + 1
        else:
            end = max([change.last + 1, *(change.last // h * h + h + window for h, window in self.windows[change.relation])])
        return -(-end // self.every) * self.every


def segments(reach: Reach, key: Key, changes: Iterable[Change]) -> list[Segment]:
    """The changes of one entity as disjoint segments, ascending; [start, end) of no two overlap.

    Because they do not, no segment needs a partial that another changes: a window of the later begins after the earlier's
    last tile, or is about a relation that did not change there.
    """
    found: list[Segment] = []
    for change in changes:
        first = reach.begin(change)
        found.append(Segment(key, first // reach.boundary * reach.boundary, first, change.last, reach.end(change)))
    return disjoint(found)


def cut(reach: Reach, segment: Segment, times: Iterable[int]) -> list[Segment]:
    """A segment as pieces that follow each other, cut where every tile size begins, at or before each of `times` (µs in it)."""
    edges = sorted({t // reach.boundary * reach.boundary for t in times} - {segment.start})
    starts, ends = [segment.start, *edges], [*edges, segment.end]
    return [
        Segment(segment.key, start, max(segment.first, start), min(segment.last, end - 1), end)
        for start, end in zip(starts, ends, strict=True)
    ]


def disjoint(found: Iterable[Segment]) -> list[Segment]:
    """Segments of one entity, those that overlap as one, ascending."""
    merged: list[Segment] = []
    for one in sorted(found, key=lambda segment: segment.first):
        if merged and one.start < merged[-1].end:
            before = merged.pop()
            one = Segment(one.key, before.start, before.first, max(before.last, one.last), max(before.end, one.end))
        merged.append(one)
    return merged


def known_times(reach: Reach, changes: Sequence[Change], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Created time (µs) of the newest change that touches each of `times`; NEVER where none does.

    A historical delivery was known when it happened: what it brought to t, at min(t, its last event).
    """
    known = _newest(reach, [(change, change.created) for change in changes if not change.historical], times)
    happened = _newest(reach, [(change, change.last) for change in changes if change.historical], times)
    return np.maximum(known, np.where(happened == NEVER, NEVER, np.minimum(happened, times)))


def _newest(reach: Reach, weighted: Sequence[tuple[Change, int | None]], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The greatest weight over the changes that touch each time: a sweep over their ends."""
    if not weighted:
        return np.full(len(times), NEVER)
    begins = sorted((reach.begin(change), reach.end(change), weight) for change, weight in weighted if weight is not None)
    edges = sorted({edge for first, end, _ in begins for edge in (first, end)})
    cells = [NEVER]  # before the first edge
    active: list[tuple[int, int]] = []  # (-weight, end)
    next_one = 0
    for edge in edges:
        while next_one < len(begins) and begins[next_one][0] <= edge:
            _, end, weight = begins[next_one]
            heapq.heappush(active, (-weight, end))
            next_one += 1
        while active and active[0][1] <= edge:
            heapq.heappop(active)
        cells.append(-active[0][0] if active else NEVER)
    return np.array(cells, dtype=np.int64)[np.searchsorted(np.array(edges, dtype=np.int64), times, side="right")]
