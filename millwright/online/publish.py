"""Publishes a view: the latest current row of each changed entity, as of one snapshot of its history, to Redis (invariant I4).

Belongs here: which entities, in what order, and when the watermark moves; what is told when Redis fails. Does not: bytes
(codec.py), the atomic step (write.py).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import redis
from pydantic import BaseModel, ConfigDict

from millwright.ahead import ahead
from millwright.definitions import Definitions, FeatureView
from millwright.online import codec, failures, stores
from millwright.online.changes import Change
from millwright.online.connect import Client
from millwright.online.outcomes import Written
from millwright.online.write import prepare, write
from millwright.warehouse import latest
from millwright.warehouse.connect import snapshot
from millwright.warehouse.copy import arrow_reader

Days = tuple[date, date]
CHUNK_ROWS = 10_000
# Seconds before a chunk is sent again after its connection was cut.
PAUSES = (0.1, 0.5, 2.0)


class PublishReport(BaseModel):
    """What a publish did. `days`: rows sent per UTC day of their event time; `order`: the snapshot, on the view's clock."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    store_id: str
    entities: int = 0
    written: int = 0
    older: int = 0
    equal: int = 0
    removed: int = 0
    bytes: int = 0
    days: dict[date, int] = {}
    first_event: datetime | None = None
    last_event: datetime | None = None
    order: datetime | None = None
    stages: dict[str, float] = {}
    preview: list[dict[str, Any]] = []


class StoreChanged(RuntimeError):
    """The Redis was emptied, restarted or replaced while it was being written: it may have lost what it had confirmed."""


def publish(
    conn: psycopg.Connection[Any],
    client: redis.Redis,
    definitions: Definitions,
    view: FeatureView,
    *,
    project: str,
    full: bool = False,
    days: Days | None = None,
) -> PublishReport:
    """Send what changed since the view's watermark for this Redis; with `full` every entity, with `days` those with rows in
    the inclusive UTC days. Each entity gets its latest row of the snapshot, or loses its row when none is left.

    `conn`: autocommit, outside a transaction. The watermark moves only after Redis confirmed every row; a run that dies before
    is made good by the next. Raises redis.RedisError, psycopg.Error, StoreChanged.
    """
    store = stores.store_id(client, project)
    with stores.publish_lock(conn, view.id, store):
        since = None if full else stores.watermarks(conn, client, project).get(view.id)
        sent = _Sent(definitions, view, project, stores.incarnation(client))
        with snapshot(conn):
            order = latest.newest(conn, view)
            if order is not None:
                rows = latest.latest_rows(definitions.entity_of(view), view, since=since, days=days)
                with (
                    arrow_reader(conn) as reader,
                    closing(ahead(sent.encoded(client, reader.batches(rows), stores.micros(order)))) as chunks,
                ):
                    sent.send(client, chunks)
        sent.check_server(client)
        if stores.known_id(client, project) != store:
            raise StoreChanged(
                f"Redis was emptied or replaced while {view.id} was being published. Postgres keeps every row; "
                "the next publish fills the new store."
            )
        if order is not None and days is None:
            stores.move_watermark(conn, client, project, view.id, store, order)
    return sent.report(store, order)


def unpublished_views(conn: psycopg.Connection[Any], client: redis.Redis, definitions: Definitions, *, project: str) -> list[str]:
    """Ids of the views that are active or deprecated and have rows newer than this Redis has seen."""
    published = conn.execute(
        "select view_id from catalog.feature_views where status in ('active', 'deprecated') order by view_id"
    )
    marks = stores.watermarks(conn, client, project)
    return [
        view_id
        for (view_id,) in published.fetchall()
        if view_id in definitions.feature_views
        and latest.changed_since(conn, definitions.feature_views[view_id], marks.get(view_id, stores.from_micros(0)))
    ]


def encode_rows(
    definitions: Definitions, view: FeatureView, project: str, rows: pa.RecordBatch
) -> tuple[pa.BinaryArray, list[tuple[bytes, pa.BinaryArray]]]:
    """Redis keys and (field, values) of latest rows, as Feast's writer makes them."""
    entity = definitions.entity_of(view)
    values = [(codec.timestamp_field(view.id), codec.encode_timestamps(rows.column("event_timestamp")))]
    for feature in view.features:
        kind = definitions.feature_type(view, feature)
        values.append((codec.field(view.id, feature.name), codec.encode_values(kind, rows.column(feature.name))))
    return codec.encode_keys(project, entity.join_keys, rows), values


def row_fields(view: FeatureView) -> list[bytes]:
    """Every field that Feast's writer makes for a row of the view."""
    return [codec.timestamp_field(view.id), *(codec.field(view.id, feature.name) for feature in view.features)]


