"""What to tell somebody whose timestamp or number could not be read.

Belongs here: the likely cause, by the form of the text, and the option that mends it. Does not: deciding whether a cell is good.
A hint is a regular expression (RE2) and what is said of a cell that it matches; the first that matches is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from millwright.definitions.datasets import Numbers

Hints = Sequence[tuple[str, str]]

_DAY_FIRST = "(1[3-9]|2[0-9]|3[01])"
_SHORT = "[0-9]{1,2}"
_YEARS = ((r"[0-9]{4}", "%Y"), (r"[0-9]{2}", "%y"))
_TIMES = (
    (r"[ T][0-9]{1,2}:[0-9]{2}:[0-9]{2}[.][0-9]+", "%H:%M:%S.%f"),
    (r"[ T][0-9]{1,2}:[0-9]{2}:[0-9]{2}", "%H:%M:%S"),
    (r"[ T][0-9]{1,2}:[0-9]{2}", "%H:%M"),
    ("", ""),
)
_SCALES = {"epoch_s": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
_EXCEL_EPOCH = 25569.0  # the serial day of 1970-01-01


def _dates() -> list[tuple[str, str]]:
    hints = []
    for mark in "/.-":
        for year, short in _YEARS:
            for expression, time in _TIMES:
                between = "T" if "T" in time else " "
                after = f"{between}{time}" if time else ""
                day, month = f"%d{mark}%m{mark}{short}{after}", f"%m{mark}%d{mark}{short}{after}"
                if after:
                    day, month = f"'{day}'", f"'{month}'"
                end = f"[{mark}]{year}{expression}$"
                hints.append((f"^{_DAY_FIRST}[{mark}]{_SHORT}{end}", f"is not ISO 8601: give --timestamp-format {day}"))
                hints.append((f"^{_SHORT}[{mark}]{_DAY_FIRST}{end}", f"is not ISO 8601: give --timestamp-format {month}"))
                either = f"may have the day or the month first: give --timestamp-format {day} or {month}"
                hints.append((f"^{_SHORT}[{mark}]{_SHORT}{end}", either))
    for expression, time in _TIMES:
        after = f" {time}" if time else ""
        quote = "'" if after else ""
        told = f"is not ISO 8601: give --timestamp-format {quote}%Y/%m/%d{after}{quote}"
        hints.append((f"^[0-9]{{4}}/{_SHORT}/{_SHORT}{expression}$", told))
    return hints


ISO: Hints = (
    (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]24:",
        "has the hour 24, which ISO 8601 has given up: write 00:00:00 of the next day",
    ),
    (
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:60",
        "is a leap second, which the warehouse's clock does not have: write second 59, or the next minute",
    ),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "has no time of day: if midnight is meant, give --timestamp-format %Y-%m-%d"),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", "is no date and time that exist"),
    *_dates(),
)
NOT_ISO = "is not an ISO 8601 timestamp such as 2026-03-01T12:00:00Z; if it has another form, give --timestamp-format"


def epochs(first: datetime, last: datetime) -> list[tuple[str, float, float]]:
    """(format, least, greatest): the numbers that are a moment between `first` and `last` in that format."""
    low, high = first.timestamp(), last.timestamp()
    found = [(name, low * scale, high * scale) for name, scale in _SCALES.items()]
    return [*found, ("excel", low / 86400 + _EXCEL_EPOCH, high / 86400 + _EXCEL_EPOCH)]


_MISSING = r"(?i)^(nan|null|nil|none|n/?a|#n/a|[-–—]+|\?+|\.|missing)$"
NO_TEXT = r"(?i)^(nan|null|n/a|#n/a|-|[+-]?inf(inity)?)$"
"""Words that stand for no value or no number in columns of numbers; of an undeclared reading nobody can tell."""
_DECLARE = "if it stands for no value, give it with --missing (or missing: in the dataset)"
NOT_FINITE: Hints = ((r"(?i)^[+-]?nan$", f"is not a number; {_DECLARE}"),)

_MARKED = "has marks between thousands; if they are meant: --thousands"
_MARKS: Hints = (
    (r"^[+-]?[0-9]{1,3}([.][0-9]{3})+,[0-9]+$", "has a decimal comma; if it is meant: --decimal , --thousands ."),
    (r"^[+-]?[0-9]{1,3}(,[0-9]{3})+[.][0-9]*$", f"{_MARKED} ,"),
    (r"^[+-]?[0-9]*,[0-9]+$", "has a comma; if it is the decimal mark: --decimal ,"),
    (r"^[+-]?[0-9]{1,3}([ \x{a0}\x{202f}\x{2009}][0-9]{3})+", f"{_MARKED} ' '"),
    (r"^[+-]?[0-9]{1,3}(['’][0-9]{3})+", f'{_MARKED} "\'"'),
    (r"^[+-]?[0-9]{1,3}(_[0-9]{3})+", f"{_MARKED} _"),
)
_NUMBER: Hints = (
    (_MISSING, f"is not a number; {_DECLARE}"),
    (r"(?i)^[+-]?0[xbo][0-9a-f]+$", "is not a decimal number"),
    (
        r"^[+-]?[0-9][0-9.,]*([eE][+-]?[0-9]+)?\s*[\p{L}°%µ$€£][\p{L}0-9°%µ/²³·^*()-]*$",
        "is more than a number: leave the unit out of the cells and name it with --unit {}=…",
    ),
    (r"^[−–].*[0-9]$", "has a dash that is not the minus sign -"),
    (
        r"^[+-]?[0-9]*[^\x00-\x7f0-9.,'_ \x{a0}\x{202f}\x{2009}’][\p{Nd}.,]*$",
        "has digits or marks other than 0 to 9 and the decimal mark",
    ),
)
_FRACTION = (
    r"^[+-]?[0-9]+([.][0-9]*)?([eE][+-]?[0-9]+)?$",
    "is not written as a whole number; if there are fractions, the type is double",
)


def number(field: str, declared: Numbers) -> Hints:
    """Hints for what is no number of `field`, where numbers are written as declared."""
    hints = [(expression, told.format(field)) for expression, told in _NUMBER]
    if declared == Numbers():
        return [*hints, *_MARKS]
    marks = f" and {declared.thousands!r} between thousands" if declared.thousands else ""
    told = f"is not a number as it is declared: {declared.decimal!r} for the fraction{marks}"
    return [*hints, (r"^[+-]?[0-9.,'’_\s\x{a0}\x{202f}\x{2009}]+$", told)]


def integer(field: str, declared: Numbers) -> Hints:
    """Hints for what is no whole number of `field`."""
    return [_FRACTION, *number(field, declared)] if declared == Numbers() else number(field, declared)
