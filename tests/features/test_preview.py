"""A preview gives the rows that a refresh would write, and writes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millwright.features.preview import NothingToPreview, find_view, preview
from millwright.features.windows import compile_view
from millwright.stack import bootstrap
from millwright.warehouse.connect import connect
from millwright.warehouse.timestamps import from_us, to_us
from tests import servers
from tests.features.oracle import Event, Wanted
from tests.features.plant import BASE, Plant, definitions

MINUTE = 60_000_000
FEATURES = [Wanted("mean_a", "mean", "a", 3600 * 1_000_000), Wanted("max_b", "max", "b", 86400 * 1_000_000)]
EVENTS = [
    Event(
        f"press-{machine:02}", "press", BASE + n * 30 * MINUTE, (("a", float(n * machine % 7)), *((("b", 1.0),) if n < 3 else ()))
    )
    for machine in range(5)
    for n in range(60)
]


def test_a_preview_is_what_a_refresh_would_write(database: str):
    plant = Plant(database, FEATURES, refresh_rows_per_chunk=120)  # two entities at a time
    plant.deliver(EVENTS)
    plant.refresh()
    found, view = definitions(FEATURES)
    script = compile_view(found, view)["duckdb"]
    keys = {"machine_id": {f"press-{machine:02}" for machine in range(1, 5)}}
    before = plant.conn.execute("select * from features.state").fetchall(), plant.versions(), plant.tiles()
    with connect(servers.as_role(database, bootstrap.READER), autocommit=True) as conn:
        report = preview(conn, plant.settings, found, view, script=script, last=timedelta(hours=6), keys=keys, rows=1000)
        everything = preview(conn, plant.settings, found, view, script=script, last=timedelta(days=9), keys={}, rows=3)
    assert (plant.conn.execute("select * from features.state").fetchall(), plant.versions(), plant.tiles()) == before
    newest = max(event.t for event in EVENTS)
    expected = {
        place: row for place, row in plant.rows().items() if row["machine_id"] != "press-00" and place[1] >= newest - 360 * MINUTE
    }
    got = {(row["machine_id"], to_us(row["event_timestamp"])): row for row in report.newest}
    assert got.keys() == expected.keys()
    assert all(got[place]["mean_a"] == pytest.approx(row["mean_a"]) for place, row in expected.items())
    assert (report.rows, report.entities, report.last_event) == (len(expected), 4, from_us(newest))
    mean, most = report.features
    assert (mean.feature, mean.count, mean.nulls) == ("mean_a", len(expected), 0)
    assert mean.mean == pytest.approx(sum(row["mean_a"] for row in expected.values()) / len(expected))
    assert (mean.min, mean.max) == (
        min(row["mean_a"] for row in expected.values()),
        max(row["mean_a"] for row in expected.values()),
    )
    assert (most.nulls, most.max) == (sum(row["max_b"] is None for row in expected.values()), None if not most.count else 1.0)
    assert (everything.rows, everything.entities, everything.events_read, len(everything.newest)) == (300, 5, 300, 3)
    plant.close()


def test_a_preview_of_nothing_says_what_there_is(database: str):
    plant = Plant(database, FEATURES)
    script = compile_view(plant.definitions, plant.view)["duckdb"]
    with pytest.raises(NothingToPreview, match="No event of the source of vitals_v1 is in the warehouse for machine_id=press-09"):
        preview(
            plant.conn,
            plant.settings,
            plant.definitions,
            plant.view,
            script=script,
            last=timedelta(days=1),
            keys={"machine_id": {"press-09"}},
        )
    with pytest.raises(NothingToPreview, match=r"No file defines vitalls \(did you mean vitals\?\)"):
        find_view(plant.definitions, "vitalls")
    plant.close()
