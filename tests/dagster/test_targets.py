"""Events and feature sets land by the job as measurements do, each marked on its own asset; an undo is followed by the next run."""

from __future__ import annotations

import pytest

from millwright.landing.undo import undo
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
