"""The rules of a delivery: a block of text → typed rows, vectorised, with every failing cell of every row.

Belongs here: which column is read by which rule, which rows are good. Does not: what a timestamp (timestamps.py), a value
(values.py), a key (keys.py) is; what names mean (mapping.py); rules over several lines (series_rules.py); files; Postgres.

Cells are stripped of spaces and tabs at both ends, except text readings; an empty cell or a declared word is a missing value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset, Definitions
from millwright.landing.arrays import mask, objects
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.keys import Keys
from millwright.landing.layouts import Layouts, cells_of
from millwright.landing.mapping import EVENT, Delivery, Mapped, Names
from millwright.landing.rows import Block, CellError
from millwright.landing.series_rules import SeriesRules
from millwright.landing.timestamps import Bounds, Moments
from millwright.landing.units import conversions
from millwright.landing.values import Values
from millwright.settings import Settings


@dataclass
class Typed:
    """The rows of a block: `good` (positions in the block) with typed columns of that length, and the errors of all others.

    `ignored` rows are neither: lines of a long file whose reading the delivery leaves out.
    """

    good: npt.NDArray[np.int64]
    event_timestamp: pa.Array
    keys: dict[str, pa.Array]
    readings: pa.Array
    errors: dict[int, list[CellError]] = field(default_factory=dict)
    new_readings: list[str] = field(default_factory=list)
    ignored: int = 0


class Rules:
    """The rules of one delivery of a dataset; `now` (UTC) bounds the future, `units` is the file's units row: column → unit.

    `unit`: what a position counts. Raises Refused for units that cannot be converted.
    """

    def __init__(
        self,
        settings: Settings,
        definitions: Definitions,
        dataset: Dataset,
        delivery: Delivery,
        *,
        now: datetime,
        fixed: bool,
        units: Mapping[str, str] = {},
        unit: str = "line",
    ) -> None:
        self._dataset = dataset
        self._names = Names(definitions, dataset, delivery, fixed=fixed)
        fields = {column: self._names.field_of(column) for column in units}
        found, self._units = conversions(dataset, delivery.units, units, fields)
        bounds = Bounds(
            datetime.combine(settings.first_day, time(), UTC), now + settings.max_future, dataset.not_before, dataset.not_after
        )
        self._how, self._numbers = delivery.timestamps.over(dataset.timestamps), delivery.numbers or dataset.numbers
        self._zone = delivery.timezone or dataset.timezone
        self._missing = [*dataset.missing, *delivery.missing]
        self._casts = Casts()
        self._moments = Moments(self._casts, self._how, self._numbers, self._zone, bounds)
        self._values = Values(self._casts, dataset, self._numbers, self._missing, found)
        self._keys = Keys(self._values, dataset, definitions.entities[dataset.entity])
        hidden = frozenset(dataset.sensitive)
        self.several = SeriesRules(dataset.values, unit=unit, correction=delivery.correction, hidden=hidden)
        self._layouts = Layouts(dataset, self._names, self._values, self.several, settings.max_columns)

    @property
    def long(self) -> bool:
        """Whether each line has one reading."""
        return self._names.layout is not None

    def mapped(self, names: Any) -> Mapped:
        """Columns by field; raises Refused for a header that cannot be mapped."""
        return self._names.columns(names)

    def facts(self, header: Iterable[str] | None) -> dict[str, Any]:
        """What the names and cells were taken to mean, for the receipt."""
        told: dict[str, Any] = {
            "timezone": self._zone,
            "timestamps": {"format": "iso", "ambiguous": "error", "nonexistent": "error"}
            | self._how.model_dump(exclude_none=True),
            "numbers": self._numbers.model_dump(),
            "units": self._units,
            "missing": self._missing,
            "layout": None if self._names.layout is None else self._names.layout.model_dump(),
        }
        if header is not None:
            mapped = self.mapped(header)
            told["columns"] = {column: field for field, columns in mapped.columns.items() for column in columns}
            told |= {"constants": dict(mapped.constants), "ignored": mapped.ignored}
        return told

    def close(self) -> None:
        """Give back what the casts and the rules over several lines hold."""
        self._casts.close()
        self.several.close()

    def apply(self, block: Block) -> Typed:
        """Type a block's rows. A row with any failing cell is in `errors` with all of them, and in nothing else."""
        mapped = self.mapped(block.columns)
        found = Errors(block.rows, self._hidden(mapped))
        names = self._keys.names
        cells = {name: cells_of(block, mapped, name, found) for name in (EVENT, *names)}
        moment = self._moments.read(cells[EVENT], mapped.name_of(EVENT), found, self._values.missing)
        keys = {name: self._keys.read(cells[name], name, mapped.name_of(name), found) for name in names}
        for column, (code, message) in mapped.strange.items():
            found.add(mask(pc.not_equal(block.columns[column].text, "")), column, code, message)
        read = self._layouts.read(block, mapped, found)
        readings = objects(read.members, block.rows)
        empty = mask(pc.equal(readings, "{}"))
        kept = np.ones(block.rows, dtype=np.bool_) if read.ignored is None else ~read.ignored
        if self._dataset.target != "events":
            found.add(empty & ~found.bad & kept, "", "no_readings", "no reading has a value")
        landing = ~found.bad & kept
        good = np.flatnonzero(landing)
        if read.watched:
            certain = np.ones(block.rows, dtype=np.bool_)
            for name in (EVENT, *names):
                certain &= ~found.in_column(mapped.name_of(name))
            placed = pc.if_else(pa.array(certain), moment, None)
            for watched in read.watched:
                at, value = watched.at, watched.value
                if at is None:
                    at = np.flatnonzero(kept)
                    value = value.take(pa.array(at))
                series = [keys[name].take(pa.array(at)) for name in names]
                where = block.positions[at], series, placed.take(pa.array(at))
                self.several.add(watched.name, watched.column, *where, value, landing[at])
        return Typed(
            good,
            moment.take(good),
            {name: column.take(good) for name, column in keys.items()},
            readings.take(good),
            found.rows if kept.all() else {row: errors for row, errors in found.rows.items() if kept[row]},
            read.new,
            int((~kept).sum()),
        )

    def _hidden(self, mapped: Mapped) -> frozenset[str]:
        """The columns whose cells no message may show."""
        return frozenset(column for name in self._dataset.sensitive for column in (name, *mapped.columns.get(name, [])))
