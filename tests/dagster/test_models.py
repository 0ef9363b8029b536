"""Models and parity as Dagster sees them: what asks for a model's asset, what does not; the checks after FLUSHALL (I7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from millwright.checks.catalogue import PARITY
from millwright.compare import repair_online
from millwright.definitions import load
from millwright.registry import deploy
from millwright.serving.predictions import write_now
from platform_assets.definitions import build_definitions
from platform_assets.jobs import EVERY_NIGHT
from tests.dagster.conftest import NOON, Place, events, failure, marked, rows
from tests.prediction.onnx_files import weighted

VIEW = "machine_vitals_v1"
MODEL = dg.AssetKey(["models", "wear"])
INPUTS = [f"{VIEW}:temperature_last", f"{VIEW}:readings_count_1h"]
CAUSES = ("equal", "missing", "extra", "older", "newer", "different", "undecodable", "expired")


def land(place: Place, *lines: str, name: str = "a.csv") -> dg.ExecuteInProcessResult:
    place.drop(name, *lines)
    return place.run(place.tick().run_requests[0])


def deployed(place: Place, tmp_path: Path, weights: list[float]) -> dg.Definitions:
    deploy(place.settings, weighted(tmp_path / "m.onnx", weights), name="wear", features=INPUTS, description="Wear of a press.")
    return build_definitions(place.settings)


def verified(place: Place, definitions: dg.Definitions) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.get_subset(asset_selection={MODEL}).execute_in_process(instance=place.instance, raise_on_error=False)


def test_a_model_follows_its_definition_and_no_publish(place: Place, tmp_path: Path) -> None:
    definitions = deployed(place, tmp_path, [1.0, 1.0])
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get(MODEL).parent_keys} == {f"online/{VIEW}"}

    def asked(definitions: dg.Definitions, cursor: Any) -> tuple[int, Any]:
        told = dg.evaluate_automation_conditions(
            definitions, place.instance, asset_selection=dg.AssetSelection.assets(MODEL), cursor=cursor
        )
        return told.total_requested, told.cursor

    count, cursor = asked(definitions, None)
    assert count == 1
    one = {"entity": {"machine_id": "a"}, "status": "predicted", "outputs": {}, "features": {}, "reason": ""}
    told = {"request_id": "00000000-0000-0000-0000-000000000001", "definition_hash": "", "model_id": "wear_v1"}
    write_now(place.conn, {**told, "predicted_at": place.one("select now()").isoformat(), "predictions": [one]}, "test")
    result = verified(place, definitions)
    assert result.success, failure(result)
    assert marked(result) == [("models/wear", None)]
    (event,) = events(result, "ASSET_MATERIALIZATION")
    found = {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    assert (found["rows"], found["versions"]) == (1, 1)
    assert "wear_v1 active, answers score" in str(found["served"])
    for machine in ("press-01", "press-02"):
        assert land(place, *rows(machine, NOON, 3), name=f"{machine}.csv").success
        count, cursor = asked(definitions, cursor)
        assert count == 0, "a publish ran the model again"
    later = deployed(place, tmp_path, [2.0, 1.0])
    assert asked(later, cursor)[0] == 1


def test_i7_a_model_whose_file_was_changed_fails_and_is_not_marked(place: Place, tmp_path: Path) -> None:
    definitions = deployed(place, tmp_path, [1.0, 1.0])
    weighted(place.settings.feature_repo / "models/wear_v1.onnx", [3.0, 3.0])
    result = verified(place, definitions)
    assert not result.success and "was deployed with" in failure(result)
    assert marked(result) == []


def check(place: Place, name: str) -> tuple[bool, dg.AssetCheckEvaluation]:
    """As a person runs a check in the UI."""
    key = dg.AssetCheckKey(dg.AssetKey(["online", VIEW]), name)
    job = place.definitions.resolve_implicit_global_asset_job_def()
    chosen = job.get_subset(asset_selection=frozenset(), asset_check_selection=frozenset([key]))
    result = chosen.execute_in_process(instance=place.instance, raise_on_error=False)
    (event,) = events(result, "ASSET_CHECK_EVALUATION")
    return result.success, event.asset_check_evaluation_data


def night(place: Place) -> tuple[bool, dg.AssetCheckEvaluation]:
    """As the schedule asks for it."""
    result = place.definitions.resolve_job_def("parity").execute_in_process(instance=place.instance, raise_on_error=False)
    (event,) = events(result, "ASSET_CHECK_EVALUATION")
    return result.success, event.asset_check_evaluation_data


@pytest.mark.parametrize("name", [PARITY.name, "at night"])
def test_i7_after_a_flush_the_check_fails_until_the_repair(place: Place, name: str) -> None:
    """Every cause is a number that Dagster plots."""
    look = night if name == "at night" else lambda place: check(place, name)
    assert land(place, *rows("press-01", NOON, 3), *rows("press-02", NOON, 3)).success
    passed, found = look(place)
    assert passed and found.passed
    assert {cause: found.metadata[cause].value for cause in CAUSES} == dict.fromkeys(CAUSES, 0) | {"equal": 2}
    place.redis.flushall()
    passed, found = look(place)
    assert not passed and not found.passed
    assert found.metadata["missing"].value == 2
    assert "--repair" in str(found.description)
    definitions = load(place.settings.feature_repo)
    done = repair_online(place.conn, place.redis, definitions, definitions.feature_views[VIEW], project="millwright")
    assert (done.before.missing, done.written, done.after.equal) == (2, 2, 2)
    assert look(place)[1].passed


def test_the_night_is_planned(place: Place) -> None:
    (schedule,) = build_definitions(place.settings).schedules or []
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.job_name, schedule.cron_schedule, schedule.execution_timezone) == ("parity", EVERY_NIGHT, "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
