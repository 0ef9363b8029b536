"""The readings of a block's rows, in the wide layout (one reading a column) and in the long one (one reading a line).

Belongs here: which cells are which reading's. Does not: what a value is (values.py), what names mean (mapping.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset
from millwright.landing.arrays import Mask, mask, member
from millwright.landing.errors import Errors
from millwright.landing.mapping import Mapped, Names
from millwright.landing.rows import Block, Cells, Kind, Positions, Refused
from millwright.landing.series_rules import SeriesRules
from millwright.landing.values import Values


@dataclass
class Readings:
    """The readings of a block's rows: members of their JSON objects, names that were not declared, rows to leave out."""

    members: list[pa.Array] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    ignored: Mask | None = None
    watched: list[Watched] = field(default_factory=list)


@dataclass(frozen=True)
class Watched:
    """Values of a reading that a rule over several lines looks at: of these rows of the block, or of all."""

    name: str
    column: str
    value: pa.Array
    at: Positions | None = None


class Layouts:
    """Reads the readings of a delivery's rows; `most` bounds the names of a long one."""

    def __init__(self, dataset: Dataset, names: Names, values: Values, several: SeriesRules, most: int) -> None:
        self._dataset, self._names, self._values, self._several, self._most = dataset, names, values, several, most
        self._named: set[str] = set()

    def read(self, block: Block, mapped: Mapped, found: Errors) -> Readings:
        """The readings of every row; raises Refused for a long file with more names than readings can have."""
        read = self._wide(block, mapped, found)
        if self._names.layout is not None:
            self._long(block, mapped, found, read)
        return read

    def _wide(self, block: Block, mapped: Mapped, found: Errors) -> Readings:
        """One reading a column."""
        read = Readings(new=mapped.new_readings)
        for name in [*self._dataset.values, *mapped.new_readings]:
            reading = self._dataset.values.get(name)
            if name in mapped.columns or name in mapped.constants:
                cells, column = cells_of(block, mapped, name, found), mapped.name_of(name)
                value = self._read(cells, column, name, found)
                if self._several.watches(name):
                    read.watched.append(Watched(name, column, value))
                read.members.append(member(name, value))
            elif reading is not None and reading.required and self._names.layout is None:
                found.add(np.ones(block.rows, dtype=np.bool_), name, "required", "is missing")
        return read

    def _long(self, block: Block, mapped: Mapped, found: Errors, read: Readings) -> None:
        """One reading a line: its name in one column, its value in another. Errors of a value are told of its reading's name."""
        assert self._names.layout is not None
        empty = Cells(pa.repeat(pa.scalar(""), block.rows))
        names = block.columns.get(self._names.layout.reading, empty)
        values = block.columns.get(self._names.layout.value, empty)
        found.kinds(names, self._names.layout.reading, (Kind.STRING,), "the name of a reading")
        coded = pc.utf8_trim(names.text, " \t").dictionary_encode()
        self._named.update(coded.dictionary.to_pylist())
        if len(self._named) > self._most:
            raise Refused(
                f"The column {self._names.layout.reading!r} names more than {self._most:,} readings (setting max_columns). "
                "Nothing was loaded. Does it hold the names, and the other column the values? Say so with `--long reading=value`."
            )
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
                twice = _has(block, mapped, name_field)[at] & mask(pc.not_equal(cells.text, ""))
                told = f"is given by the line and by {mapped.name_of(name_field)} beside it"
                found.part(at).add(twice, name, "given_twice", told)
                if self._several.watches(name_field):
                    read.watched.append(Watched(name_field, name, value, at))
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


def _has(block: Block, mapped: Mapped, name: str) -> Mask:
    """Rows in which a column or a constant gives the field."""
    given = np.full(block.rows, bool(mapped.constants.get(name)))
    for column in mapped.columns.get(name, []):
        given |= mask(pc.not_equal(block.columns[column].text, ""))
    return given


def cells_of(block: Block, mapped: Mapped, name: str, found: Errors) -> Cells:
    """The cells of a field: of its column, or the constant; of two JSON names the one that a row has."""
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
