"""Computes a definition that need not be applied, straight from the warehouse's rows, and says what came out. Writes nothing.

Belongs here: which rows are read, statistics, the newest rows. Does not: the computation (windows.py, compute.py), the command.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.durations import MICROSECOND
from millwright.definitions.partials import partials
from millwright.definitions.words import nearest
from millwright.features.buckets import CLOSED_BY
from millwright.features.compute import engine, no_tiles
from millwright.features.touched import Key, Reach
from millwright.settings import Settings
from millwright.warehouse.connect import snapshot
from millwright.warehouse.copy import arrow_reader
from millwright.warehouse.read import Series, Stretch, read_events, series_of
from millwright.warehouse.tables import ViewTables
from millwright.warehouse.timestamps import from_us, to_us

if TYPE_CHECKING:
    import pyarrow as pa


class FeatureStatistics(BaseModel):
    """A feature over the rows computed. `count`: rows with a value; min, mean, max are None for texts and where there is none."""

    model_config = ConfigDict(frozen=True)

    feature: str
    count: int
    nulls: int
    min: float | None
    mean: float | None
    max: float | None


class Preview(BaseModel):
    """What a definition gives. `rows`: feature rows computed; `newest`: the last of them; `sql`: where it was asked for."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    first_event: datetime | None = None
    last_event: datetime | None = None
    entities: int = 0
    events_read: int = 0
    rows: int = 0
    features: list[FeatureStatistics] = []
    newest: list[dict[str, Any]] = []
    sql: str | None = None


class NothingToPreview(LookupError):
    """No such view, or no row that it would be computed from."""


def find_view(definitions: Definitions, name: str) -> FeatureView:
    """A version by its id, or the newest version of a view. Raises NothingToPreview with the nearest name."""
    versions = [view for view in definitions.feature_views.values() if name in (view.id, view.feature_view)]
    if not versions:
        known = {name for view in definitions.feature_views.values() for name in (view.id, view.feature_view)}
        listed = ", ".join(sorted(definitions.feature_views)) or "none"
        raise NothingToPreview(f"No file defines {name}{nearest(name, known)}. Defined are: {listed}.")
    return max(versions, key=lambda view: view.version)


def preview(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    view: FeatureView,
    *,
    script: str,
    last: timedelta,
    keys: Mapping[str, Collection[str]],
    rows: int = 10,
) -> Preview:
    """The view's rows in the last `last` up to the newest event of the chosen entities, from events as far back as windows reach.

    `script`: as `windows.compile_view` made it for DuckDB. `keys`: accepted values by join key; one that is not named takes all.
    `conn`: autocommit, any role that may read the warehouse; one read-only snapshot is used. Entities are computed a few at a
    time, so that about `refresh_rows_per_chunk` events are in memory. Raises NothingToPreview when no event is there.
    """
    with snapshot(conn):
        return _Preview(conn, settings, ViewTables(definitions, view), last, keys).run(script, rows)


