"""The machines and their lives: when each one wears, fails and is maintained.

Belongs here: machines, lives, events. Does not: readings (readings.py), files (files.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from millwright.simulation import noise

SENSOR_TYPES = ("press", "pump", "motor")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIFE = 10 * 86400
_HOUR = 3600


@dataclass(frozen=True)
class Machine:
    """One machine. `machine_id` is `press-01` and so on; `seed` is the fleet's."""

    machine_id: str
    sensor_type: str
    seed: int


@dataclass(frozen=True)
class Life:
    """Ten days of a machine: `start` ≤ `onset` of wear < `failure` < `maintenance` < `end`, in seconds since 1970 UTC.

    Without a failure (maintained in time), onset and failure are None.
    """

    start: int
    end: int
    onset: int | None
    failure: int | None
    maintenance: int


@dataclass(frozen=True, order=True)
class Event:
    """A labelled moment: kind is `failure` or `maintenance`, cause is what a technician would write down."""

    event_timestamp: datetime
    machine_id: str
    sensor_type: str
    kind: str
    cause: str


def fleet(machines: int, seed: int) -> list[Machine]:
    """`machines` machines, presses, pumps and motors in turn. A larger fleet of the same seed begins with the smaller one."""
    if machines < 1:
        raise ValueError(f"a fleet has at least one machine, got {machines}")
    made = []
    for index in range(machines):
        kind = SENSOR_TYPES[index % len(SENSOR_TYPES)]
        made.append(Machine(f"{kind}-{index // len(SENSOR_TYPES) + 1:02d}", kind, seed))
    return made


def seconds(moment: datetime) -> int:
    """Seconds since 1970 of an aware datetime. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; the fleet lives in UTC")
    return (moment - EPOCH) // timedelta(seconds=1)


def lives(machine: Machine, first: int, last: int) -> Iterator[Life]:
    """The lives that overlap the seconds [first, last], in order.

    Three in four end in a failure: wear is visible for 8 to 72 hours before it, repair takes 2 to 12 hours after it.
    """
    shift = int(noise.number(machine.seed, machine.machine_id, "shift") * _LIFE)
    for index in range((first - shift) // _LIFE, (last - shift) // _LIFE + 1):
        start = index * _LIFE + shift

        def draw(what: str, low: int, high: int, life: int = index) -> int:
            return low + int(noise.number(machine.seed, machine.machine_id, what, life) * (high - low))

        failure = start + draw("failure", 4 * 86400, 9 * 86400)
        repair = draw("repair", 2 * _HOUR, 12 * _HOUR)
        if draw("fails", 0, 4) == 0:
            yield Life(start, start + _LIFE, None, None, failure)
        else:
            yield Life(start, start + _LIFE, failure - draw("onset", 8 * _HOUR, 72 * _HOUR), failure, failure + repair)


def events(start: datetime, end: datetime, machines: int, seed: int) -> list[Event]:
    """Failures and maintenances in [start, end), aware datetimes, ordered by time and machine.

    A failure's cause is `overheating` or `bearing`; a maintenance's is `repair` after a failure, else `planned`.
    """
    first, last = seconds(start), seconds(end)
    found = []
    for machine in fleet(machines, seed):
        for life in lives(machine, first, last):
            moments = [(life.maintenance, "maintenance", "planned" if life.failure is None else "repair")]
            if life.failure is not None:
                hot = noise.number(seed, machine.machine_id, "cause", life.start) < 0.5
                moments.append((life.failure, "failure", "overheating" if hot else "bearing"))
            for at, kind, cause in moments:
                if first <= at < last:
                    found.append(Event(EPOCH + timedelta(seconds=at), machine.machine_id, machine.sensor_type, kind, cause))
    return sorted(found)
