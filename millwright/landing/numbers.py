"""How numbers are written in a file: decimal mark, marks between thousands.

Belongs here: which text is a number, and the same number with a point and no marks. Does not: casting, bounds (values.py).

Grouping must be right: with `thousands: .` and `decimal: ,`, `1.234,5` is a number and `1.23,4` is none. A space between
thousands may be any of those that people and programs write there: the plain one, the no-break space, the narrow no-break space,
the thin space; an apostrophe the straight or the curved one. Numbers without marks are numbers too.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions.datasets import Numbers

_MARKS = {" ": " \u00a0\u202f\u2009", "'": "'\u2019"}
_EXPONENT = r"(?:[eE][+-]?[0-9]+)?"


class Written:
    """The expressions (RE2) of numbers written as `numbers` says.

    `number` and `integer` are what a declared reading takes; `strict` is the narrower form of JSON, which is the sign that a cell
    of a new reading is a number: no plus, no leading zeros, no bare point.
    """

    def __init__(self, numbers: Numbers) -> None:
        self.declared = numbers
        self._marks = _MARKS.get(numbers.thousands, numbers.thousands)
        point = re.escape(numbers.decimal)
        groups = f"(?:[{self._marks}][0-9]{{3}})+" if self._marks else ""
        whole = f"(?:[0-9]+|[0-9]{{1,3}}{groups})" if groups else "[0-9]+"
        narrow = f"(?:0|[1-9][0-9]*|[1-9][0-9]{{0,2}}{groups})" if groups else "(?:0|[1-9][0-9]*)"
        self.number = f"^[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+){_EXPONENT}$"
        self.integer = f"^[+-]?{whole}$"
        self.strict = f"^-?{narrow}(?:{point}[0-9]+)?{_EXPONENT}$"

    def plain(self, text: pa.Array) -> pa.Array:
        """Numbers with a decimal point and no marks; what is no number may become anything."""
        for mark in self._marks:
            text = pc.replace_substring(text, mark, "")
        return text if self.declared.decimal == "." else pc.replace_substring(text, self.declared.decimal, ".")


JSON = Written(Numbers())
"""How JSON writes numbers."""
