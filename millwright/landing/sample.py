"""The first rows of a file as text, for proposals.

Belongs here: reading little. Does not: what the cells mean (guess.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from millwright.definitions.datasets import Format
from millwright.landing.csv import CsvFile
from millwright.landing.guess import SAMPLED, present


@dataclass(frozen=True)
class Sample:
    """Header and, per column, the cells of the first rows that hold something. `units`: column → unit of a units row."""

    header: Sequence[str]
    columns: dict[str, list[str]]
    units: dict[str, str]


def sample(path: Path, format: Format, missing: Sequence[str] = ()) -> Sample:
    """Read the first thousand rows. Raises Refused for a file that cannot be read, Unavailable when it is not there."""
    source = CsvFile(path, format)
    header = list(source.header)
    columns: dict[str, list[str]] = {name: [] for name in header}
    for block in islice(source.blocks(), 1):
        columns = {name: present(cells.text[:SAMPLED].to_pylist(), missing) for name, cells in block.columns.items()}
    return Sample(header, columns, dict(source.units))
