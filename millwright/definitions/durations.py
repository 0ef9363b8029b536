"""Durations as people write them (`15m`, `7d`) and as the engine wants them (integer microseconds).

Belongs here: parsing and printing durations, the tile size of a window. Does not: anything with a time zone.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

MICROSECOND = timedelta(microseconds=1)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TILES = tuple(seconds * 1_000_000 for seconds in (1, 5, 10, 15, 30, 60, 300, 900, 3600, 6 * 3600, 86400))


def parse(text: str) -> timedelta:
    """`15m` → timedelta. Raises ValueError for anything but a positive whole number and one of s, m, h, d."""
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", text)
    if not match:
        raise ValueError(f"{text!r} is not a duration: write a positive whole number and s, m, h or d, such as 15m or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def format_duration(value: timedelta) -> str:
    """timedelta → the shortest of `7d`, `1h`, `15m`, `30s`."""
    seconds = value // timedelta(seconds=1)
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def tile_size(window: timedelta) -> int:
    """Tile size h(W) in microseconds: the largest of 1s … 1d that is ≤ W/60, one second at least (DESIGN §7)."""
    limit = (window // MICROSECOND) // 60
    return max((size for size in _TILES if size <= limit), default=_TILES[0])


def _validate(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a duration: write text such as 15m or 7d")
    return parse(value)


Duration = Annotated[
    timedelta,
    BeforeValidator(_validate),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,8}[smhd]$"}),
]
