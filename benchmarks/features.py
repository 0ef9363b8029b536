"""How fast windows are computed, from Arrow to Arrow on one thread; beside DuckDB's own frames over the raw events, and pandas.

Belongs here: the engine alone, on events in memory. Does not: reading and writing the warehouse (refresh.py).
The frames compute the same windows (the tail hops by tiles), and their values are compared with ours; pandas' tails slide.
Seconds are the process's own (one thread), so that what else the machine does weighs less. How close the events lie matters to
tiles and frames: the same number is spread over a day (one a machine every 17 s) and over thirty (every 9 minutes).
Usage: python -m benchmarks.features [--rows 1000000] [--machines 200] [--days 1,30] [--repeat 3] [--without pandas] [--json]
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks._measure import figure, show
from millwright.definitions import Dataset, Definitions, Entity, FeatureView, Reading
from millwright.definitions.features import Windowed
from millwright.definitions.partials import partials
from millwright.features.compute import engine, no_tiles
from millwright.features.windows import compile_view
from millwright.settings import Settings

DAY = 86_400_000_000
START = 20_454 * DAY  # 2026-01-01 UTC
USUAL = [
    ("mean", "temperature", "1h"),
    ("max", "vibration", "1h"),
    ("mean", "temperature", "6h"),
    ("count", "temperature", "7d"),
    ("max", "vibration", "7d"),
]
HEAVY = [("stddev", "temperature", "1h"), ("slope", "temperature", "6h"), ("last", "vibration", "7d")]
FRAMES = {
    "count": "count({0})",
    "mean": "avg({0})",
    "max": "max({0})",
    "stddev": "stddev_samp({0})",
    "slope": "regr_slope({0}, t / 1e6)",
    "last": "last_value({0} ignore nulls)",
}
ENGINE = {"threads": 1, "memory_limit": "8GB", "preserve_insertion_order": False}


def main() -> None:
    """Make the events, compile, measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--days", default="1,30", help="The events are spread over so many days, each in turn.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without", default="", help="pandas")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    usual, heavy = View(USUAL), View(HEAVY)
    without = set(arguments.without.split(","))
    for days in map(int, arguments.days.split(",")):
        events = made_events(arguments.rows, arguments.machines, days)
        for result in _speeds(usual, heavy, events, days, arguments.repeat, without):
            show(result, arguments.json)
    show(_lengths(events, days, arguments.repeat), arguments.json)


def _speeds(usual: View, heavy: View, events: pa.Table, days: int, repeat: int, without: set[str]) -> Iterator[dict[str, object]]:
    spread = f"{events.num_rows} events over {days} d, median of {repeat}"
    for view, what in ((usual, "5 features over 1 h, 6 h, 7 d"), (heavy, "stddev 1 h, slope 6 h, last 7 d")):
        view.compare(view.ours(events), view.frames(events))
        ours, frames = _in_turns(repeat, lambda view=view: view.ours(events), lambda view=view: view.frames(events))
        measure, speed, theirs = f"{what}: {spread}", events.num_rows / ours, events.num_rows / frames
        if view is usual:
            yield figure("features", measure, speed, "events/s", "higher", goal=500_000)
        goal = 1.5 if view is usual else None
        yield figure("features", measure, speed, "events/s", "higher", goal=goal, peer="RANGE frames", theirs=theirs)
        if view is usual and "pandas" not in without:
            theirs = events.num_rows / _seconds(lambda: usual.pandas(events))
            yield figure("features", measure, speed, "events/s", "higher", goal=5, peer="pandas rolling", theirs=theirs)


def _lengths(events: pa.Table, days: int, repeat: int) -> dict[str, object]:
    short, long = (View([(kind, of, window) for kind, of, _ in USUAL]) for window in ("1h", "30d"))
    hour, month = _in_turns(repeat, lambda: short.ours(events), lambda: long.ours(events))
    measure = f"the features over 30 d, by their time over 1 h: {events.num_rows} events over {days} d, median of {repeat}"
    return figure("features", measure, month / hour, "times", "lower", goal=1.5)


