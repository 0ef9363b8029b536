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
from millwright.landing.arrays import Mask, mask, member, objects
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.keys import Keys
from millwright.landing.mapping import EVENT, Delivery, Mapped, Names
from millwright.landing.rows import Block, CellError, Cells, Kind, Positions
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


@dataclass
class _Readings:
    """The readings of a block's rows: members of their JSON objects, names that were not declared, rows to leave out."""

    members: list[pa.Array] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    ignored: Mask | None = None
    watched: list[_Watched] = field(default_factory=list)


@dataclass(frozen=True)
class _Watched:
    """Values of a reading that a rule over several lines looks at: of these rows of the block, or of all."""

    name: str
    column: str
    value: pa.Array
    at: Positions | None = None


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
        cells = {name: _cells(block, mapped, name, found) for name in (EVENT, *names)}
        moment = self._moments.read(cells[EVENT], mapped.name_of(EVENT), found, self._values.missing)
        keys = {name: self._keys.read(cells[name], name, mapped.name_of(name), found) for name in names}
        for column, (code, message) in mapped.strange.items():
            found.add(mask(pc.not_equal(block.columns[column].text, "")), column, code, message)
        read = self._wide(block, mapped, found)
        if self._names.layout is not None:
            self._long(block, found, read)
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
                at = np.arange(block.rows) if watched.at is None else watched.at
                series = [keys[name].take(pa.array(at)) for name in names]
                where = block.positions[at], series, placed.take(pa.array(at))
                self.several.add(watched.name, watched.column, *where, watched.value, landing[at])
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

    def _wide(self, block: Block, mapped: Mapped, found: Errors) -> _Readings:
        """One reading a column."""
        read = _Readings(new=mapped.new_readings)
        for name in [*self._dataset.values, *mapped.new_readings]:
            reading = self._dataset.values.get(name)
            if name in mapped.columns or name in mapped.constants:
                cells, column = _cells(block, mapped, name, found), mapped.name_of(name)
                value = self._read(cells, column, name, found)
                if self.several.watches(name):
                    read.watched.append(_Watched(name, column, value))
                read.members.append(member(name, value))
            elif reading is not None and reading.required and self._names.layout is None:
                found.add(np.ones(block.rows, dtype=np.bool_), name, "required", "is missing")
        return read

    def _long(self, block: Block, found: Errors, read: _Readings) -> None:
        """One reading a line: its name in one column, its value in another. Errors of a value are told of its reading's name."""
        assert self._names.layout is not None
        empty = Cells(pa.repeat(pa.scalar(""), block.rows))
        names = block.columns.get(self._names.layout.reading, empty)
        values = block.columns.get(self._names.layout.value, empty)
        found.kinds(names, self._names.layout.reading, (Kind.STRING,), "the name of a reading")
        coded = pc.utf8_trim(names.text, " \t").dictionary_encode()
        codes = coded.indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(coded.dictionary)))
        read.ignored = np.zeros(block.rows, dtype=np.bool_)
        pieces = []
        for name, start, end in zip(coded.dictionary.to_pylist(), [0, *ends[:-1]], ends, strict=True):
            at = order[start:end]
            name_field, problem = self._names.reading(name) if name else ("", ("required", "is missing"))
            piece = pa.nulls(len(at), pa.string())
            if name_field is None:
                read.ignored[at] = True
            elif problem is not None:
                told = coded.take(at) if name else None
                found.part(at).add(np.ones(len(at), dtype=np.bool_), self._names.layout.reading, *problem, told)
            else:
                hidden = frozenset([name]) if name_field in self._dataset.sensitive else frozenset()
                cells = Cells(values.text.take(pa.array(at)), None if values.kinds is None else values.kinds[at])
                value = self._read(cells, name, name_field, found.part(at, hidden))
                if self.several.watches(name_field):
                    read.watched.append(_Watched(name_field, name, value, at))
                piece = member(name_field, value)
                if name_field not in self._dataset.values and name_field not in read.new:
                    read.new = [*read.new, name_field]
            pieces.append(piece)
        if pieces:
            back = np.empty(block.rows, dtype=np.int64)
            back[order] = np.arange(block.rows)
            read.members.append(pa.concat_arrays(pieces).take(pa.array(back)))

    def _read(self, cells: Cells, column: str, name: str, found: Errors) -> pa.Array:
        """JSON text of a reading, declared or new."""
        if (reading := self._dataset.values.get(name)) is not None:
            return self._values.read(cells, column, name, reading, found)
        return self._values.unknown(cells, column, found)


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
