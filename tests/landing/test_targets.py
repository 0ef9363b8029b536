"""Three targets, one loader (DESIGN §9): events and feature sets are compared, merged, corrected and logged as measurements are."""

from __future__ import annotations

import psycopg
import pytest

from millwright.definitions import FeatureView
from millwright.warehouse.changes import pending_changes
from tests.landing.conftest import DEFINITIONS, HEADER, Plant, counts

AT = "2026-03-01T00:00:00Z,m,"
EVENTS = "timestamp,machine_id,kind,severity,text\n"
SCORES = "timestamp,machine_id,wear,grade\n"


def test_events_land_and_read_as_the_design_says(plant: Plant) -> None:
    done = plant.land(f"{EVENTS}{AT}failure,3,bearing\n{AT}maintenance,,\n{AT}failure,x,\n,m,failure,1,\n", dataset="log")
    assert counts(done) == (4, 2, 0, 0, 2)
    names = "entity, keys, event_timestamp::text, kind, attributes, batch_id, position"
    assert plant.rows(f"select {names} from warehouse.events order by kind") == [
        ("machine", ["m"], "2026-03-01 00:00:00+00", "failure", {"severity": 3, "text": "bearing"}, done.batch_id, 2),
        ("machine", ["m"], "2026-03-01 00:00:00+00", "maintenance", {}, done.batch_id, 3),
    ]
    assert plant.rows("select distinct relation, batch_id from warehouse.changes") == [("events", done.batch_id)]
    assert plant.measurements() == {}


def test_events_without_attributes_are_duplicates_of_each_other(plant: Plant) -> None:
    text = f"timestamp,machine_id,kind\n{AT}failure\n{AT}failure\n"
    assert counts(plant.land(text, dataset="log")) == (2, 1, 0, 1, 0)
    assert counts(plant.land(f"{text}\n", dataset="log")) == (2, 0, 0, 2, 0)
    assert counts(plant.land(f"{text}\n\n", dataset="log", correction=True)) == (2, 0, 0, 2, 0)
    assert plant.rows("select attributes from warehouse.events") == [({},)]


@pytest.mark.parametrize(
    ("dataset", "header", "word", "table", "values"),
    [("log", EVENTS, "failure,", "event_rows", "attributes"), ("scores", SCORES, "", "feature_set_rows", "features")],
)
def test_the_comparison_is_the_same_for_every_target(
    plant: Plant, dataset: str, header: str, word: str, table: str, values: str
) -> None:
    one, other = header.strip().split(",")[-2:]
    first = plant.land(f"{header}{AT}{word}1,\n", dataset=dataset)
    merged = plant.land(f"{header}{AT}{word}1,a\n{AT}{word}1,\n", dataset=dataset)
    conflict = plant.land(f"{header}{AT}{word}2,a\n", dataset=dataset)
    assert counts(merged) == (2, 1, 0, 1, 0)
    assert counts(conflict) == (1, 0, 0, 0, 1)
    assert conflict.errors[0].message == f"2 contradicts 1 of batch {first.batch_id}, position 2"
    corrected = plant.land(f"{header}{AT}{word}2,a\n\n", dataset=dataset, correction=True)
    assert counts(corrected) == (1, 0, 1, 0, 0)
    assert plant.rows(f"select {values}, batch_id, sources from warehouse.{table}") == [
        ({one: 2, other: "a"}, first.batch_id, {one: [corrected.batch_id, 2], other: [merged.batch_id, 2]})
    ]
    assert plant.rows(f"select {values}, replaced_by from warehouse.{table}_history") == [
        ({one: 1, other: "a"}, corrected.batch_id)
    ]


def test_a_feature_set_reads_under_its_datasets_name(plant: Plant) -> None:
    done = plant.land(f"{SCORES}{AT}0.5,a\n{AT},b\n", dataset="scores")
    assert counts(done) == (2, 1, 0, 0, 1)
    assert plant.rows("select keys, dataset, features from warehouse.feature_sets") == [
        (["m"], "scores", {"wear": 0.5, "grade": "a"})
    ]
    assert plant.rows("select distinct relation, sensor_type from warehouse.changes") == [("feature_sets", "scores")]
    with pytest.raises(psycopg.errors.CheckViolation):
        plant.rows("insert into warehouse.feature_set_rows values (1, now(), '[]', 1, 1)")


def test_a_kind_that_is_called_as_a_sensor_type_touches_no_feature(plant: Plant) -> None:
    """The same entity, key, instant and word in two relations are two series; a view of the sensor type sees one of them."""
    view = FeatureView.model_validate(
        {
            "feature_view": "v", "version": 1, "entity": "machine", "source": {"sensor_type": "press"}, "owner": "a@example.com",
            "description": "d", "ttl": "1h", "features": [{"name": "c", "aggregate": "count", "of": "temperature", "window": "1h"}],
        }
    )  # fmt: skip
    before = plant.rows("select last from warehouse.clock")[0][0]
    plant.land(f"{EVENTS}{AT}press,1,\n", dataset="log")
    assert pending_changes(plant.conn, view, before) == []
    plant.land(f"{HEADER}temperature\n{AT}press,1\n")
    assert len(pending_changes(plant.conn, view, before)) == 1
    series = plant.rows("select relation, keys, sensor_type from warehouse.series order by relation")
    assert series == [("events", ["m"], "press"), ("measurements", ["m"], "press")]
    assert DEFINITIONS.datasets["log"].relation == "events"
