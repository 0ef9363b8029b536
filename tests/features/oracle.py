"""What a feature's value is, in plain Python, written from the definition of windows and aggregates and from nothing else.

Belongs here: the slow and obvious computation. Does not: anything imported from the engine (aggregates, windows, tiles).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

TILES = [1, 5, 10, 15, 30, 60, 300, 900, 3600, 21600, 86400]
SECOND = 1_000_000
Key = str | tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A warehouse row: entity (one with several join keys: their values), sensor type, time in µs, readings."""

    key: Key
    sensor_type: str
    t: int
    readings: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Label:
    """A labelled moment: entity, kind, time in µs."""

    key: Key
    kind: str
    t: int


@dataclass(frozen=True)
class Wanted:
    """A feature: aggregate of a reading (of `relation` events: of a kind of label) over a window in µs."""

    name: str
    aggregate: str
    of: str
    window: int
    relation: str = "measurements"


def tile(window: int) -> int:
    fits = [size * SECOND for size in TILES if size * SECOND * 60 <= window]
    return max(fits, default=SECOND)


def begin(t: int, window: int) -> int:
    size = tile(window)
    return (t - window) // size * size


def value(events: list[Event], wanted: Wanted, t: int, labels: Sequence[Label] = ()) -> tuple[float | int | None, float]:
    """(value, how far another may lie from it) over the entity's events, or labels, in [floor(t − W, h), t]."""
    if wanted.relation == "events":
        times = sorted(one.t for one in labels if one.kind == wanted.of and begin(t, wanted.window) <= one.t <= t)
        return (len(times) if wanted.aggregate == "count" else (t - times[-1]) / 1e6 if times else None), 0.0
    inside = [e for e in events if begin(t, wanted.window) <= e.t <= t and wanted.of in dict(e.readings)]
    inside.sort(key=lambda e: (e.t, e.sensor_type.encode()))
    points = [(e.t, dict(e.readings)[wanted.of]) for e in inside]
    if wanted.aggregate == "count":
        return len(points), 0.0
    if not points:
        return None, 0.0
    if wanted.aggregate in ("stddev", "slope"):
        return second_moment(points, wanted.aggregate)
    values = [value for _, value in points]
    largest = max(map(abs, values))
    total = sum(map(Fraction, values), Fraction())
    match wanted.aggregate:
        case "min":
            return min(values), 0.0
        case "max":
            return max(values), 0.0
        case "range":
            return max(values) - min(values), 0.0
        case "first":
            return values[0], 0.0
        case "last":
            return values[-1], 0.0
        case "age":
            return (t - points[-1][0]) / 1e6, 0.0
        case "sum":
            return float(total), 1e-9 * largest * len(values)
        case "mean":
            return float(total / len(values)), 1e-9 * largest
    raise AssertionError(wanted.aggregate)


def second_moment(points: list[tuple[int, float]], aggregate: str) -> tuple[float | None, float]:
    """The sample's deviation, or the slope per second by least squares, in rational arithmetic."""
    n = len(points)
    mean = sum((Fraction(x) for _, x in points), Fraction()) / n
    middle = Fraction(sum(t for t, _ in points), n)
    largest = max(abs(x) for _, x in points)
    if aggregate == "stddev":
        squares = sum(((Fraction(x) - mean) ** 2 for _, x in points), Fraction())
        return (root(squares / (n - 1)), 1e-12 * largest) if n > 1 else (None, 0.0)
    times = sum(((t - middle) ** 2 for t, _ in points), Fraction()) / 10**12
    both = sum(((t - middle) * (Fraction(x) - mean) for t, x in points), Fraction()) / 10**6
    return (float(both / times), 1e-12 * largest / root(times / n)) if times else (None, 0.0)


def root(value: Fraction) -> float:
    """Square root, correct to 1e-15 also where the fraction is far from 1."""
    scale = 10**60
    return math.isqrt(int(value * scale * scale)) / scale


def kept(times: set[int], every: int) -> set[int]:
    """Of each bucket the last time, where there is a time at or after the bucket's end."""
    found = set()
    for bucket in {t // every for t in times}:
        if any(t >= (bucket + 1) * every for t in times):
            found.add(max(t for t in times if t // every == bucket))
    return found


def rows(
    events: list[Event], features: list[Wanted], labels: Sequence[Label] = (), every: int | None = None
) -> dict[tuple[Key, int], dict[str, tuple[float | int | None, float]]]:
    """(key, t) → feature → (value, tolerance), one for every entity and event time (or of each closed
    bucket one); a label gives no row."""
    found = {}
    for key in {event.key for event in events}:
        mine = [event for event in events if event.key == key]
        known = [label for label in labels if label.key == key]
        times = {event.t for event in mine}
        for t in kept(times, every) if every else times:
            found[key, t] = {feature.name: value(mine, feature, t, known) for feature in features}
    return found
