"""Refreshes a view: from the change log to the versions of its rows, in one transaction under the view's lock.

Belongs here: the order of steps and what each chunk reads and writes. Does not: interval arithmetic (touched.py), the
computation (compute.py, windows.py), SQL (warehouse/).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg import IsolationLevel
from pydantic import BaseModel, ConfigDict

from millwright.ahead import ahead
from millwright.definitions import Definitions, FeatureView
from millwright.features.chunk import Chunk
from millwright.features.compute import Computation, Tables, engine
from millwright.features.plan import chunks
from millwright.features.touched import Change, Key
from millwright.settings import Settings
from millwright.warehouse import changes, history
from millwright.warehouse.copy import ArrowReader, arrow_reader
from millwright.warehouse.read import Series, series_of
from millwright.warehouse.tables import ViewTables
from millwright.warehouse.timestamps import day_us, to_us

if TYPE_CHECKING:
    import pyarrow as pa

Days = tuple[date, date]
EngineName = Literal["duckdb", "spark"]


class RefreshReport(BaseModel):
    """What a refresh read and wrote. `days`: rows inserted, replaced or retracted per UTC day of their event time;
    `superseded` includes replaced and retracted rows; `watermark`: changes up to it are in the rows."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    events_read: int = 0
    tiles_read: int = 0
    tiles_written: int = 0
    computed: int = 0
    inserted: int = 0
    superseded: int = 0
    retracted: int = 0
    unchanged: int = 0
    days: dict[date, int] = {}
    first_event: datetime | None = None
    last_event: datetime | None = None
    watermark: datetime
    bytes: int = 0
    stages: dict[str, float] = {}
    more: bool = False
    preview: list[dict[str, Any]] = []


class NotApplied(RuntimeError):
    """The view's definition and its tables are not of one kind."""


def stale_views(conn: psycopg.Connection[Any], definitions: Definitions) -> list[str]:
    """Ids of the applied, not retired views with changes of their source after their watermark, sorted."""
    return changes.stale_views(conn, [view for _, view in sorted(definitions.feature_views.items())])


def refresh(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    view: FeatureView,
    *,
    days: Days | None = None,
    on: EngineName = "duckdb",
) -> RefreshReport:
    """Bring a view up to the newest change; with `days` (inclusive, UTC) also recompute every row in them.

    `conn`: autocommit, outside a transaction. The lock is taken before the snapshot, so that nothing that another refresh
    wrote is missed; rows, tiles and watermark commit together. A requested recomputation takes in what is pending too:
    its tiles must be those of one set of warehouse rows. Rows that come out equal, within I5, are not written again.
    `on`: where it is computed; rows, tiles and history are the same. Raises NotApplied when the definition was changed or never
    applied, psycopg.Error as Postgres does.
    """
    with _lock(conn, view.id), _repeatable_read(conn):
        state = changes.view_state(conn, view.id)
        if state is None:
            raise NotApplied(f"{view.id} was never applied: run `millwright apply`.")
        if state.definition_hash != view.content_hash():
            raise NotApplied(
                f"{view.id} is defined otherwise than it was applied. Restore its file, or write a new version of it, "
                "and run `millwright apply`. Its rows are as they were."
            )
        work = _Refresh(conn, settings, ViewTables(definitions, view), state, on)
        report = work.run(days)
    if report.days:
        conn.execute("notify millwright, 'changed'")
    return report


