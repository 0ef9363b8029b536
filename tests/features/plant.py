"""A warehouse filled by hand: rows, change log and clock as a landing leaves them, and a view applied on them.

Belongs here: setting up and reading back. Does not: expected values (oracle.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

from millwright.definitions import Dataset, Definitions, Entity, FeatureView, Reading
from millwright.features.refresh import Days, RefreshReport, refresh
from millwright.features.windows import compile_view
from millwright.settings import Settings
from millwright.warehouse.commit import next_timestamp
from millwright.warehouse.connect import connect
from millwright.warehouse.migrate import migrate
from millwright.warehouse.relations import Relation, table_of
from millwright.warehouse.tables import create_view_tables
from millwright.warehouse.timestamps import from_us, to_us
from tests.features.oracle import Event, Key, Label, Wanted

BASE = to_us(datetime(2026, 3, 1, tzinfo=UTC))
Row = Event | Label
ONE_KEY = {"machine_id": "string"}
_compiled: dict[str, str] = {}


def definitions(
    features: Sequence[Wanted],
    sensor_type: str | None = None,
    join_keys: Mapping[str, str] = ONE_KEY,
    every: str | None = None,
    expressions: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Definitions, FeatureView]:
    readings = {name: Reading(unit="u") for name in ("a", "b", "failure")}
    view = FeatureView.model_validate(
        {
            "feature_view": "vitals",
            "version": 1,
            "entity": "machine",
            "source": {"sensor_type": sensor_type},
            "ttl": "2h",
            "every": every,
            "features": [
                {"name": f.name, "aggregate": f.aggregate, "of": f.of, "from": f.relation, "window": f"{f.window // 1_000_000}s"}
                for f in features
            ]
            + [{"name": name, "expression": text} for name, text in expressions.items()],
        }
    )
    found = Definitions(
        entities={"machine": Entity(entity="machine", join_keys=dict(join_keys))},
        datasets={
            "fleet": Dataset(dataset="fleet", entity="machine", readings=readings),
            "log": Dataset(dataset="log", entity="machine", target="events"),
        },
        feature_views={view.id: view},
    )
    return found, view


class Plant:
    """One view over one warehouse."""

    def __init__(
        self,
        url: str,
        features: Sequence[Wanted],
        *,
        sensor_type: str | None = None,
        join_keys: Mapping[str, str] = ONE_KEY,
        every: str | None = None,
        expressions: Mapping[str, str] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        migrate(url)
        self.url = url
        self.features = list(features)
        self.definitions, self.view = definitions(features, sensor_type, join_keys, every, expressions)
        self.settings = Settings(**settings)
        self.conn = connect(url, autocommit=True)
        self.apply()

    def apply(self) -> None:
        """Tables, catalog and compiled SQL of the view, as apply leaves them."""
        digest = self.view.content_hash()
        if digest not in _compiled:
            _compiled[digest] = compile_view(self.definitions, self.view)["duckdb"]
        self.conn.execute(
            "insert into catalog.entities values ('machine', '{\"machine_id\": \"string\"}', '', '', now(), 'test')"
        )
        self.conn.execute(
            "insert into catalog.feature_views values (%s, 'vitals', 1, 'machine', 'active', '{}', %s, '2h', '', '', '{}', now(), 'test')",
            (self.view.id, digest),
        )
        self.conn.execute("insert into catalog.compiled values (%s, 'duckdb', %s)", (self.view.id, _compiled[digest]))
        create_view_tables(self.conn, self.definitions, self.view)

    def close(self) -> None:
        self.conn.close()

    def deliver(
        self, events: Iterable[Row], *, gone: Iterable[Row] = (), conn: psycopg.Connection[Any] | None = None
    ) -> datetime:
        """Write (or replace) rows, take others out, log the changes; returns the delivery's created time."""
        conn = conn or self.conn
        events, gone = list(events), list(gone)
        with conn.transaction():
            batch = conn.execute(
                "insert into landing.batches (source, dataset, file_name, sha256, file_bytes, settings_hash, planned_by)"
                " values ('upload', 'fleet', 'x', repeat('0', 64), 0, '', 'test') returning batch_id"
            ).fetchone()[0]
            days = [from_us(e.t).date() for e in [*events, *gone]]
            conn.execute("select warehouse.ensure_months(%s, %s)", (min(days), max(days)))
            touched: dict[tuple[Key, str, str, date], list[int]] = {}
            for event in events:
                relation, _ = _series_of(event)
                rows, values = table_of(relation)
                conn.execute(
                    sql.SQL(
                        "insert into {rows} values (%s, %s, %s, %s, 1) on conflict (series_id, event_timestamp)"
                        " do update set {values} = excluded.{values}, batch_id = excluded.batch_id"
                    ).format(rows=rows, values=sql.Identifier(values)),
                    (self._series(conn, event), from_us(event.t), json.dumps(dict(getattr(event, "readings", ()))), batch),
                )
            for event in gone:
                rows, _ = table_of(_series_of(event)[0])
                conn.execute(
                    sql.SQL("delete from {} where series_id = %s and event_timestamp = %s").format(rows),
                    (self._series(conn, event), from_us(event.t)),
                )
            for event in [*events, *gone]:
                touched.setdefault((event.key, *_series_of(event), from_us(event.t).date()), []).append(event.t)
            created = next_timestamp(conn)
            for (key, relation, word, _), times in touched.items():
                conn.execute(
                    "insert into warehouse.changes values (%s, %s, %s, 'machine', %s, %s, %s, %s)",
                    (created, batch, relation, _keys(key), word, from_us(min(times)), from_us(max(times))),
                )
        return created

    def _series(self, conn: psycopg.Connection[Any], event: Row) -> int:
        relation, word = _series_of(event)
        conn.execute(
            "insert into warehouse.series (relation, entity, keys, sensor_type) values (%s, 'machine', %s, %s) on conflict do nothing",
            (relation, _keys(event.key), word),
        )
        return conn.execute(
            "select series_id from warehouse.series where (relation, keys, sensor_type) = (%s, %s, %s)",
            (relation, _keys(event.key), word),
        ).fetchone()[0]

    def refresh(self, days: Days | None = None, conn: psycopg.Connection[Any] | None = None) -> RefreshReport:
        return refresh(conn or self.conn, self.settings, self.definitions, self.view, days=days)

    def rows(self, relation: str = "vitals_v1", where: str = "true") -> dict[tuple[Key, int], dict[str, Any]]:
        """(join key, or values of several as text, µs) → columns of the current rows."""
        with self.conn.cursor() as cursor:
            cursor.execute(sql.SQL("select * from features.{} where " + where).format(sql.Identifier(relation)))
            names = [column.name for column in cursor.description]
            found = [dict(zip(names, row, strict=True)) for row in cursor]
        names = self.definitions.entity_of(self.view).keys
        keys = [tuple(str(row[name]) for name in names) for row in found]
        return {
            (key if len(key) > 1 else key[0], to_us(row["event_timestamp"])): row for key, row in zip(keys, found, strict=True)
        }

    def versions(self) -> int:
        return self.conn.execute("select count(*) from features.vitals_v1_history").fetchone()[0]

    def tiles(self) -> list[tuple[Any, ...]]:
        return sorted(self.conn.execute("select * from features.vitals_v1_tiles").fetchall(), key=repr)

    def reset(self) -> None:
        """Everything but the definitions as new: a fresh warehouse costs a property test too much."""
        self.conn.execute(
            "truncate warehouse.series, warehouse.measurements, warehouse.event_rows, warehouse.changes, landing.batches,"
            " features.vitals_v1_history, features.vitals_v1_tiles cascade"
        )
        self.conn.execute("update features.state set refresh_watermark = 'epoch', tiles_complete = false")


def _keys(key: Key) -> list[str]:
    return [key] if isinstance(key, str) else list(key)


def _series_of(row: Row) -> tuple[Relation, str]:
    return (Relation.EVENTS, row.kind) if isinstance(row, Label) else (Relation.MEASUREMENTS, row.sensor_type)


def all_days() -> Days:
    day = from_us(BASE).date()
    return day - timedelta(days=10), day + timedelta(days=10)
