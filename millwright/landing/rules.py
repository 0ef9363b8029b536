"""The rules of a delivery: a block of text → typed rows, vectorised, with every failing cell of every row.

Belongs here: which column is read by which rule, which rows are good. Does not: what a timestamp (timestamps.py), a value
(values.py), a key (keys.py) is; column names (mapping.py); files; Postgres.

Cells are stripped of spaces and tabs at both ends, except text readings; an empty cell is a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset, Definitions
from millwright.landing.arrays import mask, member, objects
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.keys import Keys
from millwright.landing.mapping import EVENT, Delivery, Mapped, map_columns
from millwright.landing.rows import Block, CellError, Cells, Kind
from millwright.landing.timestamps import Bounds, Moments
from millwright.landing.values import Values
from millwright.settings import Settings


@dataclass
class Typed:
    """The rows of a block: `good` (positions in the block) with typed columns of that length, and the errors of all others."""

    good: npt.NDArray[np.int64]
    event_timestamp: pa.Array
    keys: dict[str, pa.Array]
    readings: pa.Array
    errors: dict[int, list[CellError]] = field(default_factory=dict)
    new_readings: list[str] = field(default_factory=list)


class Rules:
    """The rules of one delivery of a dataset; `now` (UTC) bounds the future."""

    def __init__(
        self, settings: Settings, definitions: Definitions, dataset: Dataset, delivery: Delivery, *, now: datetime, fixed: bool
    ) -> None:
        self._definitions, self._dataset, self._delivery, self._fixed = definitions, dataset, delivery, fixed
        self._casts = Casts()
        first = datetime.combine(settings.first_day, time(), UTC)
        bounds = Bounds(first, now + settings.max_future, dataset.not_before, dataset.not_after)
        how, numbers = delivery.timestamps.over(dataset.timestamps), delivery.numbers or dataset.numbers
        self._moments = Moments(self._casts, how, numbers, delivery.timezone or dataset.timezone, bounds)
        self._values = Values(self._casts)
        self._keys = Keys(self._values, dataset, definitions.entities[dataset.entity])

    def mapped(self, names: Any) -> Mapped:
        """Columns by field; raises Refused for a header that cannot be mapped."""
        return map_columns(self._definitions, self._dataset, self._delivery, names, fixed=self._fixed)

    def close(self) -> None:
        """Give back the casts' memory."""
        self._casts.close()

    def apply(self, block: Block) -> Typed:
        """Type a block's rows. A row with any failing cell is in `errors` with all of them, and in nothing else."""
        found = Errors(block.rows)
        mapped = self.mapped(block.columns)
        names = self._keys.names
        cells = {name: _cells(block, mapped, name, found) for name in (EVENT, *names)}
        moment = self._moments.read(cells[EVENT], mapped.name_of(EVENT), found)
        keys = {name: self._keys.read(cells[name], name, mapped.name_of(name), found) for name in names}
        readings = objects(self._members(block, mapped, found), block.rows)
        if self._dataset.target != "events":
            found.add(mask(pc.equal(readings, "{}")) & ~found.bad, "", "no_readings", "no reading has a value")
        good = np.flatnonzero(~found.bad)
        return Typed(
            good,
            moment.take(good),
            {name: column.take(good) for name, column in keys.items()},
            readings.take(good),
            found.rows,
            mapped.new_readings,
        )

    def _members(self, block: Block, mapped: Mapped, found: Errors) -> list[pa.Array]:
        members = []
        for name in [*self._dataset.values, *mapped.new_readings]:
            reading = self._dataset.values.get(name)
            if name in mapped.columns or name in mapped.constants:
                cells, column = _cells(block, mapped, name, found), mapped.name_of(name)
                value = (
                    self._values.read(cells, column, reading, found) if reading else self._values.unknown(cells, column, found)
                )
                members.append(member(name, value))
            elif reading is not None and reading.required:
                found.add(np.ones(block.rows, dtype=np.bool_), name, "required", "is missing")
        return members


def _cells(block: Block, mapped: Mapped, name: str, found: Errors) -> Cells:
    columns = mapped.columns.get(name, [])
    if not columns:
        return Cells(pa.repeat(pa.scalar(mapped.constants.get(name, "")), block.rows))
    cells = block.columns[columns[0]]
    for other in columns[1:]:
        second = block.columns[other]
        both = mask(pc.and_(pc.not_equal(cells.text, ""), pc.not_equal(second.text, "")))
        found.add(both, other, "given_twice", f"and {columns[0]} both mean {name}")
        kinds = None
        if cells.kinds is not None and second.kinds is not None:
            kinds = np.where(cells.kinds == Kind.MISSING, second.kinds, cells.kinds).astype(np.int8)
        cells = Cells(pc.if_else(pc.equal(cells.text, ""), second.text, cells.text), kinds)
    return cells
