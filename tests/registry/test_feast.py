"""Feast itself, as a person runs it: `feast plan` agrees, `feast apply` wipes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from millwright.registry import apply, deploy, set_status
from millwright.registry.feast import FeastMisconfigured, feature_store
from millwright.settings import STACK_ENV, Settings
from tests import platforms
from tests.prediction.onnx_files import weighted

FIELDS = ("postgres_owner_url", "postgres_url", "postgres_reader_url", "redis_url")


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str) -> Settings:
    """As a running stack leaves it: the connections stand in the state folder, none in the environment."""
    settings = platforms.settings(tmp_path / "a project", database, redis_url)
    settings.home.mkdir()
    lines = [f"MILLWRIGHT_{name.upper()}={settings.require(name)}" for name in FIELDS]
    (settings.home / STACK_ENV).write_text("\n".join(lines) + "\n")
    return settings


def feast(settings: Settings, *arguments: str, folder: str = ".", **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLWRIGHT_")}
    repository = [] if folder == "feature_repo" else ["-c", "feature_repo"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("feast")), *repository, *arguments],
        cwd=settings.project / folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_feast_plan_agrees_and_feast_apply_wipes_nothing(settings: Settings) -> None:
    first = apply(settings)
    assert "Created feature view machine_vitals_v1" in first.feast
    assert apply(settings).feast == []
    assert "No changes to registry" in feast(settings, "plan")
    assert "No changes to registry" in feast(settings, "plan", folder="feature_repo")
    with redis.Redis.from_url(settings.require("redis_url")) as client:
        client.set("canary", 1)
        feast(settings, "apply")
        assert client.get("canary") == b"1"
    views = {view.name for view in feature_store(settings).list_feature_views()}
    assert views == {"machine_vitals_v1", "motor_vitals_v1", "pump_vitals_v1"}
    assert not apply(settings).changed


def test_variables_of_a_reader_are_enough_to_look(settings: Settings) -> None:
    apply(settings)
    (settings.home / STACK_ENV).unlink()
    variables = {f"MILLWRIGHT_{name.upper()}": settings.require(name) for name in ("postgres_reader_url", "redis_url")}
    assert "machine_vitals_v1" in feast(settings, "feature-views", "list", **variables)


def test_a_second_version_is_a_draft_in_feast_until_it_is_active(settings: Settings) -> None:
    apply(settings)
    text = (settings.feature_repo / "feature_views/machine_vitals_v1.yaml").read_text()
    (settings.feature_repo / "feature_views/machine_vitals_v2.yaml").write_text(text.replace("version: 1", "version: 2"))
    assert "machine_vitals_v2" in feast(settings, "plan")
    apply(settings)
    store = feature_store(settings)
    assert not store.get_feature_view("machine_vitals_v2").online
    assert _serves(store) == "machine_vitals_v1"
    set_status(settings, "machine_vitals_v2", "active")
    store = feature_store(settings)
    assert store.get_feature_view("machine_vitals_v2").online
    assert store.get_feature_view("machine_vitals_v1").online
    assert _serves(store) == "machine_vitals_v2"
    (settings.feature_repo / "feature_views/machine_vitals_v1.yaml").unlink()
    apply(settings)
    assert "No changes to registry" in feast(settings, "plan"), "a view whose file is gone stays registered"


def _serves(store: object) -> str:
    (projection,) = store.get_feature_service("machine_vitals").feature_view_projections  # type: ignore[attr-defined]
    return str(projection.name)


def test_a_model_has_a_feature_service_of_what_it_reads(settings: Settings, tmp_path: Path) -> None:
    apply(settings)
    names = ["vibration_mean_1h", "temperature_last"]
    file = weighted(tmp_path / "m.onnx", [1.0, 1.0])
    made = deploy(settings, file, name="wear", features=[f"machine_vitals_v1:{name}" for name in names])
    assert made.feast == ["Created feature service wear_v1"]
    (projection,) = feature_store(settings).get_feature_service("wear_v1").feature_view_projections
    assert sorted(field.name for field in projection.features) == sorted(names)
    assert "No changes to registry" in feast(settings, "plan")
    set_status(settings, "wear_v1", "deprecated")
    set_status(settings, "wear_v1", "retired")
    assert "wear_v1" not in {service.name for service in feature_store(settings).list_feature_services()}
    assert "No changes to registry" in feast(settings, "plan")


def test_units_types_and_words_are_in_the_registry(settings: Settings) -> None:
    apply(settings)
    view = feature_store(settings).get_feature_view("machine_vitals_v1")
    field = next(field for field in view.features if field.name == "temperature_last")
    assert (str(field.dtype), field.description, field.tags) == ("Float64", "Latest temperature.", {"unit": "degC"})
    assert view.ttl.total_seconds() == 7200
    assert view.batch_source.created_timestamp_column == "created_timestamp"
    assert view.tags["status"] == "active"


def test_a_project_of_another_name_is_refused(settings: Settings) -> None:
    with pytest.raises(FeastMisconfigured, match="make them equal"):
        feature_store(settings.model_copy(update={"feast_project": "other"}))
