"""An applied platform as Dagster sees it, in one process: definitions, an ephemeral instance, ticks and runs.

Belongs here: what tests of sensors and of the refresh step share. Does not: the daemon and the webserver (tests/live).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import redis

from millwright.platform import open_platform
from millwright.registry import apply
from millwright.settings import STACK_ENV, Settings
from platform_assets.definitions import build_definitions
from sensors.planner import planner
from tests import platforms

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEADER = "timestamp,machine_id,sensor_type,temperature"


@dataclass
class Place:
    """A project whose settings come from its folders alone, as in a deployment."""

    settings: Settings
    conn: psycopg.Connection[Any]
    redis: redis.Redis
    definitions: dg.Definitions
    instance: dg.DagsterInstance = field(default_factory=dg.DagsterInstance.ephemeral)

    def drop(self, name: str, *rows: str, dataset: str = "fleet", header: str = HEADER) -> Path:
        """Put a whole file into the inbox, as a rename does."""
        folder = self.settings.inbox / dataset
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_text("\n".join([header, *rows, ""]))
        return part.replace(folder / name)

    def tick(self, cursor: str | None = None) -> Any:
        """One evaluation of the planner that waits for nothing."""
        return evaluate(self.definitions, self.instance, cursor)

    def run(self, request: Any = None, **options: Any) -> dg.ExecuteInProcessResult:
        """The job, as Dagster would run a request, or with the partition options of the UI."""
        if request is not None:
            options |= {"run_config": request.run_config, "tags": dict(request.tags)}
        job = self.definitions.resolve_job_def("refresh")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def record(self, request: Any, status: dg.DagsterRunStatus) -> None:
        """A run of a request as Dagster's storage would know it, without running it."""
        self.instance.create_run_for_job(
            self.definitions.resolve_job_def("refresh"), status=status, tags=dict(request.tags), run_config=request.run_config
        )

    def days(self, *key: str) -> set[date]:
        """Days that are marked materialized."""
        return {date.fromisoformat(day) for day in self.instance.get_materialized_partitions(dg.AssetKey(key))}

    def one(self, query: str, *values: Any) -> Any:
        """First column of the first row."""
        return self.conn.execute(query, values).fetchall()[0][0]  # type: ignore[arg-type]


def evaluate(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    """One evaluation of the sensor `planner`."""
    resources = definitions.resources or {}
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={name: resources[name] for name in ("postgres", "online_store")}
    ) as context:
        return definitions.resolve_sensor_def("planner").evaluate_tick(context)


def rows(machine: str, start: datetime, count: int, sensor_type: str = "press") -> list[str]:
    """`count` minutes of temperatures from `start`."""
    return [f"{(start + timedelta(minutes=n)).isoformat()},{machine},{sensor_type},{20 + n / 10}" for n in range(count)]


def events(result: dg.ExecuteInProcessResult, kind: str) -> list[dg.DagsterEvent]:
    """The run's events of a type, such as ASSET_MATERIALIZATION."""
    return [event for event in result.all_events if event.event_type_value == kind]


def marked(result: dg.ExecuteInProcessResult) -> list[tuple[str, str | None]]:
    """(asset, day) of each materialization, in order."""
    return [
        ("/".join(event.asset_key.path), event.partition)
        for event in events(result, "ASSET_MATERIALIZATION")
        if event.asset_key is not None
    ]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says."""
    return "\n".join(str(event.step_failure_data.error) for event in events(result, "STEP_FAILURE"))


def with_folders_only(settings: Settings) -> Settings:
    """The same settings, found by the project's folder: connections are in the state folder's stack.env."""
    settings.home.mkdir(parents=True, exist_ok=True)
    fields = ("postgres_url", "postgres_owner_url", "postgres_reader_url", "redis_url")
    lines = [f"MILLWRIGHT_{name.upper()}='{settings.require(name)}'" for name in fields]
    (settings.home / STACK_ENV).write_text("\n".join([*lines, ""]))
    return Settings(project=settings.project)


@pytest.fixture
def place(tmp_path: Path, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """One applied view (machine_vitals_v1) on a fresh database and Redis."""
    settings = with_folders_only(platforms.settings(tmp_path, database, redis_url, feast=False))
    apply(settings, by="test")
    with open_platform(settings) as platform:
        definitions = build_definitions(settings, sensors=[planner(platform.definitions, tick_seconds=0)])
        yield Place(settings, platform.conn, platform.redis, definitions)
