"""From work to chunks of bounded memory: many small entities at once, a large one in pieces of its time.

Belongs here: how many rows segments have, which share a chunk, where one is cut. Does not: what a chunk reads (chunk.py), the
order of a refresh's steps (refresh.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg

from millwright.features.buckets import next_rows, widened
from millwright.features.chunk import Chunk
from millwright.features.touched import Change, Key, Reach, cut, segments
from millwright.warehouse.read import Series, count_rows, every_nth
from millwright.warehouse.tables import ViewTables


def chunks(
    conn: psycopg.Connection[object],
    tables: ViewTables,
    series: Mapping[Key, Sequence[Series]],
    work: Mapping[Key, Sequence[Change]],
    limit: int,
    *,
    pieces: bool,
) -> Iterator[Chunk]:
    """Chunks of about `limit` rows, in the order of keys and times. A segment with more rows of the view's source is a chunk by
    itself, with `pieces` a row of chunks that follow each other, cut where every tile size begins: at least one such stretch
    each, however many rows it has."""
    view = tables.view
    reach, relation = Reach.of(view), view.relations[0]
    found = [segment for key in sorted(work) for segment in segments(reach, key, work[key])]
    next_row: Mapping[int, int] = {}
    if view.every:
        found, next_row = widened(conn, reach, found, series, relation)

    def own(number: int) -> list[int]:
        return [one.series_id for one in series.get(found[number].key, ()) if one.relation == relation]

    rows = count_rows(conn, relation, [(n, one, segment.start, segment.end) for n, segment in enumerate(found) for one in own(n)])
    for numbers in _packed([rows.get(number, 0) + reach.tiles for number in range(len(found))], limit):
        first = numbers[0]
        if not pieces or rows.get(first, 0) <= limit:
            here = {place: next_row[number] for place, number in enumerate(numbers) if number in next_row}
            yield Chunk(tables, [found[number] for number in numbers], series, work, here)
            continue
        times = every_nth(conn, relation, own(first), found[first].start, found[first].end, limit)
        before = None
        for piece in cut(reach, found[first], times):
            after = next_rows(conn, [piece], series, relation) if view.every else {}
            before = Chunk(tables, [piece], series, work, after, before)
            yield before


def _packed(weights: Sequence[int], limit: int) -> Iterator[list[int]]:
    """Neighbours together as long as their weights stay within the limit."""
    together: list[int] = []
    total = 0
    for number, weight in enumerate(weights):
        if together and total + weight > limit:
            yield together
            together, total = [], 0
        together.append(number)
        total += weight
    if together:
        yield together
