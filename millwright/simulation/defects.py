"""Defects that deliveries have, put into lines of a `fleet` CSV on purpose and reported to the line.

Belongs here: the kinds and what each does to a line. Does not: what the platform makes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from millwright.simulation import noise


class Defect(StrEnum):
    """Kinds of defects. The first four spoil a line that is there; the last two add a line at the end of the file."""

    TEXT_IN_NUMBER = "text_in_number"
    OUT_OF_RANGE = "out_of_range"
    MISSING_MACHINE_ID = "missing_machine_id"
    IMPOSSIBLE_TIMESTAMP = "impossible_timestamp"
    DUPLICATE_LINE = "duplicate_line"
    OTHER_VALUES = "other_values"


ADDED = (Defect.DUPLICATE_LINE, Defect.OTHER_VALUES)
_TIMESTAMP, _MACHINE_ID, _TEMPERATURE = 0, 1, 3


def spoil(
    lines: list[str], counts: Mapping[Defect, int], stream: int
) -> tuple[dict[int, str], list[str], dict[Defect, list[int]]]:
    """Choose lines and spoil them: (changed lines by index, lines to add, line numbers by kind).

    `lines` are the data lines without their line ends; a line number counts from 1 with the header. Every chosen line is chosen
    once, so no defect hides another. Raises ValueError when there are more defects than lines.
    """
    wanted = {Defect(kind): count for kind, count in counts.items() if count}
    total = sum(wanted.values())
    if total > len(lines) or any(count < 0 for count in wanted.values()):
        raise ValueError(f"{total} defects do not fit into {len(lines)} lines")
    order = np.argsort(noise.bits(stream, np.arange(len(lines), dtype=np.int64)), kind="stable")[:total]
    chosen = iter(int(index) for index in order)
    changed: dict[int, str] = {}
    added: list[str] = []
    numbers: dict[Defect, list[int]] = {}
    for kind in Defect:
        for index in sorted(next(chosen) for _ in range(wanted.get(kind, 0))):
            line = _spoiled(lines[index], kind)
            if kind in ADDED:
                added.append(line)
                numbers.setdefault(kind, []).append(len(lines) + len(added) + 1)
            else:
                changed[index] = line
                numbers.setdefault(kind, []).append(index + 2)
    return changed, added, numbers


def _spoiled(line: str, kind: Defect) -> str:
    cells = line.split(",")
    match kind:
        case Defect.TEXT_IN_NUMBER:
            cells[_TEMPERATURE] = "n/a"
        case Defect.OUT_OF_RANGE:
            cells[_TEMPERATURE] = "9999.99"
        case Defect.MISSING_MACHINE_ID:
            cells[_MACHINE_ID] = ""
        case Defect.IMPOSSIBLE_TIMESTAMP:
            cells[_TIMESTAMP] = f"{cells[_TIMESTAMP][:4]}-02-31T24:61:00Z"
        case Defect.OTHER_VALUES:
            cells[_TEMPERATURE] = f"{float(cells[_TEMPERATURE]) + 1.5:.2f}"
        case Defect.DUPLICATE_LINE:
            pass
    return ",".join(cells)
