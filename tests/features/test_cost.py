"""What a refresh reads, holds and is given: counted, never timed. Results hang neither on threads nor on memory (I5)."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millwright.definitions.partials import partials
from millwright.features import compute, windows
from millwright.features.compute import engine, no_tiles
from millwright.settings import Settings
from millwright.warehouse.timestamps import from_us
from tests.features.oracle import SECOND, Event, Wanted
from tests.features.plant import BASE, Plant, definitions

HOUR, DAY = 3600, 86400
FEATURES = [
    Wanted("mean_7d", "mean", "a", 7 * DAY * SECOND),
    Wanted("stddev_7d", "stddev", "a", 7 * DAY * SECOND),
    Wanted("slope_1h", "slope", "a", HOUR * SECOND),
    Wanted("last_90d", "last", "b", 90 * DAY * SECOND),
    Wanted("sum_30d", "sum", "b", 30 * DAY * SECOND),
    Wanted("count_1s", "count", "a", SECOND),
]
MACHINES = 3


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES, refresh_rows_per_chunk=100_000)
    yield made
    made.close()


def a_year(plant: Plant, machines: int = MACHINES, hours: int = 365 * 24) -> None:
    """A row an hour of each machine, up to BASE; by SQL, because so many rows by the plant take a minute."""
    plant.deliver([Event(f"press-{n:02}", "press", BASE - hours * HOUR * SECOND, (("a", 0.0),)) for n in range(machines)])
    parameters = {"base": from_us(BASE), "hours": hours}
    plant.conn.execute(
        "select warehouse.ensure_months((%(base)s - %(hours)s * interval '1 hour')::date, %(base)s::date)", parameters
    )
    plant.conn.execute(
        "insert into warehouse.measurements select series_id, %(base)s - n * interval '1 hour',"
        " jsonb_build_object('a', (n * 7919) %% 101, 'b', n), 1 , 1 from warehouse.series, generate_series(1, %(hours)s - 1) n",
        parameters,
    )
    plant.refresh(days=((from_us(BASE) - timedelta(hours=hours)).date(), from_us(BASE).date()))


def a_day(machine: int) -> list[Event]:
    return [Event(f"press-{machine:02}", "press", BASE + n * HOUR * SECOND, (("a", float(n)), ("b", 1.0))) for n in range(24)]


def test_a_day_after_a_year_reads_the_day_and_tiles_of_its_machines(plant: Plant):
    a_year(plant)
    assert plant.versions() == MACHINES * 365 * 24
    plant.deliver([*a_day(0), *a_day(2)])
    report = plant.refresh()
    assert (report.inserted, report.computed, report.superseded) == (48, 48, 0)
    assert report.events_read == 48
    # Of each machine at most the tiles of its longest window of each size: 1 s of 1 h ago, 1 h of 7 d, 6 h of 30 d, 1 d of 90 d.
    assert 0 < report.tiles_read <= 2 * (60 + 7 * 24 + 30 * 4 + 90)
    assert report.tiles_written <= 2 * (24 + 24 + 24 + 4 + 1 + 24)


def test_a_late_row_reads_what_its_windows_reach_not_the_year(plant: Plant):
    a_year(plant, hours=200 * 24)
    late = Event("press-01", "press", BASE - 150 * DAY * SECOND + 1, (("a", 5.0),))
    plant.deliver([late])
    report = plant.refresh()
    assert report.inserted and report.inserted <= 91 * 24 + 1
    assert report.events_read <= 92 * 24
    report = plant.refresh(days=(from_us(BASE).date() - timedelta(days=10), from_us(BASE).date() - timedelta(days=9)))
    assert (report.inserted, report.events_read) == (0, MACHINES * 48)


def some_events(rows: int, entities: int) -> pa.Table:
    random = np.random.default_rng(7)
    t = BASE + np.sort(random.integers(0, 40 * DAY * SECOND, rows))
    a = np.where(random.random(rows) < 0.5, 1e6 + random.normal(0, 1e-3, rows), 1e7 * (t > BASE + 20 * DAY * SECOND))
    columns = {"entity_id": random.integers(0, entities, rows).astype(np.int32), "t": t, "sensor_type": np.full(rows, "press")}
    return pa.table(columns | {"r_a": a, "r_b": random.normal(0, 1, rows)})


def computed(events: pa.Table, **settings: Any) -> pa.Table:
    found, view = definitions(FEATURES)
    with engine(Settings(**settings), windows.compile_view(found, view)["duckdb"]) as run:
        rows, _ = run.run(events, no_tiles(partials(found, view)))
    return rows.sort_by([("entity_id", "ascending"), ("t", "ascending")])


def test_results_do_not_hang_on_threads_or_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    events = some_events(30_000, 20)
    alone = computed(events, duckdb_threads=1)
    for settings in ({"duckdb_threads": 2}, {"duckdb_threads": 4}, {"duckdb_memory": "64MB"}):
        with spilled(tmp_path) as most:
            other = computed(events, **settings)
        assert (most[0] > 0) == ("duckdb_memory" in settings)
        assert other.column_names == alone.column_names and other.num_rows == alone.num_rows
        for name in alone.column_names:
            if not name.startswith("tolerance:"):
                same(alone, other, name)
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_says_what_to_set_and_leaves_the_rows(plant: Plant):
    plant.deliver(a_day(0))
    plant.refresh()
    before, enough = plant.rows(), plant.settings
    plant.deliver(a_day(1))
    plant.settings = enough.model_copy(update={"duckdb_memory": "8MB"})
    with pytest.raises(
        compute.OutOfMemory, match=r"MILLWRIGHT_DUCKDB_MEMORY \(8MB\).*MILLWRIGHT_REFRESH_ROWS_PER_CHUNK \(100000\)"
    ):
        plant.refresh()
    assert plant.rows() == before
    plant.settings = enough
    assert plant.refresh().inserted == 24


@contextmanager
def spilled(folder: Path) -> Iterator[list[int]]:
    """The most bytes that lay in the folder's folders during the block."""
    most, done = [0], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            with suppress(FileNotFoundError):
                most[0] = max(most[0], sum(path.stat().st_size for path in folder.glob("*/*")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def same(one: pa.Table, other: pa.Table, name: str) -> None:
    left, right = (table.column(name).to_numpy(zero_copy_only=False).astype(float) for table in (one, other))
    assert (np.isnan(left) == np.isnan(right)).all(), name
    tolerance = f"tolerance:{name}"
    within = one.column(tolerance).to_numpy(zero_copy_only=False).astype(float) if tolerance in one.column_names else 0.0
    assert not (np.abs(left - right) > np.nan_to_num(within)).any(), name
