"""Readings: text → JSON values.

Belongs here: what a number, a truth, a text is, and the rules of one cell. Does not: time (timestamps.py), keys (keys.py), rules
over several lines (series_rules.py).

Nothing is guessed: a number is digits, a decimal mark, an exponent; `1.7` is no integer, `nan` no number. JSON has types, and
they bind: a number is a JSON number (a quoted "5" is `wrong_type`), a text a JSON string; null and empty text are missing. Words
that the dataset declares (`missing`, `yes`, `no`) mean what it says, in a CSV and in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset, Reading
from millwright.definitions.datasets import Numbers
from millwright.landing import hints, numbers
from millwright.landing.arrays import Mask, encoded, mask, only, trimmed
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind
from millwright.landing.units import Conversion

_SHORT_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NOT_FINITE = r"(?i)^[+-]?(nan|inf|infinity)$"
_KINDS = {"double": (Kind.NUMBER,), "int64": (Kind.NUMBER,), "bool": (Kind.BOOL,), "string": (Kind.STRING,)}
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class Values:
    """Reads the readings of a delivery.

    `written`: how numbers are written; `missing`: words for no value; `conversions`: field → from the file's unit to our own.
    """

    def __init__(
        self, casts: Casts, dataset: Dataset, written: Numbers, missing: list[str], conversions: Mapping[str, Conversion]
    ) -> None:
        self._casts, self._conversions = casts, conversions
        self._written = numbers.Written(written)
        self.missing = pa.array(missing, pa.string()) if missing else None
        self._yes = pa.array(["true", *(word.lower() for word in dataset.yes)])
        self._no = pa.array(["false", *(word.lower() for word in dataset.no)])

    def read(self, cells: Cells, column: str, field: str, reading: Reading, found: Errors) -> pa.Array:
        """JSON text of a declared reading in a column of that name; null where it is missing or an error was noted."""
        text, missing = trimmed(cells, self.missing)
        if reading.required:
            found.add(missing, column, "required", "is missing")
        if reading.type == "bool":
            return self._truth(cells, text, ~missing, column, found)
        present = ~missing & ~found.kinds(cells, column, _KINDS[reading.type], reading.type, missing)
        if reading.type == "string":
            return self._text(only(cells.text, present), column, reading, found)
        if reading.type == "int64":
            value = self.integer(text, present, column, found, json=cells.kinds is not None)
        else:
            value = self._number(text, present, column, field, found, json=cells.kinds is not None)
        if (conversion := self._conversions.get(field)) is not None:
            value, lost = conversion.apply(value)
            found.add(lost, column, "out_of_range", f"does not fit in {conversion.to}", text)
        _check_bounds(value, text, column, reading, found)
        if reading.allowed:
            kind = pa.int64() if reading.type == "int64" else pa.float64()
            allowed = pa.array([int(word) if reading.type == "int64" else float(word) for word in reading.allowed], kind)
            wrong = mask(pc.is_valid(value)) & ~mask(pc.is_in(value, allowed))
            found.add(wrong, column, "not_allowed", f"is none of {_some(reading.allowed)}", text)
        return pc.cast(value, pa.string())

    def unknown(self, cells: Cells, column: str, found: Errors) -> pa.Array:
        """A new reading, cell by cell: a number as JSON would write it (but for the declared marks), true or false, else text."""
        text, missing = trimmed(cells, self.missing)
        kinds = (Kind.NUMBER, Kind.BOOL, Kind.STRING)
        present = ~missing & ~found.kinds(cells, column, kinds, "a number, text, true or false", missing)
        if cells.kinds is None:
            number = mask(pc.match_substring_regex(text, self._written.strict))
            flag = mask(pc.is_in(text, pa.array(["true", "false"])))
            plain = self._written.plain(text)
        else:
            number, flag, plain = cells.kinds == Kind.NUMBER, cells.kinds == Kind.BOOL, text
        exact = mask(pc.match_substring_regex(plain, _SHORT_INTEGER)) & number & present
        value = self._number(text, present & number & ~exact, column, column, found, json=cells.kinds is not None)
        other = present & ~number & ~flag
        doubtful = other & mask(pc.match_substring_regex(text, hints.NO_TEXT))
        told = "is neither a number nor certainly a text: give it with --missing, or declare the reading with a type"
        found.add(doubtful, column, "missing_word", told, text)
        return pc.coalesce(
            only(plain, exact),
            only(text, flag & present),
            pc.cast(value, pa.string()),
            encoded(only(cells.text, other & ~doubtful)),
        )

    def integer(self, text: pa.Array, present: Mask, column: str, found: Errors, *, json: bool) -> pa.Array:
        """Whole numbers of 64 bits (int64); null where an error was noted."""
        written = numbers.JSON if json else self._written
        fits = mask(pc.match_substring_regex(text, written.integer)) & present
        value = self._casts(written.plain(text), fits, "int64")
        found.explain(
            present & ~fits, column, "not_an_integer", hints.integer(column, written.declared), "is not a whole number", text
        )
        found.add(fits & mask(pc.is_null(value)), column, "out_of_range", "does not fit into 64 bits", text)
        return value

    def _number(self, text: pa.Array, present: Mask, column: str, field: str, found: Errors, *, json: bool) -> pa.Array:
        written = numbers.JSON if json else self._written
        fits = mask(pc.match_substring_regex(text, written.number)) & present
        value = self._casts(written.plain(text), fits, "double")
        named = mask(pc.match_substring_regex(text, _NOT_FINITE)) & present if not fits.all() else ~present & present
        infinite = named | mask(pc.is_inf(value))
        found.explain(infinite, column, "not_finite", hints.NOT_FINITE, "is not a finite number", text)
        found.explain(
            present & ~fits & ~named, column, "not_a_number", hints.number(field, written.declared), "is not a number", text
        )
        return pc.if_else(pa.array(infinite), None, value)

    def _text(self, text: pa.Array, column: str, reading: Reading, found: Errors) -> pa.Array:
        if reading.allowed:
            wrong = mask(pc.is_valid(text)) & ~mask(pc.is_in(text, pa.array(reading.allowed)))
            found.add(wrong, column, "not_allowed", f"is none of {_some(reading.allowed)}", text)
        if reading.pattern is not None:
            fits = mask(pc.match_substring_regex(text, f"^(?:{reading.pattern})$"))
            found.add(mask(pc.is_valid(text)) & ~fits, column, "no_match", f"does not match {reading.pattern}", text)
        return encoded(text)

    def _truth(self, cells: Cells, text: pa.Array, present: Mask, column: str, found: Errors) -> pa.Array:
        lower = pc.utf8_lower(text)
        true, false = mask(pc.is_in(lower, self._yes)), mask(pc.is_in(lower, self._no))
        named = (true | false) if len(self._yes) + len(self._no) > 2 else np.zeros(len(text), dtype=np.bool_)
        usable = present & ~found.kinds(cells, column, _KINDS["bool"], "bool", ~present | named)
        told = "is neither true nor false; other words are declared in the dataset, with yes: and no:"
        found.add(usable & ~true & ~false, column, "not_a_bool", told, text)
        return pc.if_else(pa.array(usable & true), "true", pc.if_else(pa.array(usable & false), "false", None))


def _check_bounds(value: pa.Array, text: pa.Array, column: str, reading: Reading, found: Errors) -> None:
    unit = f" {reading.unit}" if reading.unit else ""
    whole = reading.type == "int64"
    if reading.min is not None:
        bound = max(math.ceil(reading.min), _LEAST) if whole else reading.min
        below = mask(pc.less(value, bound)) if bound <= _GREATEST or not whole else mask(pc.is_valid(value))
        found.add(below, column, "out_of_range", f"is below {reading.min:g}{unit}", text)
    if reading.max is not None:
        bound = min(math.floor(reading.max), _GREATEST) if whole else reading.max
        above = mask(pc.greater(value, bound)) if bound >= _LEAST or not whole else mask(pc.is_valid(value))
        found.add(above, column, "out_of_range", f"is above {reading.max:g}{unit}", text)


def _some(words: list[str]) -> str:
    return ", ".join(words[:10]) + (", …" if len(words) > 10 else "")