@dataclass(frozen=True)
class _Encoded:
    """Rows of a chunk and how they are written; and how entities that have no row any more are removed."""

    rows: pa.RecordBatch
    change: Change
    removal: Change


class _Sent:
    """Sends chunks and adds up what became of them."""

    def __init__(self, definitions: Definitions, view: FeatureView, project: str, incarnation: str) -> None:
        self.definitions, self.view, self.project, self.incarnation = definitions, view, project, incarnation
        self.written = Written()
        self.entities = 0
        self.days: Counter[date] = Counter()
        self.events: list[datetime] = []
        self.stages: dict[str, float] = {"read": 0.0, "write": 0.0}
        self.preview: list[dict[str, Any]] = []
        self._last = time.perf_counter()

    def encoded(self, client: Client, batches: Iterator[pa.RecordBatch], order: int) -> Iterator[_Encoded]:
        """Rows as Redis is sent them, some thousand at a time; read and made in the thread that reads ahead."""
        join_keys = self.definitions.entity_of(self.view).join_keys
        for chunk in _chunks(batches):
            present = pc.is_valid(chunk.column("event_timestamp"))
            rows, gone = chunk.filter(present), chunk.filter(pc.invert(present))
            keys, values = encode_rows(self.definitions, self.view, self.project, rows)
            lost = codec.encode_keys(self.project, join_keys, gone)
            yield _Encoded(
                rows,
                prepare(client, Change.rows(self.view.id, keys, values, order)),
                prepare(client, Change.removals(self.view.id, lost, row_fields(self.view), order)),
            )

    def send(self, client: Client, chunks: Iterator[_Encoded]) -> None:
        """Write the chunks as they come."""
        for chunk in chunks:
            self._took("read")
            self.entities += len(chunk.change.keys) + len(chunk.removal.keys)
            if chunk.rows.num_rows:
                self._note(chunk.rows)
            self._write(client, chunk.change)
            self._write(client, chunk.removal)
            self._took("write")
        self._took("read")

    def check_server(self, client: Client) -> None:
        """Raises StoreChanged when Redis is no longer the process that had the first row."""
        if stores.incarnation(client) != self.incarnation:
            raise StoreChanged(
                f"Redis was restarted or failed over while {self.view.id} was being published, and may have lost rows that it "
                "had confirmed. None is counted as published; the next publish sends them again."
            )

    def _write(self, client: Client, change: Change) -> None:
        """A cut connection to the same server is tried again: rows that were written already are counted as equal."""
        for pause in (*PAUSES, None):
            try:
                self.written += write(client, change)
                return
            except redis.RedisError as error:
                if pause is None or not isinstance(error, redis.ConnectionError | redis.TimeoutError):
                    raise failures.told(error, self.view.id, self.written) from error
            time.sleep(pause)
            with suppress(redis.ConnectionError, redis.TimeoutError):
                self.check_server(client)

    def report(self, store: str, order: datetime | None) -> PublishReport:
        return PublishReport(
            view_id=self.view.id,
            store_id=store,
            entities=self.entities,
            written=self.written.written,
            older=self.written.older,
            equal=self.written.equal,
            removed=self.written.removed,
            bytes=self.written.bytes,
            days=dict(sorted(self.days.items())),
            first_event=min(self.events, default=None),
            last_event=max(self.events, default=None),
            order=order,
            stages=self.stages,
            preview=self.preview,
        )

    def _note(self, rows: pa.RecordBatch) -> None:
        events = rows.column("event_timestamp")
        counted = pc.value_counts(pc.cast(pc.floor_temporal(events, unit="day"), pa.int64()))
        self.days.update({stores.from_micros(item["values"]).date(): item["counts"] for item in counted.to_pylist()})
        self.events.extend(map(stores.from_micros, pc.min_max(pc.cast(events, pa.int64())).as_py().values()))
        if len(self.preview) < 10:
            self.preview.extend(_plain_rows(rows.slice(0, 10 - len(self.preview))))

    def _took(self, stage: str) -> None:
        now = time.perf_counter()
        self.stages[stage] += now - self._last
        self._last = now


def _plain_rows(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as Python values; times by way of integers, because Arrow imports pandas to make datetimes."""
    times = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    for name in times:
        rows = rows.set_column(rows.schema.get_field_index(name), name, pc.cast(rows.column(name), pa.int64()))
    return [
        {name: stores.from_micros(value) if name in times else value for name, value in row.items()} for row in rows.to_pylist()
    ]


def _chunks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            yield batch.slice(start, CHUNK_ROWS)
