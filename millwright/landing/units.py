"""Units: from what a file's numbers are in to the unit that a reading is kept in, by pint.

Belongs here: which unit a file gives for which field, whether it can be converted, and the arithmetic. Does not: definitions.

A conversion is `value * factor + offset` in exact fractions, found once and then applied to whole columns: of doubles as
(value * p + q) / d in float64, which is right to the last digits (32 degF is exactly 0 degC); of int64 only where that is a whole
number for every whole number, without rounding. Where two names are the same unit the numbers are left alone. pint is imported
only when there is something to convert: it takes most of a second.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset
from millwright.landing.arrays import Mask
from millwright.landing.rows import Refused

_EXACT = 2**53
_LONGEST = 40
_FORM = re.compile(r"1?[^\W\d]?[\w°%µμΩΩ/*·^²³⁻¹() .+-]*")
_POWERS = re.compile(r"[\d)]\s*(\*\*|\^)|\d\d")
_ANGLE = "radian"


@dataclass(frozen=True)
class Conversion:
    """`value * factor + offset`, exactly; `integer`: values are int64 and stay so. From the unit `of`, into the unit `to`."""

    of: str
    to: str
    factor: Fraction
    offset: Fraction
    integer: bool = False

    def apply(self, values: pa.Array) -> tuple[pa.Array, Mask]:
        """Values in the new unit; null stays null. And which do not fit any more (they become null)."""
        missing = np.asarray(pc.is_null(values).to_numpy(zero_copy_only=False))
        if self.integer:
            return self._whole(values, missing)
        number = pc.fill_null(values, 0.0).to_numpy(zero_copy_only=False)
        d: float = math.lcm(self.factor.denominator, self.offset.denominator)
        p: float = self.factor.numerator * (d // self.factor.denominator)
        q: float = self.offset.numerator * (d // self.offset.denominator)
        if max(abs(p), abs(q), d) <= _EXACT:
            p, q, d = float(p), float(q), float(d)
        else:
            p, q, d = float(self.factor), float(self.offset), 1.0
        with np.errstate(over="ignore"):
            converted = (number * p + q) / d
        fits = np.isfinite(converted)
        return pa.array(converted, mask=missing | ~fits), ~fits & ~missing

    def _whole(self, values: pa.Array, missing: Mask) -> tuple[pa.Array, Mask]:
        number = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        p, q = int(self.factor), int(self.offset)
        low, high = sorted((Fraction(-(2**63) - q, p), Fraction(2**63 - 1 - q, p)))
        fits = (number >= max(-(2**63), -(-low.numerator // low.denominator))) & (
            number <= min(2**63 - 1, high.numerator // high.denominator)
        )
        converted = np.where(fits, number, 0) * p + q
        return pa.array(converted, mask=missing | ~fits), ~fits & ~missing


def conversions(
    dataset: Dataset, given: Mapping[str, str], row: Mapping[str, str], columns: Mapping[str, str]
) -> tuple[dict[str, Conversion], dict[str, str]]:
    """What must be converted, and the unit of each field that the file gives one for.

    `given`: field → unit, by the delivery; the dataset's own are below it. `row`: column → unit, of the file's units row;
    `columns`: column → field. Raises Refused for a unit that is unknown, not of the reading's kind, or contradicts another.
    """
    units = {**dataset.units, **given}
    for column, name in row.items():
        unit, field = name.strip().strip("[]()").strip(), columns.get(column, column)
        if not unit or unit == "-" or field not in dataset.values or not dataset.values[field].unit:
            continue
        if field not in units:
            units[field] = unit
        elif field not in given and not _same(units[field], unit, field):
            raise Refused(
                f"The units row says {unit} for {column!r}, and the dataset {dataset.dataset} says {units[field]}. "
                f"Nothing was loaded. Say which is right with `--unit {field}={unit}` or `--unit {field}={units[field]}`."
            )
    found = {}
    for field, unit in units.items():
        reading = dataset.values[field]
        if unit == reading.unit:
            continue
        if reading.type not in ("double", "int64"):
            raise Refused(f"{field} is {reading.type}, and only numbers have units. Nothing was loaded; leave out its unit.")
        if not reading.unit:
            raise Refused(
                f"The file's {field} is said to be in {unit}, but the dataset {dataset.dataset} gives {field} no unit. "
                "Nothing was loaded. Give the reading its unit in the dataset, or leave the file's out."
            )
        conversion = _conversion(unit, reading.unit, field, integer=reading.type == "int64")
        if conversion.factor != 1 or conversion.offset != 0:
            found[field] = conversion
    return found, units


@cache
def _registry() -> Any:
    import pint

    return pint.UnitRegistry(non_int_type=Fraction)


def _units(*names: str, field: str) -> tuple[Any, list[Any]]:
    registry = _registry()
    found = []
    for name in names:
        try:
            if len(name) > _LONGEST or not _FORM.fullmatch(name) or _POWERS.search(name):
                raise ValueError(name)  # before pint computes 9**9**9
            found.append(registry.Unit(name))
        except Exception as error:  # pint raises what its tokenizer raises
            raise Refused(
                f"{name[:_LONGEST]!r}, the unit of {field}, is no unit that is known. Nothing was loaded. "
                f"Name it as pint does with `--unit {field}=…`: degC, degF, bar, mm/s, m/s^2, percent."
            ) from error
    return registry, found


def _conversion(unit: str, own: str, field: str, *, integer: bool) -> Conversion:
    registry, (source, target) = _units(unit, own, field=field)

    def of(number: int) -> Fraction:
        return Fraction(registry.Quantity(Fraction(number), source).to(target).magnitude)

    other = (
        f"{field} is in {unit} in the file and in {own} in the dataset, and one cannot be converted into the other. "
        f"Nothing was loaded. Name the file's unit with `--unit {field}=…`, or map the column to another reading."
    )
    try:
        if _turns(registry, source) != _turns(registry, target):
            raise Refused(f"{other} (Turns and angles are no plain numbers: rpm is an angle a time, Hz and 1/min are not.)")
        offset, factor = of(0), of(1) - of(0)
        linear = of(1000) == factor * 1000 + offset and factor != 0
    except Refused:
        raise
    except Exception as error:  # dimensions differ, a logarithmic unit: pint has a class for each
        raise Refused(other) from error
    if not linear:
        raise Refused(other)
    if integer and (factor.denominator != 1 or offset.denominator != 1):
        raise Refused(
            f"{field} is a whole number in {own}, and the file's {unit} would not stay whole numbers. Nothing was loaded. "
            f"Declare {field} as double, or deliver it in {own}."
        )
    return Conversion(unit, own, factor, offset, integer)


def _same(one: str, other: str, field: str) -> bool:
    if one == other:
        return True
    registry, (first, second) = _units(one, other, field=field)
    return bool(registry.Unit(first) == registry.Unit(second))


def _turns(registry: Any, unit: Any) -> Any:
    """The exponent of the angle in a unit: pint takes a radian for the number 1."""
    return dict(registry.Quantity(1, unit).to_root_units().unit_items()).get(_ANGLE, 0)