class View:
    """Features over one entity's events, by each of the three engines."""

    def __init__(self, wanted: Sequence[tuple[str, str, str]]) -> None:
        features = [
            {"name": f"{of}_{kind}_{window}", "aggregate": kind, "of": of, "window": window}
            for kind, of, window in dict.fromkeys(wanted)
        ]
        self.view = FeatureView.model_validate(
            {"feature_view": "vitals", "version": 1, "entity": "machine", "ttl": "2h", "features": features}
        )
        dataset = Dataset(dataset="fleet", entity="machine", readings={name: Reading() for name in ("temperature", "vibration")})
        definitions = Definitions(
            entities={"machine": Entity(entity="machine", join_keys={"machine_id": "string"})},
            datasets={"fleet": dataset},
            feature_views={self.view.id: self.view},
        )
        self._script = compile_view(definitions, self.view)["duckdb"]
        self._no_tiles = no_tiles(partials(definitions, self.view))

    def ours(self, events: pa.Table) -> pa.Table:
        """As a refresh computes them, with tolerances and tiles."""
        with engine(Settings(duckdb_threads=1, duckdb_memory="8GB"), self._script) as run:
            return run.run(events, self._no_tiles)[0]

    def frames(self, events: pa.Table) -> pa.Table:
        """One frame a feature over the raw events."""
        columns = ", ".join(f'{_frame(feature)} as "{feature.name}"' for feature in self.view.windowed)
        with duckdb.connect(config=ENGINE) as session:
            session.execute("set enable_progress_bar = false")
            session.register("events", events)
            return session.sql(f"select entity_id, t, {columns} from events").to_arrow_table()

    def pandas(self, events: pa.Table) -> Any:
        """Rolling windows a machine."""
        frame = events.select(["entity_id", "t", "r_temperature", "r_vibration"]).to_pandas()
        frame.index = frame.pop("t").astype("datetime64[us]")
        grouped = frame.groupby("entity_id")
        found = {
            feature.name: getattr(grouped[f"r_{feature.of}"].rolling(f"{feature.window_us}us"), feature.aggregate)()
            for feature in self.view.windowed
        }
        return pa.table({name: values.to_numpy() for name, values in found.items()})

    def compare(self, ours: pa.Table, theirs: pa.Table) -> None:
        """Stop where the frames say otherwise; their deviations and slopes are not exact to more than 1e-6."""
        order = [("entity_id", "ascending"), ("t", "ascending")]
        ours, theirs = ours.sort_by(order), theirs.sort_by(order)
        for feature in self.view.windowed:
            left, right = (table.column(feature.name).to_numpy() for table in (ours, theirs))
            loose = {"stddev": 1e-6, "slope": 1e-6, "mean": 1e-9}.get(feature.aggregate, 0)
            if not np.allclose(left, right, rtol=loose, atol=loose, equal_nan=True):
                raise SystemExit(f"{feature.name} differs from DuckDB's frames: no speed of a wrong result")


def _frame(feature: Windowed) -> str:
    begin = f"((t - {feature.window_us}) // {feature.tile_us} * {feature.tile_us})"
    frame = f"partition by entity_id order by t range between t - {begin} preceding and current row"
    return f"{FRAMES[feature.aggregate].format(f'r_{feature.of}')} over ({frame})"


def made_events(rows: int, machines: int, days: int) -> pa.Table:
    """Events by machine, then time, about evenly spread over the days; every fiftieth has no temperature."""
    random = np.random.default_rng(1)
    each = rows // machines
    step = days * DAY // each
    t = np.tile(START + np.arange(each) * step, machines) + random.integers(0, step, each * machines)
    temperature = 70 + random.normal(0, 5, len(t))
    return pa.table(
        {
            "entity_id": np.repeat(np.arange(machines, dtype=np.int32), each),
            "t": t,
            "sensor_type": pa.array(["press"]).take(pa.array(np.zeros(len(t), dtype=np.int32))),
            "r_temperature": pa.array(temperature, mask=np.arange(len(t)) % 50 == 0),
            "r_vibration": random.gamma(2, 1, len(t)),
        }
    )


def _in_turns(repeat: int, *of: Callable[[], object]) -> list[float]:
    """Median seconds of each, measured in turns."""
    seconds: list[list[float]] = [[] for _ in of]
    for _ in range(repeat):
        for place, work in enumerate(of):
            seconds[place].append(_seconds(work))
    return [statistics.median(each) for each in seconds]


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
