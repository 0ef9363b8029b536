"""A backfill on Spark writes what one on DuckDB writes, through the same history (I5)."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from millwright.features.refresh import refresh
from millwright.features.spark import NoSpark
from millwright.warehouse.timestamps import from_us
from tests.features.oracle import Event, Wanted, rows
from tests.features.plant import BASE, Plant

HOUR = 3_600_000_000
FEATURES = [Wanted(f"{kind}_a", kind, "a", HOUR) for kind in ("count", "mean", "last", "stddev")]
EVENTS = [
    Event(
        f"press-{machine}", sensor, BASE + (n * 1700 + machine) * 1_000_000, (("a", 1e6 + n % 5 / 1000), ("b", 1.0))[: 1 + n % 2]
    )
    for machine in range(3)
    for sensor in ("gauge", "press")
    for n in range(60)
]


@pytest.fixture
def plant(database: str, tmp_path: Path) -> Plant:
    options = {"spark.sql.shuffle.partitions": "2", "spark.driver.memory": "512m"}
    made = Plant(
        database, FEATURES, refresh_rows_per_chunk=400, lake=tmp_path / "lake", spark_master="local[2]", spark_options=options
    )
    made.deliver(EVENTS)
    return made


@pytest.mark.java17
@pytest.mark.timeout(600)
def test_i5_spark_writes_the_rows_of_duckdb(plant: Plant):
    day = from_us(BASE).date()
    days = day, day + timedelta(days=2)
    report = refresh(plant.conn, plant.settings, plant.definitions, plant.view, days=days, on="spark")
    expected = rows(EVENTS, FEATURES)
    found = plant.rows()
    assert (report.computed, report.inserted, found.keys()) == (len(expected), len(expected), expected.keys())
    for place, features in expected.items():
        for name, (value, tolerance) in features.items():
            got = found[place][name]
            assert got is value is None or abs(got - value) <= tolerance, (place, name, got, value)
    again = plant.refresh(days=days)  # on DuckDB, from the tiles that Spark wrote
    assert (again.computed, again.unchanged, again.inserted, again.superseded) == (len(expected), len(expected), 0, 0)
    assert list((plant.settings.lake_folder / "exports").iterdir()) == []
    plant.close()


def test_without_spark_nothing_is_computed_and_the_message_says_what_to_do(plant: Plant, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(NoSpark, match=r"Spark is not installed .*pip install 'millwright\[spark\]'"):
        refresh(plant.conn, plant.settings, plant.definitions, plant.view, on="spark")
    assert plant.rows() == {}
    assert plant.refresh().inserted == len(rows(EVENTS, FEATURES))
    plant.close()
