"""Files as the fleet delivers them: a CSV a day, a late correction, a historian's export, the event log.

Belongs here: lines, bytes and what was put into them. Does not: values (readings.py), kinds of defects (defects.py).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from millwright.simulation import noise
from millwright.simulation.defects import Defect, spoil
from millwright.simulation.fleet import EPOCH, Machine, events, fleet
from millwright.simulation.lines import HEADER, lines, to_bytes
from millwright.simulation.readings import instants, measure

_FOREIGN = Machine("press-99", "press", 0)


@dataclass(frozen=True)
class WrittenFile:
    """A file that was written: data rows in it, bytes, and the line numbers (header = 1) of the defects by kind."""

    path: Path
    rows: int
    bytes: int
    defects: dict[Defect, list[int]] = field(default_factory=dict)

    @property
    def duplicates(self) -> int:
        """Rows that repeat another row of the file exactly."""
        return len(self.defects.get(Defect.DUPLICATE_LINE, ()))

    @property
    def bad(self) -> int:
        """Rows that no landing should load: every defect but the exact duplicates."""
        return sum(map(len, self.defects.values())) - self.duplicates

    @property
    def good(self) -> int:
        """Rows that a first landing loads."""
        return self.rows - self.bad - self.duplicates


def write_csv(
    folder: Path,
    first: date,
    last: date,
    machines: int = 30,
    seed: int = 7,
    interval: int = 60,
    defects: Mapping[Defect, int] | None = None,
) -> list[WrittenFile]:
    """Write `fleet-<day>.csv` for each UTC day from `first` to `last` (both included); the same arguments give the same bytes.

    A row for every machine and `interval` seconds, by time, then machine; absent sensors are empty cells. `defects` are put into
    each file so many times. A file appears under its name only when it is whole. Raises ValueError where defects do not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    crew = fleet(machines, seed)
    written = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        start = datetime.combine(day, time(), UTC)
        body = lines(crew, instants(start, start + timedelta(days=1), interval), interval)
        path = folder / f"fleet-{day.isoformat()}.csv"
        written.append(_write_fleet(path, body, defects or {}, noise.key(seed, "defects", day.isoformat())))
    return written


def write_correction(
    path: Path,
    start: datetime,
    end: datetime,
    machine_ids: Sequence[str],
    machines: int = 30,
    seed: int = 7,
    interval: int = 60,
    offset: float = -2.5,
) -> WrittenFile:
    """Write late corrected rows: those of [start, end) for `machine_ids`, with temperatures moved by `offset` degC.

    To be delivered as a correction; other readings are as `write_csv` wrote them. Raises ValueError for a machine that is not in
    the fleet.
    """
    crew = {machine.machine_id: machine for machine in fleet(machines, seed)}
    if strangers := [name for name in machine_ids if name not in crew]:
        raise ValueError(f"no such machine in a fleet of {machines}: {', '.join(strangers)}")
    body = lines([crew[name] for name in machine_ids], instants(start, end, interval), interval, offset)
    return _write_fleet(path, body, {}, 0)


def foreign_csv(path: Path, seed: int = 7, start: datetime = datetime(2024, 1, 8), days: int = 21) -> WrittenFile:
    """Write one machine's temperature the way a plant historian exports it: `timestamp,value`, every 5 minutes.

    Timestamps are naive (they mean UTC) and there is no machine id. The hour from 02:00 of the last but one day is there
    twice, the second time with other values, as when an export meets a restart: its 12 rows are reported as OTHER_VALUES.
    """
    if days < 2 or start.tzinfo is not None:
        raise ValueError(f"needs a naive start and two days at least, got {start} and {days}")
    machine = Machine(_FOREIGN.machine_id, _FOREIGN.sensor_type, seed)
    at = instants(start.replace(tzinfo=UTC), start.replace(tzinfo=UTC) + timedelta(days=days), 300)
    values = measure(machine, at, 300)["temperature"] / 100.0
    # A historian keeps more digits than the sensor has.
    values = values + noise.white(noise.key(seed, machine.machine_id, "digits"), at) * 0.002
    twice = (days - 2) * 288 + 24
    again = values[twice : twice + 12] + 0.4 + noise.uniform(noise.key(seed, machine.machine_id, "again"), at[twice : twice + 12])
    cut = twice + 12
    moments = np.concatenate([at[:cut], at[twice:cut], at[cut:]])
    rows = [
        f"{EPOCH + timedelta(seconds=int(second)):%Y-%m-%d %H:%M:%S},{value:.6f}\n"
        for second, value in zip(moments, np.concatenate([values[:cut], again, values[cut:]]), strict=True)
    ]
    size = _put(path, ("timestamp,value\n" + "".join(rows)).encode())
    return WrittenFile(path, len(rows), size, {Defect.OTHER_VALUES: list(range(cut + 2, cut + 14))})


def write_events(path: Path, start: datetime, end: datetime, machines: int = 30, seed: int = 7) -> WrittenFile:
    """Write the fleet's failures and maintenances in [start, end) as `timestamp,machine_id,sensor_type,kind,cause`."""
    found = events(start, end, machines, seed)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("timestamp", "machine_id", "sensor_type", "kind", "cause"))
    writer.writerows(
        (f"{event.event_timestamp:%Y-%m-%dT%H:%M:%SZ}", event.machine_id, event.sensor_type, event.kind, event.cause)
        for event in found
    )
    return WrittenFile(path, len(found), _put(path, text.getvalue().encode()))


def _write_fleet(path: Path, body: pa.StringArray, defects: Mapping[Defect, int], stream: int) -> WrittenFile:
    numbers: dict[Defect, list[int]] = {}
    rows = len(body)
    data = to_bytes(body)
    if any(defects.values()):
        clean = data.decode().split("\n")[:-1]
        changed, added, numbers = spoil(clean, defects, stream)
        for index, line in changed.items():
            clean[index] = line
        data = "\n".join([*clean, *added, ""]).encode()
        rows += len(added)
    return WrittenFile(path, rows, _put(path, f"{HEADER}\n".encode() + data), numbers)


def _put(path: Path, data: bytes) -> int:
    """Write whole or not at all: under a hidden name first, so that nothing that watches the folder meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)
    return len(data)
