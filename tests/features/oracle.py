"""What a feature's value is, in plain Python, written from the definition of windows and aggregates and from nothing else.

Belongs here: the slow and obvious computation. Does not: anything imported from the engine (aggregates, windows, tiles).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

TILES = [1, 5, 10, 15, 30, 60, 300, 900, 3600, 21600, 86400]
SECOND = 1_000_000


@dataclass(frozen=True)
class Event:
    """A warehouse row: entity, sensor type, time in µs, readings."""

    key: str
    sensor_type: str
    t: int
    readings: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Wanted:
    """A feature: aggregate of a reading over a window in µs."""

    name: str
    aggregate: str
    of: str
    window: int


def tile(window: int) -> int:
    fits = [size * SECOND for size in TILES if size * SECOND * 60 <= window]
    return max(fits, default=SECOND)


def begin(t: int, window: int) -> int:
    size = tile(window)
    return (t - window) // size * size


def value(events: list[Event], wanted: Wanted, t: int) -> tuple[float | int | None, float]:
    """(value, how far another may lie from it) over the entity's events in [floor(t − W, h), t]."""
    inside = [e for e in events if begin(t, wanted.window) <= e.t <= t and wanted.of in dict(e.readings)]
    inside.sort(key=lambda e: (e.t, e.sensor_type.encode()))
    values = [dict(e.readings)[wanted.of] for e in inside]
    if wanted.aggregate == "count":
        return len(values), 0.0
    if not values:
        return None, 0.0
    match wanted.aggregate:
        case "min":
            return min(values), 0.0
        case "max":
            return max(values), 0.0
        case "last":
            return values[-1], 0.0
        case "mean":
            mean = sum(map(Fraction, values), Fraction()) / len(values)
            return float(mean), 1e-9 * max(map(abs, values))
    raise AssertionError(wanted.aggregate)


def rows(events: list[Event], features: list[Wanted]) -> dict[tuple[str, int], dict[str, tuple[float | int | None, float]]]:
    """(key, t) → feature → (value, tolerance), one for every entity and event time."""
    found = {}
    for key in {event.key for event in events}:
        mine = [event for event in events if event.key == key]
        for t in {event.t for event in mine}:
            found[key, t] = {feature.name: value(mine, feature, t) for feature in features}
    return found
