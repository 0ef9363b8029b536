"""Draws docs/sawtooth.svg from what the feature engine computes: how long a window of one hour is, second by second.

Belongs here: one view, one machine with an event a second, the picture. Does not: what a window is (features.md).
Usage: python docs/sawtooth.py
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millwright.definitions import Dataset, Definitions, Entity, FeatureView, Reading
from millwright.features.compute import engine
from millwright.features.windows import compile_view
from millwright.settings import Settings

PICTURE = Path(__file__).with_suffix(".svg")
SECOND = 1_000_000
TEN = int(datetime(2026, 1, 1, 10, tzinfo=UTC).timestamp())
SHOWN, HOUR = 300, 3600
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 300, 70, 44, 16, 46
LOW, HIGH = 3570, 3690


def lengths() -> list[int]:
    """Seconds from the first event in the window to t, for each second t of five minutes from 10:00 on."""
    import pyarrow as pa

    definitions = Definitions(
        entities={"machine": Entity(entity="machine", join_keys={"machine_id": "string"})},
        datasets={"fleet": Dataset(dataset="fleet", entity="machine", readings={"running": Reading(type="bool")})},
    )
    view = FeatureView.model_validate(
        {
            "feature_view": "hour",
            "version": 1,
            "entity": "machine",
            "ttl": "1d",
            "features": [{"name": "events", "aggregate": "count", "of": "running", "window": "1h"}],
        }
    )
    times = range(TEN - 2 * HOUR, TEN + SHOWN)
    events = pa.table(
        {
            "entity_id": pa.array([0] * len(times), pa.int32()),
            "t": pa.array([t * SECOND for t in times], pa.int64()),
            "sensor_type": ["press"] * len(times),
            "r_running": [True] * len(times),
        }
    )
    tiles = pa.schema(
        [("entity_id", pa.int32()), ("tile_us", pa.int64()), ("tile", pa.int64()), ("p_running_n", pa.int64())]
    ).empty_table()
    with engine(Settings(), compile_view(definitions, view)["duckdb"]) as computing:
        rows, _ = computing.run(events, tiles)
    counted = dict(zip(rows["t"].to_pylist(), rows["events"].to_pylist(), strict=True))
    return [counted[t * SECOND] - 1 for t in range(TEN, TEN + SHOWN)]


def drawn(found: Sequence[int]) -> str:
    """The picture as SVG text."""
    ink, line, grid = "#1f2933", "#c2410c", "#d5dbe1"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        f' font-family="sans-serif" font-size="13" fill="{ink}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">How far a window of 1h reaches back from t (its tile is 1m)</text>',
    ]
    for length in range(3580, HIGH, 20):
        y = _y(length)
        label = f"{length // 60}m {length % 60:02}s"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="{grid}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
    for second in range(0, SHOWN + 1, 60):
        at = (datetime.fromtimestamp(TEN, UTC) + timedelta(seconds=second)).strftime("%H:%M")
        parts.append(f'<text x="{_x(second)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{at}</text>')
    points = [f"{_x(second)},{_y(length)}" for second, length in enumerate(found)]
    parts += [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(HOUR)}" y2="{_y(HOUR)}" stroke="{ink}" stroke-dasharray="5 4"/>',
        f'<text x="{WIDTH - RIGHT}" y="{_y(HOUR) + 16}" text-anchor="end">exactly one hour</text>',
        f'<polyline fill="none" stroke="{line}" stroke-width="2" points="{" ".join(points)}"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">t, one event each second</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(second: float) -> float:
    return round(LEFT + second / SHOWN * (WIDTH - LEFT - RIGHT), 1)


def _y(length: float) -> float:
    return round(TOP + (HIGH - length) / (HIGH - LOW) * (HEIGHT - TOP - BOTTOM), 1)


if __name__ == "__main__":
    PICTURE.write_text(drawn(lengths()), encoding="utf-8")
