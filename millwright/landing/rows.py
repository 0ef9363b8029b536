"""Lines of a delivery as text, before any meaning: what the CSV and the Kafka reader hand to the rules.

Belongs here: the shapes between reader, rules and loader. Does not: reading, casting, SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol, TypedDict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Positions = npt.NDArray[np.int64]


class CellError(TypedDict):
    """Why a cell cannot land; `code` is a stable lower_snake word."""

    column: str
    code: str
    message: str


class Kind(IntEnum):
    """What a JSON value was."""

    MISSING = 0
    STRING = 1
    NUMBER = 2
    BOOL = 3
    OTHER = 4


@dataclass(frozen=True)
class Cells:
    """One column: text (never null, "" = nothing there), and for JSON the kind of each value."""

    text: pa.StringArray
    kinds: npt.NDArray[np.int8] | None = None


@dataclass(frozen=True)
class Rejected:
    """A line that is no row: its position (line or offset), its bytes as they came, why."""

    position: int
    original: bytes
    errors: list[CellError]


@dataclass(frozen=True)
class Block:
    """Some thousand consecutive lines: readable rows as columns, and the lines that are no rows."""

    columns: dict[str, Cells]
    positions: Positions
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of readable rows."""
        return len(self.positions)


class Source(Protocol):
    """A delivery that can be read once, from its first line to its last."""

    unit: str
    """What a position counts: `line` or `offset`."""
    units: Mapping[str, str]
    """Column → unit of its values, as the delivery itself says."""

    @property
    def header(self) -> Sequence[str] | None:
        """Columns that every row has, or None where each row has its own."""
        ...

    def blocks(self) -> Iterator[Block]:
        """The lines in order; raises Refused or Unavailable."""
        ...

    def originals(self, positions: Positions) -> list[bytes]:
        """The bytes of lines that were handed out, for the quarantine."""
        ...

    def facts(self) -> dict[str, Any]:
        """How it was read (dialect, encoding), for the receipt."""
        ...


class Refused(ValueError):
    """A delivery that cannot land as a whole. The message says what, where, and how to mend it."""


class Unavailable(RuntimeError):
    """A store was away or a disk full: not the data's fault, to be tried again."""
