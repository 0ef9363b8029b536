"""The rules: text → typed values, vectorised, with every failing cell of every row.

Belongs here: what a timestamp, a number, a key is, and the bounds. Does not: column names (mapping.py), files, Postgres.

Cells are stripped of spaces and tabs at both ends, except text readings; an empty cell is a missing one. Nothing is guessed:
a number is digits, a point, an exponent; `1.7` is no integer, `nan` no number. Digits after the microsecond are cut.
JSON has types, and they bind: a number is a JSON number (a quoted "5" is `wrong_type`), a key or a text a JSON string; null and
empty text are missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset, Definitions, Reading
from millwright.landing.mapping import EVENT, Delivery, Mapped, map_columns
from millwright.landing.rows import Block, CellError, Cells, Kind
from millwright.settings import Settings

Mask = npt.NDArray[np.bool_]
_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+$"
_SHORT_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NOT_FINITE = r"(?i)^[+-]?(nan|inf|infinity)$"
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$"
_LOCAL = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
_TIMESTAMP = _LOCAL + r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?$"
_MICROSECONDS = pa.timestamp("us", "UTC")
_LONGEST_KEY = 200
_CASTS = {
    "double": "select try_cast(c as double) as v from cells",
    "int64": "select try_cast(c as bigint) as v from cells",
    "local": "select epoch_us(try_cast(c as timestamp)) as v from cells",
    "instant": "select epoch_us(try_cast(c as timestamptz)) as v from cells",
}
_KINDS = {"double": (Kind.NUMBER,), "int64": (Kind.NUMBER,), "bool": (Kind.BOOL,), "string": (Kind.STRING,)}


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
        self._entity = definitions.entities[dataset.entity]
        self._zone = delivery.timezone or dataset.timezone
        self._first = datetime.combine(settings.first_day, time(), UTC)
        self._last = now + settings.max_future
        self._caster = duckdb.connect()
        self._caster.execute("set threads = 1")

    def mapped(self, names: Any) -> Mapped:
        """Columns by field; raises Refused for a header that cannot be mapped."""
        return map_columns(self._definitions, self._dataset, self._delivery, names, fixed=self._fixed)

    def close(self) -> None:
        """Give back the caster's memory."""
        self._caster.close()

    def apply(self, block: Block) -> Typed:
        """Type a block's rows. A row with any failing cell is in `errors` with all of them, and in nothing else."""
        found = _Errors(block)
        mapped = self.mapped(block.columns)
        names = [*self._entity.keys, *filter(None, [self._dataset.word])]
        cells = {name: self._cells(block, mapped, name, found) for name in (EVENT, *names)}
        moment = self._timestamp(cells[EVENT], mapped.name_of(EVENT), found)
        keys = {name: self._key(cells[name], name, mapped, found) for name in names}
        fragments = []
        for name in [*self._dataset.values, *mapped.new_readings]:
            if name in mapped.columns or name in mapped.constants:
                column = self._cells(block, mapped, name, found)
                reading = self._dataset.values.get(name)
                text = (
                    self._reading(column, mapped.name_of(name), reading, found)
                    if reading
                    else self._unknown(column, mapped.name_of(name), found)
                )
                fragments.append(pc.binary_join_element_wise(pa.scalar(f",{json.dumps(name, ensure_ascii=False)}:"), text, ""))
            elif (reading := self._dataset.values[name]).required:
                found.add(np.ones(block.rows, dtype=np.bool_), name, "required", "is missing")
        readings = _objects(fragments, block.rows)
        if self._dataset.target != "events":
            found.add(_mask(pc.equal(readings, "{}")) & ~found.bad, "", "no_readings", "no reading has a value")
        good = np.flatnonzero(~found.bad)
        return Typed(
            good,
            moment.take(good),
            {name: column.take(good) for name, column in keys.items()},
            readings.take(good),
            found.rows,
            mapped.new_readings,
        )

    def _cells(self, block: Block, mapped: Mapped, name: str, found: _Errors) -> Cells:
        columns = mapped.columns.get(name, [])
        if not columns:
            return Cells(pa.repeat(pa.scalar(mapped.constants.get(name, "")), block.rows))
        cells = block.columns[columns[0]]
        for other in columns[1:]:
            second = block.columns[other]
            both = _mask(pc.and_(pc.not_equal(cells.text, ""), pc.not_equal(second.text, "")))
            found.add(both, other, "given_twice", f"and {columns[0]} both mean {name}")
            kinds = None
            if cells.kinds is not None and second.kinds is not None:
                kinds = np.where(cells.kinds == Kind.MISSING, second.kinds, cells.kinds).astype(np.int8)
            cells = Cells(pc.if_else(pc.equal(cells.text, ""), second.text, cells.text), kinds)
        return cells

    def _timestamp(self, cells: Cells, name: str, found: _Errors) -> pa.Array:
        text, missing = _trimmed(cells)
        found.add(missing, name, "required", "is missing")
        wrong = found.kinds(cells, name, (Kind.STRING,), "a timestamp as text") | missing
        fits = _mask(pc.match_substring_regex(text, _TIMESTAMP)) & ~wrong
        aware = _mask(pc.match_substring_regex(text, _OFFSET)) & fits
        plain = pc.replace_substring(text, ",", ".")
        micros = self._cast(plain, aware, "instant")
        if (naive := fits & ~aware).any():
            micros = pc.coalesce(micros, self._local(plain, naive, name, found))
        invalid = ~wrong & ~found.in_column(name) & _mask(pc.is_null(micros))
        found.add(invalid, name, "not_a_timestamp", "is not an ISO 8601 timestamp such as 2026-03-01T12:00:00Z", text)
        moment = micros.cast(_MICROSECONDS)
        found.add(
            _mask(pc.less(moment, self._first)),
            name,
            "before_first_day",
            f"is before {self._first:%Y-%m-%d}, the first day",
            text,
        )
        found.add(_mask(pc.greater(moment, self._last)), name, "in_future", "lies in the future", text)
        return moment

    def _local(self, text: pa.Array, naive: Mask, name: str, found: _Errors) -> pa.Array:
        if self._zone is None:
            found.add(naive, name, "naive_timestamp", "has no offset and no time zone is given (--timezone)", text)
            return pa.nulls(len(text), pa.int64())
        local = self._cast(text, naive, "local").cast(pa.timestamp("us"))
        early = pc.assume_timezone(local, self._zone, ambiguous="earliest", nonexistent="earliest")
        late = pc.assume_timezone(local, self._zone, ambiguous="latest", nonexistent="latest")
        unsure = _mask(pc.not_equal(early, late))
        if unsure.any():
            twice = unsure & _mask(pc.equal(pc.local_timestamp(early), local))
            found.add(twice, name, "ambiguous_timestamp", f"occurs twice in {self._zone}: the clocks are set back", text)
            found.add(
                unsure & ~twice,
                name,
                "nonexistent_timestamp",
                f"does not exist in {self._zone}: the clocks are set forward",
                text,
            )
        return early.cast(pa.int64())

    def _key(self, cells: Cells, name: str, mapped: Mapped, found: _Errors) -> pa.Array:
        text, missing = _trimmed(cells)
        column = mapped.name_of(name)
        found.add(missing, column, "required", "is missing")
        number = self._entity.join_keys.get(name) == "int64"
        found.kinds(cells, column, (Kind.NUMBER,) if number else (Kind.STRING,), "a number" if number else "text")
        if number:
            value = self._integer(text, ~missing, column, found)
            return pc.coalesce(pc.cast(value, pa.string()), "")
        found.add(
            _mask(pc.greater(pc.binary_length(text), _LONGEST_KEY)), column, "too_long", f"is longer than {_LONGEST_KEY} bytes"
        )
        if name == self._dataset.word and (words := self._dataset.sensor_types or self._dataset.kinds):
            known = _mask(pc.is_in(text, pa.array(words)))
            found.add(~missing & ~known, column, f"unknown_{name}", f"is none of {', '.join(words)}", text)
        return text

    def _reading(self, cells: Cells, name: str, reading: Reading, found: _Errors) -> pa.Array:
        text, missing = _trimmed(cells)
        if reading.required:
            found.add(missing, name, "required", "is missing")
        present = ~missing & ~found.kinds(cells, name, _KINDS[reading.type], reading.type)
        if reading.type == "string":
            return _encoded(_only(cells.text, present))
        if reading.type == "bool":
            lower = pc.utf8_lower(text)
            fits = _mask(pc.is_in(lower, pa.array(["true", "false"])))
            found.add(present & ~fits, name, "not_a_bool", "is neither true nor false", text)
            return _only(lower, present & fits)
        value = self._integer(text, present, name, found) if reading.type == "int64" else self._number(text, present, name, found)
        if reading.min is not None:
            found.add(_mask(pc.less(value, reading.min)), name, "out_of_range", f"is below {reading.min:g}", text)
        if reading.max is not None:
            found.add(_mask(pc.greater(value, reading.max)), name, "out_of_range", f"is above {reading.max:g}", text)
        return pc.cast(value, pa.string())

    def _unknown(self, cells: Cells, name: str, found: _Errors) -> pa.Array:
        """A new reading, cell by cell by JSON's grammar: number, true or false, else text."""
        text, missing = _trimmed(cells)
        present = ~missing & ~found.kinds(cells, name, (Kind.NUMBER, Kind.BOOL, Kind.STRING), "a number, text, true or false")
        number = _mask(pc.match_substring_regex(text, _JSON_NUMBER))
        flag = _mask(pc.is_in(text, pa.array(["true", "false"])))
        if cells.kinds is not None:
            number, flag = cells.kinds == Kind.NUMBER, cells.kinds == Kind.BOOL
        exact = _mask(pc.match_substring_regex(text, _SHORT_INTEGER)) & number & present
        value = self._number(text, present & number & ~exact, name, found)
        parts = (_only(text, exact | (flag & present)), pc.cast(value, pa.string()))
        return pc.coalesce(*parts, _encoded(_only(cells.text, present & ~number & ~flag)))

    def _number(self, text: pa.Array, present: Mask, name: str, found: _Errors) -> pa.Array:
        fits = _mask(pc.match_substring_regex(text, _NUMBER)) & present
        value = self._cast(text, fits, "double")
        named = _mask(pc.match_substring_regex(text, _NOT_FINITE)) & present if not fits.all() else ~present & present
        infinite = named | _mask(pc.is_inf(value))
        found.add(infinite, name, "not_finite", "is not a finite number", text)
        found.add(present & ~fits & ~named, name, "not_a_number", "is not a number", text)
        return pc.if_else(pa.array(infinite), None, value)

    def _integer(self, text: pa.Array, present: Mask, name: str, found: _Errors) -> pa.Array:
        fits = _mask(pc.match_substring_regex(text, _INTEGER)) & present
        value = self._cast(text, fits, "int64")
        found.add(present & ~fits, name, "not_an_integer", "is not a whole number", text)
        found.add(fits & _mask(pc.is_null(value)), name, "out_of_range", "does not fit into 64 bits", text)
        return value

    def _cast(self, text: pa.Array, mask: Mask, to: str) -> pa.Array:
        self._caster.register("cells", pa.table({"c": _only(text, mask)}))
        try:
            return self._caster.sql(_CASTS[to]).to_arrow_table().column(0).combine_chunks()
        finally:
            self._caster.unregister("cells")