class _Refresh:
    def __init__(
        self, conn: psycopg.Connection[Any], settings: Settings, tables: ViewTables, state: changes.ViewState, on: EngineName
    ) -> None:
        self.conn, self.settings, self.tables, self.state, self.on = conn, settings, tables, state, on
        self.view = tables.view
        self.counts: dict[str, int] = defaultdict(int)
        self.stages: dict[str, float] = defaultdict(float)
        self.days: list[history.DayCount] = []

    def run(self, days: Days | None) -> RefreshReport:
        began = time.perf_counter()
        pending = changes.pending_changes(self.conn, self.view, self.state.refresh_watermark)
        series = series_of(self.conn, self.view)
        work = self._work(pending, series, days)
        self.stages["plan"] += time.perf_counter() - began
        preview: list[dict[str, Any]] = []
        if work:
            created = history.next_created(self.conn, self.view.id)
            if not self.state.tiles_complete:
                history.clear_tiles(self.conn, self.tables)
            self._compute(work, series, created)
            preview = history.preview(self.conn, self.tables, created)
        history.finish(self.conn, self.view.id, max(self.state.clock, self.state.refresh_watermark))
        return self._report(preview)

    def _work(
        self, pending: Sequence[changes.LoggedChange], series: Sequence[Series], days: Days | None
    ) -> dict[Key, list[Change]]:
        """Changes by entity: the log's, the requested days, and all there is where the tiles are not to be believed."""
        work: dict[Key, list[Change]] = defaultdict(list)
        for change in pending:
            logged = Change(to_us(change.first), to_us(change.last), change.relation, to_us(change.created), change.historical)
            work[change.keys].append(logged)
        if days:
            for key in {one.keys for one in series}:
                work[key].append(Change(day_us(days[0]), day_us(days[1] + timedelta(days=1)) - 1))
        if not self.state.tiles_complete:
            for key, extents in _extents(series).items():
                # In one piece: a window of the last may reach back to the first.
                first, last = min(first for first, _ in extents), max(last for _, last in extents)
                work[key].append(Change(day_us(first.date()), day_us(last.date() + timedelta(days=1)) - 1))
        return work

    def _compute(self, work: dict[Key, list[Change]], series: Sequence[Series], created: datetime) -> None:
        of_key: dict[Key, list[Series]] = defaultdict(list)
        for one in series:
            of_key[one.keys].append(one)
        in_order = self.on == "duckdb"
        limit = self.settings.refresh_rows_per_chunk
        with self._stage("plan"):
            planned = list(chunks(self.conn, self.tables, of_key, work, limit, pieces=in_order))
        with (
            self._computation() as run,
            arrow_reader(self.conn) as reader,
            closing(ahead(self._results(run, planned, reader))) as results,
        ):
            for number, (chunk, computed, tolerances, tiles) in enumerate(results):
                with self._stage("write"):
                    if number == 0:
                        history.open_stage(self.conn, self.tables, tolerances)
                    self.days += history.write_versions(self.conn, self.tables, chunk.as_table(), computed, created, tolerances)
                    self.counts["tiles_written"] += history.write_tiles(self.conn, self.tables, chunk.rebuilt(), tiles)
                self.counts["computed"] += computed.num_rows
        self.stages["compute"] -= self.stages["read"]

    def _results(
        self, run: Computation, planned: Sequence[Chunk], reader: ArrowReader
    ) -> Iterator[tuple[Chunk, pa.Table, list[str], pa.Table]]:
        """Of each chunk its rows, the features with a tolerance, and its tiles. One is computed while another is written."""
        results = iter(run.results(self._read(planned, reader)))
        for chunk in planned:
            with self._stage("compute"):  # reads as it goes
                rows, tiles = next(results)
                chunk.keep(tiles)
                computed, tolerances = chunk.versions(rows)
                rebuilt = chunk.rebuilt_tiles(tiles)
            yield chunk, computed, tolerances, rebuilt

    def _read(self, chunks: Sequence[Chunk], reader: ArrowReader) -> Iterator[Tables]:
        for chunk in chunks:
            with self._stage("read"):
                events, prior = chunk.events(reader), chunk.prior(reader)
            self.counts["events_read"] += events.num_rows
            self.counts["tiles_read"] += prior.num_rows
            self.counts["bytes"] += events.nbytes + prior.nbytes
            yield events, prior

    def _computation(self) -> AbstractContextManager[Computation]:
        if self.on == "duckdb":
            return engine(self.settings, self.state.script)
        from millwright.features.spark import spark

        return spark(self.settings, self.tables.definitions, self.view)

    def _report(self, preview: list[dict[str, Any]]) -> RefreshReport:
        by_day: dict[date, int] = defaultdict(int)
        for one in self.days:
            if changed := one.inserted + one.retracted:
                by_day[one.day] += changed
        return RefreshReport(
            view_id=self.view.id,
            events_read=self.counts["events_read"],
            tiles_read=self.counts["tiles_read"],
            tiles_written=self.counts["tiles_written"],
            computed=self.counts["computed"],
            bytes=self.counts["bytes"],
            inserted=sum(one.inserted for one in self.days),
            superseded=sum(one.superseded for one in self.days),
            retracted=sum(one.retracted for one in self.days),
            unchanged=sum(one.unchanged for one in self.days),
            days=dict(sorted(by_day.items())),
            first_event=min((one.first_event for one in self.days if one.first_event), default=None),
            last_event=max((one.last_event for one in self.days if one.last_event), default=None),
            watermark=max(self.state.clock, self.state.refresh_watermark),
            stages={name: round(seconds, 4) for name, seconds in self.stages.items()},
            preview=preview,
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.stages[name] += time.perf_counter() - began


def _extents(series: Sequence[Series]) -> dict[Key, list[tuple[datetime, datetime]]]:
    found: dict[Key, list[tuple[datetime, datetime]]] = defaultdict(list)
    for one in series:
        if one.first is not None and one.last is not None:
            found[one.keys].append((one.first, one.last))
    return found


@contextmanager
def _lock(conn: psycopg.Connection[Any], view_id: str) -> Iterator[None]:
    name = f"millwright.view.{view_id}"
    conn.execute("select pg_advisory_lock(hashtextextended(%s, 0))", (name,))
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (name,))


@contextmanager
def _repeatable_read(conn: psycopg.Connection[Any]) -> Iterator[None]:
    before = conn.isolation_level
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with conn.transaction():
            yield
    finally:
        if not conn.closed:
            conn.isolation_level = before
