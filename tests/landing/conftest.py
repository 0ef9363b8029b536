"""A migrated database, a landing zone and the definitions that the landing's tests deliver to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest

from millwright.definitions import Dataset, Definitions, Entity, Reading
from millwright.landing.batches import Receipt
from millwright.landing.load import land
from millwright.landing.receive import Delivery, Received, receive
from millwright.landing.undo import Undone, undo
from millwright.settings import Settings
from millwright.warehouse.connect import connect

DEFINITIONS = Definitions(
    entities={"machine": Entity(entity="machine", join_keys={"machine_id": "string"})},
    datasets={
        "fleet": Dataset(
            dataset="fleet",
            entity="machine",
            columns={"timestamp": "event_timestamp"},
            readings={
                "temperature": Reading(type="double", unit="degC", min=-50, max=400),
                "vibration": Reading(type="double", unit="mm/s", min=0),
                "cycles": Reading(type="int64"),
                "running": Reading(type="bool"),
                "status": Reading(type="string"),
            },
        ),
        "log": Dataset(
            dataset="log",
            target="events",
            entity="machine",
            columns={"timestamp": "event_timestamp"},
            attributes={"severity": Reading(type="int64", min=0), "text": Reading(type="string")},
        ),
        "scores": Dataset(
            dataset="scores",
            target="feature_set",
            entity="machine",
            columns={"timestamp": "event_timestamp"},
            features={"wear": Reading(type="double", required=True), "grade": Reading(type="string")},
        ),
    },
)
HEADER = "timestamp,machine_id,sensor_type,"


@dataclass
class Plant:
    """What a test needs to deliver and look."""

    conn: psycopg.Connection[Any]
    settings: Settings
    url: str
    definitions: Definitions = DEFINITIONS

    def receive(self, content: str | bytes, name: str = "file.csv", dataset: str = "fleet", **delivery: Any) -> Received:
        data = content.encode() if isinstance(content, str) else content
        return receive(
            self.conn, self.settings, self.definitions, BytesIO(data),
            dataset=dataset, file_name=name, delivery=Delivery(**delivery), channel="upload", by="test",
        )  # fmt: skip

    def land(self, content: str | bytes, **delivery: Any) -> Receipt:
        """Receive and land; every receipt adds up (I1) by the model's own check and the database's constraint."""
        return land(self.conn, self.settings, self.definitions, self.receive(content, **delivery).batch_id)

    def again(self, batch_id: int) -> Receipt:
        """Land a batch that was received before."""
        return land(self.conn, self.settings, self.definitions, batch_id)

    def undo(self, batch_id: int | None, *, cascade: bool = False) -> Undone:
        assert batch_id is not None
        return undo(self.conn, batch_id, cascade=cascade, by="test")

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.conn.execute(query, parameters).fetchall()

    def measurements(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """(machine, sensor type, event time) → readings."""
        found = self.rows(
            "select s.keys[1], s.sensor_type, to_char(m.event_timestamp at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), m.readings"
            " from warehouse.measurements m join warehouse.series s using (series_id)"
        )
        return {(machine, kind, at): readings for machine, kind, at, readings in found}

    def quarantine(self, batch_id: int | None) -> list[tuple[int, bytes, list[str]]]:
        """(position, original, codes as column:code) of a batch."""
        found = self.rows("select position, original, errors from landing.quarantine where batch_id = %s order by 1", batch_id)
        return [(at, bytes(original), [f"{e['column']}:{e['code']}" for e in errors]) for at, original, errors in found]

    def state(self) -> str:
        """Everything that a landing may change, as one text."""
        tables = (
            "landing.quarantine",
            "landing.met",
            "warehouse.series",
            "warehouse.measurements",
            "warehouse.measurements_history",
            "warehouse.event_rows",
            "warehouse.event_rows_history",
            "warehouse.feature_set_rows",
            "warehouse.feature_set_rows_history",
            "warehouse.changes",
        )
        queries = {
            table: f"select coalesce(jsonb_agg(to_jsonb(t) order by to_jsonb(t)), '[]') from {table} t" for table in tables
        }
        return json.dumps({table: self.rows(query)[0][0] for table, query in queries.items()})


def counts(receipt: Receipt) -> tuple[int, int, int, int, int]:
    """(received, loaded, corrected, duplicate, quarantined)"""
    assert receipt.state == "landed", receipt.error
    return receipt.received, receipt.loaded, receipt.corrected, receipt.duplicate, receipt.quarantined


@pytest.fixture
def plant(app_url: str, tmp_path: Path) -> Iterator[Plant]:
    with connect(app_url, autocommit=True) as conn:
        yield Plant(conn, Settings(project=tmp_path, postgres_url=app_url), app_url)
