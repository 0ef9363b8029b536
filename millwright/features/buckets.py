"""Views that keep one row of each bucket (`every`): what lies just outside a segment decides there too.

A bucket's last row is kept once the entity has a row at or after the bucket's end. So a change also touches the bucket of the
row before it, however long ago that was: it may close that bucket or open it again. And whether the last bucket of a segment is
closed depends on the row after it.

Belongs here: segments widened by the row before them, the row after them, since when a kept row is known. Does not: which rows
are kept (windows.py), what a change's windows reach (touched.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from millwright.features.touched import Change, Key, Reach, Segment, disjoint, known_times
from millwright.warehouse.read import Series, neighbours
from millwright.warehouse.timestamps import from_us, to_us

CLOSED_BY = "closed:by"
"""Column of the engine's rows of a view with `every`: time of the row that closed the bucket, µs."""


def widened(
    conn: psycopg.Connection[Any], reach: Reach, found: Sequence[Segment], series: Mapping[Key, Sequence[Series]], relation: str
) -> tuple[list[Segment], dict[int, int]]:
    """Segments that include the bucket of the row before each, and by their number the time (µs) of the row after each.

    `relation`: that of the view's rows. Segments stay ordered by key; those of one key that meet become one.
    """
    before, after = neighbours(conn, relation, _looks(found, series, relation))
    next_row: dict[tuple[Key, int], int] = {}
    of_key: dict[Key, list[Segment]] = {}
    for number, segment in enumerate(found):
        if number in after:
            next_row[segment.key, segment.end] = to_us(after[number])
        if number in before:
            first = to_us(before[number]) // reach.every * reach.every
            segment = replace(segment, first=first, start=first // reach.boundary * reach.boundary)
        of_key.setdefault(segment.key, []).append(segment)
    merged = [segment for one in of_key.values() for segment in disjoint(one)]
    known = {number: next_row.get((segment.key, segment.end)) for number, segment in enumerate(merged)}
    return merged, {number: t for number, t in known.items() if t is not None}


def next_rows(
    conn: psycopg.Connection[Any], found: Sequence[Segment], series: Mapping[Key, Sequence[Series]], relation: str
) -> dict[int, int]:
    """By number of a segment, the time (µs) of the row after it."""
    _, after = neighbours(conn, relation, _looks(found, series, relation))
    return {number: to_us(t) for number, t in after.items()}


def _looks(
    found: Sequence[Segment], series: Mapping[Key, Sequence[Series]], relation: str
) -> list[tuple[int, int, datetime, datetime]]:
    return [
        (number, one.series_id, from_us(segment.first), from_us(segment.end))
        for number, segment in enumerate(found)
        for one in series.get(segment.key, ())
        if one.relation == relation
    ]


def closed_known(reach: Reach, changes: Sequence[Change], relation: str, closed_by: NDArray[np.int64]) -> NDArray[np.int64]:
    """Created time (µs) of the newest change that brought the rows which closed the buckets; NEVER where none did."""
    return known_times(Reach(reach.boundary, {relation: frozenset()}), [c for c in changes if c.relation == relation], closed_by)
