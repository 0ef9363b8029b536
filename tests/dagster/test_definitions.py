"""The code location loads light, and every asset says what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from millwright.settings import Settings
from platform_assets.definitions import build_definitions

PROJECT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("asset_graph.json")
HEAVY = ("feast", "pandas", "ibis", "dagster_pandas", "pyarrow", "duckdb")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Settings(project=PROJECT, home=tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_loads_without_a_server_without_heavy_imports_and_without_a_warning(tmp_path: Path):
    code = (
        "import json, sys, warnings\n"
        "warnings.simplefilter('always')\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    import dagster as dg\n"
        "    from platform_assets.definitions import defs\n"
        "    dg.Definitions.validate_loadable(defs)\n"
        "ours = [str(w.message) for w in seen if issubclass(w.category, (dg.BetaWarning, dg.PreviewWarning, UserWarning, RuntimeWarning))]\n"
        f"print(json.dumps([[m for m in {HEAVY!r} if m in sys.modules], ours]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLWRIGHT_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**environment, "MILLWRIGHT_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [[], []]
    assert "warning" not in done.stderr.lower()


def test_the_graph_is_the_one_that_was_reviewed(specs: dict[str, dg.AssetSpec], definitions: dg.Definitions):
    """After a change that is meant: UPDATE_SNAPSHOT=1 pytest tests/dagster/test_definitions.py, and look at the difference."""
    graph = definitions.resolve_asset_graph()
    found: dict[str, Any] = {
        name: {
            "group": spec.group_name,
            "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
            "kinds": sorted(spec.kinds),
            "partitioned": spec.partitions_def is not None,
            "executable": graph.get(spec.key).is_executable,
            "checks": sorted(key.name for key in graph.asset_check_keys if key.asset_key == spec.key),
            "columns": [column.name for column in spec.metadata["dagster/column_schema"].columns],
        }
        for name, spec in sorted(specs.items())
    }
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_every_asset_says_what_it_is(specs: dict[str, dg.AssetSpec]):
    assert specs
    for name, spec in specs.items():
        assert spec.group_name == name.split("/")[0], name
        for fact in ("**grain** ", "**source** ", "**refresh** "):
            assert fact in (spec.description or ""), name
        assert (spec.description or "").splitlines()[0].endswith((".", "?", "!")), name
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.tags["layer"] == spec.group_name, name
        assert len(spec.code_version or "") == 12, name
        assert spec.metadata["dagster/table_name"], name
        assert "@" not in spec.metadata["dagster/uri"] and "://" in spec.metadata["dagster/uri"], name
        for column in spec.metadata["dagster/column_schema"].columns:
            assert column.type and column.description, f"{name}: {column.name}"


def test_columns_carry_units(specs: dict[str, dg.AssetSpec]):
    columns = {column.name: column for column in specs["features/machine_vitals_v1"].metadata["dagster/column_schema"].columns}
    assert columns["temperature_mean_1h"].description.endswith("[degC]")
    assert "unit mm/s" in columns["vibration_max_15m"].constraints.other
    assert columns["readings_count_1h"].type == "bigint"


def test_partitions_are_days_up_to_today(definitions: dg.Definitions):
    partitions = definitions.resolve_job_def("refresh").partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    keys = partitions.get_partition_keys()
    assert keys[0] == "2010-01-01"
    assert len(keys) < 25_000


def test_sensors_run_on_a_fresh_instance(definitions: dg.Definitions):
    sensors = {sensor.name: sensor for sensor in definitions.sensors or []}
    assert set(sensors) == {"planner", "definitions"}
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in sensors.values())


def test_no_secret_is_in_a_resource(tmp_path: Path):
    settings = Settings(project=PROJECT, home=tmp_path, postgres_url="postgresql://app:hush@db/x", redis_url="redis://:hush@db/0")
    for resource in (build_definitions(settings).resources or {}).values():
        assert "hush" not in resource.model_dump_json()


def test_an_empty_repository_loads(tmp_path: Path):
    (tmp_path / "feature_repo").mkdir()
    definitions = build_definitions(Settings(project=tmp_path))
    dg.Definitions.validate_loadable(definitions)
    assert {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()} == {
        "warehouse/measurements",
        "warehouse/events",
        "warehouse/feature_sets",
    }
