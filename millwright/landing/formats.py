"""How the event timestamps of each format are read: ISO 8601, epochs, Excel's serial days, patterns of strptime.

Belongs here: text → microseconds, of an instant or of a local clock. Does not: zones, bounds, errors (timestamps.py).

A reader takes text and the rows to read, and gives (instants, local times): microseconds since 1970, of UTC where the text says
its offset, of some clock where it does not; null where the text is none. Digits after the microsecond are cut, towards the
past. Excel keeps a day as a binary fraction: its times are rounded to the millisecond, which is what Excel shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import patterns
from millwright.landing.arrays import Mask, mask, only
from millwright.landing.casts import Casts

Read = Callable[[pa.Array, Mask], tuple[pa.Array, pa.Array | None]]

DIGITS = {"epoch_s": 6, "epoch_ms": 3, "epoch_us": 0, "epoch_ns": -3}
"""Decimal digits between an epoch's unit and the microsecond."""
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$"
_LOCAL = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
_ISO = _LOCAL + r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?$"
_LOOSE = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)[0-9]*"
    r" ?(Z|z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)?$"
)
_NUMBER = r"^(?P<sign>[+-]?)(?P<whole>[0-9]{1,19})(?:[.](?P<part>[0-9]*))?$"
_LAST_SECOND = 253_402_300_800  # 10000-01-01, beyond every bound
_MOST = 2**63 - 1
_DAY = 86_400_000
_EXCEL_EPOCH = 25_569  # the serial day of 1970-01-01
_FIRST_SERIAL = 61  # 1900-03-01: before it Excel counts a day that never was


def reader(casts: Casts, format: str, decimal: str) -> Read:
    """The reader of a format; `decimal` is the decimal mark of epochs and serial days."""
    if format == "iso":
        return lambda text, where: _iso(casts, text, where)
    if format == "excel":
        return lambda text, where: (pa.nulls(len(text), pa.int64()), _excel(_pointed(text, decimal), where))
    if format in DIGITS:
        return lambda text, where: (_epoch(_pointed(text, decimal), where, DIGITS[format]), None)
    pattern = patterns.compiled(format)
    return lambda text, where: _pattern(casts, pattern, text, where)


def _iso(casts: Casts, text: pa.Array, where: Mask) -> tuple[pa.Array, pa.Array | None]:
    fits = mask(pc.match_substring_regex(text, _ISO)) & where
    if (others := where & ~fits).any():
        # A blank before the offset, `UTC`, small letters, more digits: as certain, written otherwise.
        plain = pc.replace_substring_regex(text, _LOOSE, r"\1T\2\5")
        plain = pc.replace_substring(pc.replace_substring(plain, "UTC", "Z"), "z", "Z")
        text = pc.if_else(pa.array(others), plain, text)
        fits |= mask(pc.match_substring_regex(text, _ISO)) & others
    text = pc.replace_substring(text, ",", ".")
    aware = mask(pc.match_substring_regex(text, _OFFSET)) & fits
    naive = fits & ~aware
    return casts(text, aware, "instant"), casts(text, naive, "local") if naive.any() else None


def _pointed(text: pa.Array, decimal: str) -> pa.Array:
    return text if decimal == "." else pc.replace_substring(text, decimal, ".")


def _parts(text: pa.Array, where: Mask) -> tuple[pa.Array, Mask, pa.Array, pa.Array]:
    """Which texts are numbers, which negative, their whole part (int64; the greatest where it is more), their decimal digits."""
    parts = pc.extract_regex(only(text, where), _NUMBER)
    whole = pc.struct_field(parts, "whole")
    fits = mask(pc.or_(pc.less_equal(pc.binary_length(whole), 18), pc.less_equal(whole, str(_MOST))))
    number = pc.coalesce(only(whole, fits).cast(pa.int64()), pc.if_else(pc.is_valid(whole), _MOST, None))
    return pc.is_valid(parts), mask(pc.equal(pc.struct_field(parts, "sign"), "-")), number, pc.struct_field(parts, "part")


