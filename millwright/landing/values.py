"""Readings: text → JSON values.

Belongs here: what a number, a truth, a text is, and the rules of one cell. Does not: time (timestamps.py), keys (keys.py).

Nothing is guessed: a number is digits, a point, an exponent; `1.7` is no integer, `nan` no number. JSON has types, and they bind:
a number is a JSON number (a quoted "5" is `wrong_type`), a text a JSON string; null and empty text are missing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Reading
from millwright.landing.arrays import Mask, encoded, mask, only, trimmed
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind

_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+$"
_SHORT_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_NOT_FINITE = r"(?i)^[+-]?(nan|inf|infinity)$"
_KINDS = {"double": (Kind.NUMBER,), "int64": (Kind.NUMBER,), "bool": (Kind.BOOL,), "string": (Kind.STRING,)}


class Values:
    """Reads the readings of a delivery."""

    def __init__(self, casts: Casts) -> None:
        self._casts = casts

    def read(self, cells: Cells, name: str, reading: Reading, found: Errors) -> pa.Array:
        """JSON text of a declared reading in the column `name`; null where it is missing or an error was noted."""
        text, missing = trimmed(cells)
        if reading.required:
            found.add(missing, name, "required", "is missing")
        present = ~missing & ~found.kinds(cells, name, _KINDS[reading.type], reading.type)
        if reading.type == "string":
            return encoded(only(cells.text, present))
        if reading.type == "bool":
            lower = pc.utf8_lower(text)
            fits = mask(pc.is_in(lower, pa.array(["true", "false"])))
            found.add(present & ~fits, name, "not_a_bool", "is neither true nor false", text)
            return only(lower, present & fits)
        value = self.integer(text, present, name, found) if reading.type == "int64" else self._number(text, present, name, found)
        if reading.min is not None:
            found.add(mask(pc.less(value, reading.min)), name, "out_of_range", f"is below {reading.min:g}", text)
        if reading.max is not None:
            found.add(mask(pc.greater(value, reading.max)), name, "out_of_range", f"is above {reading.max:g}", text)
        return pc.cast(value, pa.string())

    def unknown(self, cells: Cells, name: str, found: Errors) -> pa.Array:
        """A new reading, cell by cell by JSON's grammar: number, true or false, else text."""
        text, missing = trimmed(cells)
        present = ~missing & ~found.kinds(cells, name, (Kind.NUMBER, Kind.BOOL, Kind.STRING), "a number, text, true or false")
        number = mask(pc.match_substring_regex(text, _JSON_NUMBER))
        flag = mask(pc.is_in(text, pa.array(["true", "false"])))
        if cells.kinds is not None:
            number, flag = cells.kinds == Kind.NUMBER, cells.kinds == Kind.BOOL
        exact = mask(pc.match_substring_regex(text, _SHORT_INTEGER)) & number & present
        value = self._number(text, present & number & ~exact, name, found)
        parts = (only(text, exact | (flag & present)), pc.cast(value, pa.string()))
        return pc.coalesce(*parts, encoded(only(cells.text, present & ~number & ~flag)))

    def integer(self, text: pa.Array, present: Mask, name: str, found: Errors) -> pa.Array:
        """Whole numbers of 64 bits (int64); null where an error was noted."""
        fits = mask(pc.match_substring_regex(text, _INTEGER)) & present
        value = self._casts(text, fits, "int64")
        found.add(present & ~fits, name, "not_an_integer", "is not a whole number", text)
        found.add(fits & mask(pc.is_null(value)), name, "out_of_range", "does not fit into 64 bits", text)
        return value

    def _number(self, text: pa.Array, present: Mask, name: str, found: Errors) -> pa.Array:
        fits = mask(pc.match_substring_regex(text, _NUMBER)) & present
        value = self._casts(text, fits, "double")
        named = mask(pc.match_substring_regex(text, _NOT_FINITE)) & present if not fits.all() else ~present & present
        infinite = named | mask(pc.is_inf(value))
        found.add(infinite, name, "not_finite", "is not a finite number", text)
        found.add(present & ~fits & ~named, name, "not_a_number", "is not a number", text)
        return pc.if_else(pa.array(infinite), None, value)
