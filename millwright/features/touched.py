"""From changes to work: which stretch of which entity is recomputed, and since when its values are known.

Belongs here: interval arithmetic in integer microseconds, pure. Does not: SQL, reading rows, computing values.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from millwright.definitions import FeatureView
from millwright.definitions.partials import tile_sizes

Key = tuple[str, ...]
NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Change:
    """Rows of one entity changed in [first, last]. `created`: the delivery's clock; None for a requested recomputation,
    which touches no row after its own `last`. All in µs."""

    first: int
    last: int
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


def common_boundary(view: FeatureView) -> int:
    """µs; every multiple of it begins a tile of each size of the view."""
    return math.lcm(*tile_sizes(view))


def touched_end(view: FeatureView, last: int) -> int:
    """First t (µs) that a change at `last` does not touch: the greatest floor(last, h) + h + W over the features."""
    return max(last // feature.tile_us * feature.tile_us + feature.tile_us + feature.window_us for feature in view.features)


def segments(view: FeatureView, key: Key, changes: Iterable[Change]) -> list[Segment]:
    """The changes of one entity as disjoint segments, ascending; [start, end) of no two overlap.

    Because they do not, no segment needs a tile that another rebuilds: a window of the later begins after the earlier's
    last tile.
    """
    boundary = common_boundary(view)
    found: list[Segment] = []
    for change in sorted(changes, key=lambda change: change.first):
        start = change.first // boundary * boundary
        # A requested range is made of whole days: it ends on a boundary of every tile size.
        end = change.last + 1 if change.created is None else touched_end(view, change.last)
        if found and start < found[-1].end:
            before = found.pop()
            found.append(Segment(key, before.start, before.first, max(before.last, change.last), max(before.end, end)))
        else:
            found.append(Segment(key, start, change.first, change.last, end))
    return found


def known_times(view: FeatureView, changes: Sequence[Change], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Created time (µs) of the newest change that touches each of `times`; NEVER where none does.

    A historical delivery was known when it happened: what it brought to t, at min(t, its last event).
    """
    known = _newest(view, [(change, change.created) for change in changes if not change.historical], times)
    happened = _newest(view, [(change, change.last) for change in changes if change.historical], times)
    return np.maximum(known, np.where(happened == NEVER, NEVER, np.minimum(happened, times)))


def _newest(view: FeatureView, weighted: Sequence[tuple[Change, int | None]], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The greatest weight over the changes that touch each time: a sweep over their ends."""
    if not weighted:
        return np.full(len(times), NEVER)
    begins = sorted((change.first, touched_end(view, change.last), weight) for change, weight in weighted if weight is not None)
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