def _epoch(text: pa.Array, where: Mask, digits: int) -> pa.Array:
    valid, negative, whole, part = _parts(text, where)
    value = pc.fill_null(whole, 0).to_numpy(zero_copy_only=False)
    scale = 10 ** abs(digits)
    rest = np.zeros(len(value), dtype=np.bool_)
    if digits >= 0:
        value = np.minimum(value, _LAST_SECOND * 10 ** (6 - digits)) * scale
        if digits:
            cut = pc.utf8_rpad(pc.utf8_slice_codeunits(pc.fill_null(part, ""), 0, digits), digits, "0")
            value = value + cut.cast(pa.int64()).to_numpy(zero_copy_only=False)
        rest = mask(pc.match_substring_regex(pc.utf8_slice_codeunits(pc.fill_null(part, ""), digits), "[1-9]"))
    else:
        rest = (value % scale != 0) | mask(pc.match_substring_regex(pc.fill_null(part, ""), "[1-9]"))
        value = value // scale
    value = np.where(negative, -value - rest, value)
    return pc.if_else(valid, pa.array(value), None)


def _excel(text: pa.Array, where: Mask) -> pa.Array:
    valid, negative, whole, part = _parts(text, where)
    days = np.minimum(pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), _LAST_SECOND // 86_400)
    fraction = pc.binary_join_element_wise("0.", pc.utf8_slice_codeunits(pc.fill_null(part, "0"), 0, 18), "0", "")
    millis = np.rint(fraction.cast(pa.float64()).to_numpy(zero_copy_only=False) * _DAY).astype(np.int64)
    certain = mask(valid) & ~negative & (days >= _FIRST_SERIAL)
    return pc.if_else(pa.array(certain), pa.array(((days - _EXCEL_EPOCH) * _DAY + millis) * 1000), None)


def _pattern(casts: Casts, pattern: patterns.Pattern, text: pa.Array, where: Mask) -> tuple[pa.Array, pa.Array | None]:
    """The parts that the pattern finds, put together as ISO 8601 and cast as that."""
    parts = pc.extract_regex(only(text, where), pattern.expression)

    def part(name: str) -> pa.Array:
        return pc.struct_field(parts, name)

    def two(name: str) -> pa.Array:
        return pc.utf8_lpad(part(name), 2, "0") if name in pattern.groups else "00"

    if "year" in pattern.groups:
        year = part("year")
    else:
        short = part("short_year")
        year = pc.binary_join_element_wise(pc.if_else(pc.greater_equal(short, "69"), "19", "20"), short, "")
    month = two("month")
    if "month_name" in pattern.groups:
        index = pc.index_in(pc.utf8_slice_codeunits(pc.utf8_lower(part("month_name")), 0, 3), pa.array(patterns.MONTHS))
        month = pc.utf8_lpad(pc.cast(pc.add(index, 1), pa.string()), 2, "0")
    hour = two("hour")
    if "half_hour" in pattern.groups:
        number = part("half_hour").cast(pa.int64())
        twelve = pc.if_else(pc.equal(number, 12), 0, number)
        afternoon = pc.if_else(pc.equal(pc.utf8_lower(part("half")), "pm"), 12, 0)
        hour = pc.utf8_lpad(pc.cast(pc.add(twelve, afternoon), pa.string()), 2, "0")
    pieces = [year, "-", month, "-", two("day"), " ", hour, ":", two("minute"), ":", two("second")]
    if "fraction" in pattern.groups:
        pieces += [".", pc.utf8_slice_codeunits(part("fraction"), 0, 6)]
    if pattern.aware:
        pieces.append(part("offset"))
    composed = pc.binary_join_element_wise(*pieces, "")
    fits = mask(pc.is_valid(parts))
    if pattern.aware:
        return casts(composed, fits, "instant"), None
    return pa.nulls(len(text), pa.int64()), casts(composed, fits, "local")
