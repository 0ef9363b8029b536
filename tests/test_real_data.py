"""A real historian export goes all the way as it came: naive timestamps, no machine id, twelve instants given twice."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millwright import flow
from millwright.landing.batches import Receipt
from millwright.landing.export import export
from millwright.landing.quarantine import quarantined
from millwright.landing.receive import Delivery, receive
from millwright.landing.undo import undo
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from millwright.warehouse.timestamps import to_us
from tests import platforms
from tests.features import oracle
from tests.features.oracle import Event, Wanted

NAB = Path(__file__).parents[2] / "shared/data/nab/machine_temperature_system_failure.csv"


@pytest.mark.skipif(not NAB.exists(), reason="the real data set is not beside this checkout")
def test_nab_lands_with_its_twelve_conflicts_and_right_features(tmp_path: Path, database: str, redis_url: str):
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings, by="test")
    delivery = Delivery(
        columns={"timestamp": "event_timestamp", "value": "temperature"},
        constants={"machine_id": "press-99", "sensor_type": "press"},
        timezone="UTC",
    )
    with open_platform(settings) as platform:
        received = receive(
            platform.conn, settings, platform.definitions, NAB,
            dataset="fleet", file_name=NAB.name, delivery=delivery, channel="upload", by="test",
        )  # fmt: skip
        steps = list(flow.run(platform, batches=[received.batch_id]))
        (landed,) = [step for step in steps if isinstance(step, Receipt)]
        assert (landed.state, landed.received, landed.loaded, landed.quarantined) == ("landed", 22_695, 22_683, 12)
        assert [(kind.code, kind.count) for kind in landed.errors] == [("conflict", 12)]
        assert len(quarantined(platform.conn, received.batch_id).rows) == 12
        view = platform.definitions.feature_views["machine_vitals_v1"]
        cursor = platform.conn.execute("select * from features.machine_vitals_v1 where machine_id = 'press-99'")
        names = [column.name for column in cursor.description or ()]
        found = {to_us(row["event_timestamp"]): row for row in (dict(zip(names, values, strict=True)) for values in cursor)}
        _repaired_and_undone(platform, received.batch_id, tmp_path / "errors.csv")
    first: dict[int, float] = {}
    with NAB.open() as file:
        for row in csv.DictReader(file):
            first.setdefault(to_us(datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)), float(row["value"]))
    assert found.keys() == first.keys()
    events = [Event("press-99", "press", t, (("temperature", value),)) for t, value in sorted(first.items())]
    twice = to_us(datetime(2014, 1, 7, 2, 30, tzinfo=UTC))
    sample = [*range(0, len(events), 150), *(n for n, e in enumerate(events) if abs(e.t - twice) < 7_200_000_000)]
    for feature in view.features:
        wanted = Wanted(feature.name, feature.aggregate, feature.of, feature.windowed.window_us)
        for place in sample:
            t = events[place].t
            value, tolerance = oracle.value(events[max(0, place - 300) : place + 1], wanted, t)
            got = found[t][feature.name]
            assert got == value or abs(got - value) <= tolerance, (feature.name, t, got, value)


def _repaired_and_undone(platform: Platform, batch_id: int, path: Path) -> None:
    """The twelve go through an export and come back as corrections; undone, every feature is the very same as before."""
    rows = (
        "select machine_id, event_timestamp, temperature_mean_1h, temperature_last from features.machine_vitals_v1 order by 1, 2"
    )
    before = platform.conn.execute(rows).fetchall()
    with path.open("w", encoding="utf-8", newline="") as file:
        assert export(platform.conn, batch_id, file).rows == 12
    received = receive(
        platform.conn, platform.settings, platform.definitions, path, dataset="fleet", file_name=path.name,
        delivery=Delivery(repairs=batch_id, correction=True), channel="upload", by="test",
    )  # fmt: skip
    (landed,) = [step for step in flow.run(platform, batches=[received.batch_id]) if isinstance(step, Receipt)]
    assert (landed.state, landed.received, landed.corrected, landed.repaired) == ("landed", 12, 12, 12)
    assert quarantined(platform.conn, batch_id).open == 0
    assert platform.conn.execute(rows).fetchall() != before
    (undone,) = undo(platform.conn, received.batch_id, by="test").batches
    assert (undone.restored, undone.reopened) == (12, 12)
    list(flow.run(platform))
    assert platform.conn.execute(rows).fetchall() == before
