"""Noise that is a function of (key, index): the same on every machine, for any range, in any order.

Belongs here: keys and random arrays. Does not: what the numbers mean. numpy's Generator is not used because its streams
may change between releases, and no sine or exponential is, because their last digit differs between processors.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def key(*parts: int | str) -> int:
    """A 64-bit key for what `parts` name, such as (seed, machine id, reading)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def bits(stream: int, index: Integers) -> npt.NDArray[np.uint64]:
    """64 random bits for each index of the stream: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), entered at any position."""
    x = index.astype(np.uint64) * _GOLDEN + np.uint64(stream)
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def uniform(stream: int, index: Integers) -> Floats:
    """Numbers in [0, 1), one for each index."""
    return (bits(stream, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def number(*parts: int | str) -> float:
    """One number in [0, 1) for what `parts` name."""
    return float(uniform(key(*parts), np.zeros(1, dtype=np.int64))[0])


def white(stream: int, index: Integers) -> Floats:
    """Bell-shaped noise, mean 0 and deviation 1, always within ±3.47: the sum of four uniform numbers."""
    x = bits(stream, index)
    mask = np.uint64(0xFFFF)
    total = sum(((x >> np.uint64(shift)) & mask).astype(np.float64) for shift in (0, 16, 32, 48))
    return np.asarray((total - 131070.0) / 37837.2274)  # 4 × 65535 / 2, and 65536 × sqrt(4 / 12)


def drift(stream: int, seconds: Integers, period: int) -> Floats:
    """Slow noise: straight lines between white noise at every `period` seconds, within ±3.47."""
    low = seconds // period
    points = np.arange(low[0], low[-1] + 2, dtype=np.int64)
    values = white(stream, points)
    left = values[low - low[0]]
    return np.asarray(left + (values[low - low[0] + 1] - left) * ((seconds - low * period) / period))
