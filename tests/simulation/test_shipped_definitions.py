"""The definitions that ship with the fleet fit what the fleet sends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from millwright.definitions import load
from millwright.simulation import messages

DEFINITIONS = load(Path(__file__).parents[2] / "feature_repo")
START = datetime(2026, 3, 1, tzinfo=UTC)


def sent() -> dict[str, set[str]]:
    """Readings that each sensor type sends."""
    found: dict[str, set[str]] = {}
    for message in messages(START, START + timedelta(minutes=1), 3):
        found.setdefault(str(message["sensor_type"]), set()).update(message.keys() - {"timestamp", "machine_id", "sensor_type"})
    return found


def test_every_column_of_the_fleet_is_declared() -> None:
    fleet = DEFINITIONS.datasets["fleet"]
    assert set().union(*sent().values()) == set(fleet.readings)
    assert fleet.columns["timestamp"] == "event_timestamp"
    assert DEFINITIONS.topics["telemetry"].dataset == "fleet"


def test_every_view_uses_readings_that_its_machines_send() -> None:
    views = DEFINITIONS.feature_views
    assert set(views) >= {"machine_vitals_v1", "pump_vitals_v1", "motor_vitals_v1"}
    for view in views.values():
        assert set(view.readings) <= sent()[str(view.source.sensor_type)], view.id
        assert {feature.aggregate for feature in view.features} == {"count", "mean", "min", "max", "last"}
        assert len({feature.window for feature in view.features}) >= 3


def test_everything_shipped_is_described_and_owned() -> None:
    for kind in ("entities", "datasets", "topics", "feature_views"):
        for name, definition in getattr(DEFINITIONS, kind).items():
            assert definition.description and definition.owner, name
    for view in DEFINITIONS.feature_views.values():
        assert all(feature.description for feature in view.features), view.id
    for reading, declared in DEFINITIONS.datasets["fleet"].readings.items():
        assert declared.description and declared.unit and declared.max is not None, reading
