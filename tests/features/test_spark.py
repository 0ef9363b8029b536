"""A backfill on Spark writes what one on DuckDB writes, through the same history (I5)."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from millwright.features.refresh import refresh
from millwright.features.spark import NoSpark
from millwright.warehouse.timestamps import from_us
from tests.features.agreement import agree
from tests.features.oracle import Event, Label, Wanted
from tests.features.plant import BASE, Plant

SECOND = 1_000_000
HOUR = 3600 * SECOND
AGGREGATES = ("count", "sum", "mean", "min", "max", "range", "first", "last", "stddev", "slope", "age")
FEATURES = [
    *(Wanted(f"{kind}_a", kind, "a", HOUR) for kind in AGGREGATES),
    Wanted("failures", "count", "failure", 24 * HOUR, "events"),
    Wanted("since_failure", "age", "failure", HOUR, "events"),
]
EXPRESSIONS = {"ratio": "stddev_a / mean_a", "failing": "failures > 1 and coalesce(since_failure < 600, false)"}
EVENTS = [
    Event(f"press-{machine}", sensor, BASE + (n * 1700 + machine) * SECOND, (("a", 1e6 + n % 5 / 1000), ("b", 1.0))[: 1 + n % 2])
    for machine in range(3)
    for sensor in ("gauge", "press")
    for n in range(60)
] + [Label(f"press-{machine}", "failure", BASE + (machine * 900 + n * 20_000) * SECOND) for machine in range(2) for n in range(5)]


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Plant:
    options = {"spark.sql.shuffle.partitions": "2", "spark.driver.memory": "512m"}
    made = Plant(
        database,
        FEATURES,
        every="45m",
        expressions=EXPRESSIONS,
        refresh_rows_per_chunk=400,
        lake=tmp_path / "lake",
        spark_master="local[2]",
        spark_options=options,
    )
    made.deliver(EVENTS)
    return made


@pytest.mark.java17
@pytest.mark.timeout(600)
def test_i5_spark_writes_the_rows_of_duckdb(plant: Plant):
    day = from_us(BASE).date()
    days = day, day + timedelta(days=2)
    report = refresh(plant.conn, plant.settings, plant.definitions, plant.view, days=days, on="spark")
    agree(plant, EVENTS)
    found = plant.rows()
    assert report.computed == report.inserted == len(found) > 0
    again = plant.refresh(days=days)  # on DuckDB, from the tiles that Spark wrote
    assert (again.computed, again.unchanged, again.inserted, again.superseded) == (len(found), len(found), 0, 0)
    plant.conn.execute("truncate features.vitals_v1_history")
    plant.refresh(days=days)
    by_duckdb = plant.rows()
    assert {row["failing"] for row in found.values()} == {True, False}
    for place, row in found.items():
        assert row["failing"] is by_duckdb[place]["failing"]
        assert row["ratio"] == pytest.approx(by_duckdb[place]["ratio"], rel=1e-6, abs=1e-12)
    assert list((plant.settings.lake_folder / "exports").iterdir()) == []
    plant.close()


def test_without_spark_nothing_is_computed_and_the_message_says_what_to_do(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(NoSpark, match=r"Spark is not installed .*pip install 'millwright\[spark\]'"):
        refresh(plant.conn, plant.settings, plant.definitions, plant.view, on="spark")
    assert plant.rows() == {}
    assert plant.refresh().inserted > 0
    plant.close()
