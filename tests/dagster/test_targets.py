"""Events and feature sets land by the job as measurements do, each marked on its own asset; an undo is followed by the next run."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from millwright.landing.undo import undo
from millwright.online.read import read_online
from millwright.platform import open_platform
from millwright.registry import apply
from platform_assets.definitions import build_definitions
from sensors.planner import planner
from tests.dagster.conftest import NOON, Place, failure, marked, rows

DAY = NOON.date()
LOG = """
dataset: log
description: Failures and maintenance.
owner: reliability@example.com
target: events
entity: machine
columns: {timestamp: event_timestamp}
attributes: {severity: {type: int64, min: 0, description: How bad.}}
"""
STATE = """
feature_view: press_state
version: 1
entity: machine
source: {sensor_type: press}
owner: reliability@example.com
description: A press and what befell it.
ttl: 2h
features:
  - {name: temperature_last, aggregate: last, of: temperature, window: 1h, description: Latest temperature.}
  - {name: failures_30d, aggregate: count, of: failure, from: events, window: 30d, description: Failures of a month.}
  - {name: since_maintenance, aggregate: age, of: maintenance, from: events, window: 90d, description: Since the last maintenance.}
  - {name: failing, expression: "failures_30d / 30 > 0.05 and temperature_last > 20", description: Whether it fails while hot.}
"""
SCORES = """
dataset: scores
description: Wear as a laboratory measured it.
owner: reliability@example.com
target: feature_set
entity: machine
columns: {timestamp: event_timestamp}
features: {wear: {type: double, description: Wear.}}
"""


@pytest.fixture
def three(place: Place) -> Place:
    """The place with a dataset of each target."""
    for name, text in (("log", LOG), ("scores", SCORES)):
        (place.settings.feature_repo / "datasets" / f"{name}.yaml").write_text(text)
    (place.settings.feature_repo / "feature_views" / "press_state_v1.yaml").write_text(STATE)
    apply(place.settings, by="test")
    with open_platform(place.settings) as platform:
        place.definitions = build_definitions(place.settings, sensors=[planner(platform.definitions, tick_seconds=0)])
    return place


def test_each_target_is_marked_on_its_own_asset_and_checked(three: Place) -> None:
    at = NOON.isoformat()
    three.drop("a.csv", f"{at},press-01,press,3", dataset="log", header="timestamp,machine_id,kind,severity")
    three.drop("b.csv", f"{at},press-01,0.5", f"{at},press-02,x", dataset="scores", header="timestamp,machine_id,wear")
    result = three.run(three.tick().run_requests[0])
    assert result.success, failure(result)
    # No feature is touched, though the event is of a kind that is called as the view's sensor type.
    assert marked(result) == [("warehouse/events", DAY.isoformat()), ("warehouse/feature_sets", DAY.isoformat())]
    checked = {
        ("/".join(event.asset_check_evaluation_data.asset_key.path), event.asset_check_evaluation_data.check_name): (
            event.asset_check_evaluation_data.passed
        )
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION"
    }
    assert checked["warehouse/events", "schema"]
    assert checked["warehouse/events", "unique_key"]
    assert checked["warehouse/feature_sets", "schema"]
    assert checked["warehouse/feature_sets", "unique_key"]
    assert not checked["warehouse/feature_sets", "quarantine"]
    assert not any(asset == "warehouse/measurements" for asset, _ in checked)
    assert three.one("select attributes from warehouse.events") == {"severity": 3}
    assert three.one("select features from warehouse.feature_sets") == {"wear": 0.5}


def test_an_event_reaches_the_features_about_it_and_redis(three: Place) -> None:
    at = NOON.isoformat()
    spec = three.definitions.resolve_asset_graph().get(dg.AssetKey(["features", "press_state_v1"]))
    assert spec.parent_keys == {dg.AssetKey(["warehouse", "measurements"]), dg.AssetKey(["warehouse", "events"])}
    lineage = spec.metadata["dagster/column_lineage"].deps_by_column
    came = {("/".join(dep.asset_key.path), dep.column_name) for dep in lineage["failing"]}
    assert came == {
        ("warehouse/measurements", "readings.temperature"),
        ("warehouse/events", "kind"),
        ("warehouse/events", "event_timestamp"),
    }
    three.drop("a.csv", *rows("press-01", NOON, 3))
    assert three.run(three.tick().run_requests[0]).success
    three.drop(
        "b.csv",
        f"{(NOON - timedelta(days=20)).isoformat()},press-01,failure,3",
        f"{at},press-01,failure,1",
        f"{(NOON - timedelta(hours=1)).isoformat()},press-01,maintenance,1",
        dataset="log",
        header="timestamp,machine_id,kind,severity",
    )
    (request,) = three.tick().run_requests
    result = three.run(request)
    assert result.success, failure(result)
    day = DAY.isoformat()
    assert {("features/press_state_v1", day), ("online/press_state_v1", day)} <= set(marked(result))
    assert not any("machine_vitals" in asset for asset, _ in marked(result))
    values = "select failures_30d, since_maintenance, failing from features.press_state_v1 order by event_timestamp desc limit 1"
    assert three.conn.execute(values).fetchone() == (2, 3720.0, True)
    with open_platform(three.settings) as platform:
        view = platform.definitions.feature_views["press_state_v1"]
        answer = read_online(
            platform.conn,
            platform.redis,
            platform.definitions,
            view,
            [{"machine_id": "press-01"}],
            project="millwright",
            now=NOON,
        )
        assert [one.value for one in answer.rows[0].features.values()] == [20.2, 2, 3720.0, True]
    undo(three.conn, three.one("select max(batch_id) from landing.batches"), by="test")
    assert three.run(three.tick().run_requests[0]).success
    assert three.conn.execute(values).fetchone() == (0, None, False)


def test_an_undo_asks_for_a_run_that_takes_the_features_back(three: Place) -> None:
    three.drop("a.csv", *rows("press-01", NOON, 3))
    assert three.run(three.tick().run_requests[0]).success
    assert three.one("select count(*) from features.machine_vitals_v1") == 3
    assert three.tick().run_requests == []
    undo(three.conn, three.one("select max(batch_id) from landing.batches"), by="test")
    (request,) = three.tick().run_requests
    result = three.run(request)
    assert result.success, failure(result)
    assert ("features/machine_vitals_v1", DAY.isoformat()) in marked(result)
    assert three.one("select count(*) from features.machine_vitals_v1") == 0
    assert three.tick().run_requests == []
