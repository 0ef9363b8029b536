"""One applied view, its hand-made history, and clients: what every test of the online store starts from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from millwright.definitions import Definitions, FeatureView, load
from millwright.online.publish import PublishReport, publish, unpublished_views
from millwright.online.read import FeatureValue, read_online
from millwright.registry import apply
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Online:
    settings: Settings
    definitions: Definitions
    view: FeatureView
    conn: psycopg.Connection[Any]
    redis: redis.Redis
    history: platforms.History

    def publish(self, **options: Any) -> PublishReport:
        return publish(self.conn, self.redis, self.definitions, self.view, project="millwright", **options)

    def unpublished(self) -> list[str]:
        return unpublished_views(self.conn, self.redis, self.definitions, project="millwright")

    def value(self, machine: str, feature: str = "temperature_last", now: datetime = NOON) -> FeatureValue:
        reference = f"machine_vitals:{feature}"
        rows = [{"machine_id": machine}]
        found = read_online(self.conn, self.redis, self.definitions, [reference], rows, project="millwright", now=now)
        return found.rows[0].features[f"machine_vitals_v1:{feature}"]


@pytest.fixture
def online(tmp_path: Path, database: str, redis_url: str) -> Iterator[Online]:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings)
    definitions = load(settings.feature_repo)
    view = definitions.feature_views["machine_vitals_v1"]
    with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(redis_url) as client:
        yield Online(settings, definitions, view, conn, client, platforms.History(conn, definitions, view))
