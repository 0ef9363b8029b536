"""dagster.yaml and workspace.yaml are what Dagster takes, and what DESIGN asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.config import dagster_instance_config
from dagster_postgres import PostgresRunStorage

from tests import servers
from tests.stack.project import ROOT


def test_dagster_yaml_is_valid_and_as_designed() -> None:
    config, _ = dagster_instance_config(str(ROOT))
    assert config["run_queue"]["dequeue_interval_seconds"] == 1
    assert config["concurrency"]["runs"]["max_concurrent_runs"] > 0
    assert config["sensors"]["use_threads"] is True
    assert config["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert config["retention"]["sensor"]["purge_after_days"]["skipped"] > 0
    assert config["telemetry"]["enabled"] is False
    assert config["nux"]["enabled"] is False


def test_the_instance_opens_on_real_postgres(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = servers.as_role(empty_database, "millwright_owner").replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("MILLWRIGHT_DAGSTER_POSTGRES_URL", url)
    (tmp_path / "dagster.yaml").symlink_to(ROOT / "dagster.yaml")
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert instance.get_runs_count() == 0
        assert Path(instance.storage_directory()).is_relative_to(tmp_path)


def test_the_workspace_names_the_code_server_by_environment() -> None:
    (location,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    assert location["grpc_server"] == {
        "host": {"env": "MILLWRIGHT_CODE_SERVER_HOST"},
        "port": {"env": "MILLWRIGHT_CODE_SERVER_PORT"},
        "location_name": "millwright",
    }