class _Errors:
    """Errors of a block's rows, collected column by column."""

    def __init__(self, block: Block) -> None:
        self.rows: dict[int, list[CellError]] = {}
        self.bad = np.zeros(block.rows, dtype=np.bool_)
        self._columns: dict[str, Mask] = {}

    def add(self, mask: Mask, column: str, code: str, message: str, text: pa.Array | None = None) -> None:
        """Note an error of `column` for the rows of `mask`; `text` is quoted in front of the message."""
        indices = np.flatnonzero(mask)
        if not indices.size:
            return
        self.bad[indices] = True
        self._columns[column] = self.in_column(column) | mask
        quoted = text.take(pa.array(indices)).to_pylist() if text is not None else [None] * indices.size
        for index, cell in zip(indices.tolist(), quoted, strict=True):
            told = message if cell is None else f"{_short(cell)} {message}"
            self.rows.setdefault(index, []).append({"column": column, "code": code, "message": told})

    def in_column(self, column: str) -> Mask:
        """Rows that have an error in the column already."""
        return self._columns.get(column, np.zeros(self.bad.size, dtype=np.bool_))

    def kinds(self, cells: Cells, column: str, allowed: tuple[Kind, ...], wanted: str) -> Mask:
        """Note and return JSON values of another kind than allowed; none for a CSV."""
        if cells.kinds is None:
            return np.zeros(self.bad.size, dtype=np.bool_)
        wrong: Mask = ~np.isin(cells.kinds, (Kind.MISSING, *allowed))
        self.add(wrong, column, "wrong_type", f"is not {wanted}", cells.text)
        return wrong


def _trimmed(cells: Cells) -> tuple[pa.Array, Mask]:
    text = pc.utf8_trim(cells.text, " \t")
    return text, _mask(pc.equal(text, ""))


def _mask(values: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _only(values: pa.Array, mask: Mask) -> pa.Array:
    return values if mask.all() else pc.if_else(pa.array(mask), values, None)


def _encoded(text: pa.Array) -> pa.Array:
    """Text as JSON strings; nulls stay null."""
    encoded = text.dictionary_encode()
    words = pa.array([json.dumps(word, ensure_ascii=False) for word in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, words).cast(pa.string())


def _objects(fragments: list[pa.Array], rows: int) -> pa.Array:
    if not fragments:
        return pa.repeat(pa.scalar("{}"), rows)
    # Not null_handling="skip": it leaves out rows that have nothing but nulls.
    inner = pc.binary_join_element_wise(*fragments, "", null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise("{", pc.utf8_slice_codeunits(inner, 1), "}", "")


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else f"{cell[:60]}…")