class _Preview:
    def __init__(
        self,
        conn: psycopg.Connection[Any],
        settings: Settings,
        tables: ViewTables,
        last: timedelta,
        keys: Mapping[str, Collection[str]],
    ) -> None:
        self.conn, self.settings, self.tables, self.view = conn, settings, tables, tables.view
        self.chosen = _chosen(series_of(conn, self.view), tables, keys)
        ends = [to_us(one.last) for of in self.chosen.values() for one in of if self._own(one) and one.last is not None]
        if not ends:
            raise NothingToPreview(
                f"No event of the source of {self.view.id} is in the warehouse"
                + (f" for {' '.join(f'{name}={value}' for name, values in keys.items() for value in values)}." if keys else ".")
            )
        self.end = max(ends)
        self.first = self.end - last // MICROSECOND
        boundary = Reach.of(self.view).boundary
        self.start = (self.first - max((feature.window_us for feature in self.view.windowed), default=0)) // boundary * boundary

    def run(self, script: str, rows: int) -> Preview:
        statistics = {name: _Statistics(name) for name in self.tables.features}
        newest: pa.Table | None = None
        read = computed = 0
        entities = [key for key, of in self.chosen.items() if any(self._own(one) and self._reaches(one) for one in of)]
        with engine(self.settings, script) as run, arrow_reader(self.conn) as reader:
            done, size = 0, 1
            while done < len(entities):
                chunk = entities[done : done + size]
                events = read_events(reader, self.tables, list(self._stretches(chunk, done)))
                found = self._in_range(run.run(events, no_tiles(partials(self.tables.definitions, self.view)))[0])
                for one in statistics.values():
                    one.add(found.column(one.name))
                newest = _newest(newest, found, rows)
                done, read, computed = done + len(chunk), read + events.num_rows, computed + found.num_rows
                size = max(1, self.settings.refresh_rows_per_chunk * done // max(read, 1))
        return Preview(
            view_id=self.view.id,
            first_event=from_us(self.first),
            last_event=from_us(self.end),
            entities=len(entities),
            events_read=read,
            rows=computed,
            features=[one.told() for one in statistics.values()],
            newest=[] if newest is None else self._shown(newest, entities),
        )

    def _own(self, one: Series) -> bool:
        return one.relation == self.view.relations[0]

    def _reaches(self, one: Series) -> bool:
        return one.last is not None and to_us(one.last) >= self.first

    def _stretches(self, keys: Sequence[Key], number: int) -> Iterator[Stretch]:
        start, end = from_us(self.start), from_us(self.end + 1)
        for place, key in enumerate(keys, number):
            for one in self.chosen[key]:
                if one.first is not None and one.last is not None and one.first < end and one.last >= start:
                    yield Stretch(place, one.series_id, one.relation, one.sensor_type, start, end)

    def _in_range(self, found: pa.Table) -> pa.Table:
        import pyarrow.compute as pc

        return found.filter(pc.greater_equal(found.column("t"), self.first))

    def _shown(self, newest: pa.Table, entities: Sequence[Key]) -> list[dict[str, Any]]:
        kinds = list(self.tables.keys.items())
        shown = []
        for row in newest.to_pylist():
            key = {
                name: int(value) if kind == "int64" else value
                for (name, kind), value in zip(kinds, entities[row["entity_id"]], strict=True)
            }
            values = {name: row[name] for name in self.tables.features}
            shown.append({**key, "event_timestamp": from_us(row["t"]), **values})
        return shown


class _Statistics:
    """One feature's, over chunks of rows."""

    def __init__(self, name: str) -> None:
        self.name, self.count, self.nulls, self.total = name, 0, 0, 0.0
        self.low: list[float] = []
        self.high: list[float] = []

    def add(self, values: pa.ChunkedArray) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        some = len(values) - values.null_count
        self.count, self.nulls = self.count + some, self.nulls + values.null_count
        if some and (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)):
            ends = pc.min_max(values)
            self.low, self.high = [min([*self.low, ends["min"].as_py()])], [max([*self.high, ends["max"].as_py()])]
            self.total += pc.sum(values.cast(pa.float64())).as_py()

    def told(self) -> FeatureStatistics:
        low, high = (next(iter(end), None) for end in (self.low, self.high))
        mean = self.total / self.count if self.low else None
        return FeatureStatistics(feature=self.name, count=self.count, nulls=self.nulls, min=low, mean=mean, max=high)


def _chosen(series: Sequence[Series], tables: ViewTables, keys: Mapping[str, Collection[str]]) -> dict[Key, list[Series]]:
    """The series by entity, sorted, of the entities that `keys` ask for."""
    names = list(tables.keys)
    found: dict[Key, list[Series]] = defaultdict(list)
    for one in series:
        if all(one.keys[names.index(name)] in accepted for name, accepted in keys.items()):
            found[one.keys].append(one)
    return dict(sorted(found.items()))


def _newest(before: pa.Table | None, found: pa.Table, rows: int) -> pa.Table:
    import pyarrow as pa

    kept = found.drop_columns([name for name in found.column_names if name.startswith("tolerance:") or name == CLOSED_BY])
    both = kept if before is None else pa.concat_tables([before, kept])
    return both.sort_by([("t", "descending"), ("entity_id", "ascending")]).slice(0, rows)
