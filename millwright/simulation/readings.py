"""What the machines measure: five readings that tell of load, wear and standstill.

Belongs here: values at instants, as arrays and as messages. Does not: files (files.py) and lives (fleet.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from millwright.simulation import noise
from millwright.simulation.fleet import EPOCH, Machine, fleet, lives, seconds
from millwright.simulation.noise import Floats, Integers

DECIMALS = {"temperature": 2, "vibration": 3, "speed": 1, "energy": 4, "pressure": 2}
_AMBIENT = 21.0


@dataclass(frozen=True)
class _Kind:
    """A healthy machine under mean load: degC, mm/s, rpm (None: has no such sensor), kW, bar (None)."""

    temperature: float
    vibration: float
    speed: float | None
    power: float
    pressure: float | None


_KINDS = {
    "press": _Kind(62.0, 2.4, None, 38.0, 180.0),
    "pump": _Kind(48.0, 1.8, 1450.0, 11.0, 8.5),
    "motor": _Kind(66.0, 1.3, 2950.0, 22.0, None),
}


@dataclass(frozen=True)
class _State:
    """Of each instant: load around 0 (±0.5), wear 0 → 1 at the failure, running or standing, hours since the failure."""

    load: Floats
    wear: Floats
    running: Floats
    standing_hours: Floats


def _state(machine: Machine, at: Integers) -> _State:
    # One shift a day: load rises to noon and falls to midnight in straight lines.
    load = 0.5 - np.abs((at % 86400) / 43200.0 - 1.0)
    wear, running, standing = np.zeros(len(at)), np.ones(len(at)), np.zeros(len(at))
    for life in lives(machine, int(at[0]), int(at[-1])):
        if life.failure is None or life.onset is None:
            continue
        wearing = (at >= life.onset) & (at < life.failure)
        wear[wearing] = (at[wearing] - life.onset) / float(life.failure - life.onset)
        down = (at >= life.failure) & (at < life.maintenance)
        wear[down] = 1.0
        running[down] = 0.0
        standing[down] = (at[down] - life.failure) / 3600.0
    return _State(load, wear, running, standing)


def measure(machine: Machine, at: Integers, interval: int) -> dict[str, Integers]:
    """Readings of a machine at `at` (ascending seconds since 1970), name → integers of 10^-DECIMALS; absent sensors are left out.

    Units: temperature degC, vibration mm/s, speed rpm, energy kWh used in the `interval` seconds before, pressure bar.
    Only + - * / and rounding are used, which IEEE 754 fixes to the last bit: the same numbers on every processor.
    """
    kind, state = _KINDS[machine.sensor_type], _state(machine, at)

    def own(what: str, low: float, high: float) -> float:
        return low + noise.number(machine.seed, machine.machine_id, what) * (high - low)

    def white(what: str) -> Floats:
        return noise.white(noise.key(machine.seed, machine.machine_id, what), at)

    def drift(what: str, period: int) -> Floats:
        return noise.drift(noise.key(machine.seed, machine.machine_id, what, "drift"), at, period)

    wear = state.wear * state.wear
    hot = kind.temperature + own("temperature", -4, 4) + 4.0 * state.load + own("heat", 14, 24) * wear
    hot = hot + 0.8 * drift("temperature", 1800)
    cooling = 1.0 + state.standing_hours
    values: dict[str, Floats] = {"temperature": _AMBIENT + (hot - _AMBIENT) / (cooling * cooling) + 0.25 * white("temperature")}
    shake = kind.vibration * own("vibration", 0.85, 1.15) * (1.0 + own("shake", 1.8, 3.2) * wear)
    values["vibration"] = (shake * (1.0 + 0.06 * white("vibration")) + 0.1 * drift("vibration", 900)) * state.running
    if kind.speed is not None:
        values["speed"] = kind.speed * (1.0 - 0.04 * wear + 0.01 * state.load + 0.002 * white("speed")) * state.running
    power = kind.power * (1.0 + 0.3 * state.load + 0.15 * wear + 0.03 * white("energy")) * (0.02 + 0.98 * state.running)
    values["energy"] = power * (interval / 3600.0)
    if kind.pressure is not None:
        values["pressure"] = kind.pressure * (1.0 - 0.2 * wear + 0.01 * white("pressure")) * state.running
    return {name: _rounded(value, DECIMALS[name]) for name, value in values.items()}


def _rounded(values: Floats, decimals: int) -> Integers:
    return np.rint(np.maximum(values, 0.0) * 10.0**decimals).astype(np.int64)


def instants(start: datetime, end: datetime, interval: int) -> Integers:
    """Seconds since 1970 from `start` (inclusive) to `end` (exclusive), every `interval` seconds.

    Raises ValueError if there are none.
    """
    if interval < 1:
        raise ValueError(f"the interval is at least one second, got {interval}")
    if end <= start:
        raise ValueError(f"the end, {end}, must be after the start, {start}")
    return np.arange(seconds(start), seconds(end), interval, dtype=np.int64)


def messages(
    start: datetime, end: datetime, machines: int = 30, seed: int = 7, interval: int = 60
) -> Iterator[dict[str, str | float]]:
    """The rows that `write_csv` writes for [start, end), as dicts for JSON, ordered by time, then machine.

    `timestamp` is ISO 8601 in UTC with Z; a reading that a machine has no sensor for is left out. Values equal those of the
    files to the last bit.
    """
    at = instants(start, end, interval)
    crew = fleet(machines, seed)
    scale = {name: 10**decimals for name, decimals in DECIMALS.items()}
    measured = [{name: values / scale[name] for name, values in measure(machine, at, interval).items()} for machine in crew]
    for index, second in enumerate(at):
        moment = f"{EPOCH + timedelta(seconds=int(second)):%Y-%m-%dT%H:%M:%SZ}"
        for machine, values in zip(crew, measured, strict=True):
            row: dict[str, str | float] = {
                "timestamp": moment,
                "machine_id": machine.machine_id,
                "sensor_type": machine.sensor_type,
            }
            row.update((name, float(values[name][index])) for name in DECIMALS if name in values)
            yield row
