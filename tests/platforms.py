"""A platform for tests: settings over fresh servers and a copy of the shipped definitions.

Belongs here: settings and rows of history made by hand. Does not: servers (conftest), what is tested.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from millwright.definitions import Definitions, FeatureView
from millwright.settings import Settings
from millwright.stack import bootstrap
from tests import servers

REPOSITORY = Path(__file__).parents[1] / "feature_repo"
START = datetime(2026, 3, 1, tzinfo=UTC)


def settings(folder: Path, database: str, redis_url: str, *, feast: bool = True) -> Settings:
    """Settings of a project in `folder` with the shipped feature repository, for the three roles on `database`.

    Without `feast` the repository has no feature_store.yaml and only the view machine_vitals_v1: applied in a second.
    """
    if not (folder / "feature_repo").exists():
        left_out = ["__pycache__"] if feast else ["__pycache__", "feature_store.yaml", "pump_*", "motor_*"]
        shutil.copytree(REPOSITORY, folder / "feature_repo", ignore=shutil.ignore_patterns(*left_out))
    return Settings(
        project=folder,
        postgres_owner_url=servers.as_role(database, bootstrap.OWNER),
        postgres_url=servers.as_role(database, bootstrap.APP),
        postgres_reader_url=servers.as_role(database, bootstrap.READER),
        redis_url=redis_url,
    )


class History:
    """Writes a view's history as a refresh would: new versions, superseded ones, on the view's clock."""

    def __init__(self, conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> None:
        self.conn, self.view = conn, view
        self.keys = definitions.entity_of(view).keys
        self.table = sql.Identifier("features", f"{view.id}_history")
        self.clock = START

    def tick(self) -> datetime:
        self.clock += timedelta(seconds=1)
        return self.clock

    def put(self, keys: Sequence[Any], event: datetime, **features: Any) -> datetime:
        """One row; an equal (keys, event) is superseded. Features that are not given are null."""
        with self.conn.transaction():
            now = self.tick()
            self._supersede(keys, event, now)
            names = [*self.keys, "event_timestamp", "created_timestamp", "known_timestamp", *features]
            self.conn.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    self.table,
                    sql.SQL(", ").join(map(sql.Identifier, names)),
                    sql.SQL(", ").join([sql.Placeholder()] * len(names)),
                ),
                [*keys, event, now, now, *features.values()],
            )
        return now

    def retract(self, keys: Sequence[Any], event: datetime) -> datetime:
        """Take a row back without another in its place."""
        now = self.tick()
        self._supersede(keys, event, now)
        return now

    def _supersede(self, keys: Sequence[Any], event: datetime, now: datetime) -> None:
        same = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in self.keys)
        self.conn.execute(
            sql.SQL(
                "update {} set superseded_timestamp = %s where {} and event_timestamp = %s and superseded_timestamp = 'infinity'"
            ).format(self.table, same),
            [now, *keys, event],
        )
