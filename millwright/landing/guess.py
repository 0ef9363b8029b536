"""What the columns of a file look like: names, times, numbers, units. Pure functions over a header and a sample of cells.

Belongs here: evidence and how sure it is. Does not: what is made of it (propose.py, draft.py); nothing here decides about a row.
A guess that the sample does not prove has more than one choice, and is a question to a person.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from tokenize import TokenError

from millwright.definitions.datasets import Numbers

SAMPLED = 1000
_PARSED = 200


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TIME_NAMES = frozenset(
    _words(
        """time timestamp ts t datetime date_time date event_time event_timestamp eventtime recorded_at measured_at created_at
        sample_time time_stamp utc unix epoch datum zeit zeitstempel uhrzeit datumzeit datum_uhrzeit horodatage fecha tijd"""
    )
)
KEY_NAMES = frozenset(
    _words(
        """id machine machine_id machineid asset asset_id assetid device device_id deviceid equipment equipment_id unit_id station
        station_id plant_id maschine maschinen_nr maschinennummer anlage anlagen_nr geraet gerat name serial serial_number"""
    )
)
WORD_NAMES = frozenset(
    _words("type sensor_type sensortype device_type machine_type asset_type typ sensortyp art kind event kategorie")
)
VALUE_NAMES = frozenset(_words("value val wert messwert reading measurement y valeur"))
_UNITS = {
    "°c": "degC", "c": "degC", "celsius": "degC", "degc": "degC", "°f": "degF", "f": "degF", "fahrenheit": "degF", "degf": "degF",
    "1/min": "rpm", "u/min": "rpm", "min-1": "rpm", "%": "percent",
}  # fmt: skip
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(?P<offset>Z|[+-]\d\d(:?\d\d)?)?")
_DATES = _words(
    "%d.%m.%Y %d/%m/%Y %m/%d/%Y %d-%m-%Y %m-%d-%Y %Y/%m/%d %Y.%m.%d %Y-%m-%d %Y%m%d %d.%m.%y %d/%m/%y %m/%d/%y %d-%b-%Y"
)
_TIMES = ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%I:%M:%S %p", "%I:%M %p", "%H%M%S")
_PATTERNS = [*_DATES, *(f"{date}{gap}{time}" for date, gap, time in product(_DATES, (" ", "T", ""), _TIMES))]
EPOCHS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
_FIRST, _LAST = 315_532_800, 4_102_444_800  # 1980 and 2100, in seconds since 1970
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MARKED = re.compile(r"[+-]?\d[\d.,]*")
_WITH_UNIT = re.compile(r"(?P<name>.*\S)\s*[\[(](?P<unit>[^\])]*)[\])]\s*")


@dataclass(frozen=True)
class Moments:
    """How a column's cells are times. `formats`: every one that fits all of them (`iso`, an epoch, `excel`, a pattern)."""

    formats: tuple[str, ...]
    naive: bool


def plain(name: str) -> str:
    """A column's name in lower case, without its unit, accents and signs: `Temp. [°C]` → `temp`."""
    found = _WITH_UNIT.fullmatch(name)
    text = unicodedata.normalize("NFKD", (found["name"] if found else name).casefold().replace("ß", "ss"))
    return re.sub(r"[^a-z0-9]+", "_", "".join(letter for letter in text if not unicodedata.combining(letter))).strip("_")


def unit_of(name: str) -> str:
    """The unit in brackets at the end of a column's name, as pint spells it where it is known; "" without one."""
    found = _WITH_UNIT.fullmatch(name)
    written = found["unit"].strip() if found else ""
    return _UNITS.get(written.casefold(), written)


def present(cells: Iterable[str], missing: Iterable[str] = ()) -> list[str]:
    """The cells that hold something, stripped."""
    nothing = {"", *missing}
    return [cell for cell in (each.strip() for each in cells) if cell not in nothing]


def moments(cells: Sequence[str], *, named: bool) -> Moments | None:
    """How all the cells are times, None where they are none. `named`: the column's name says that it is a time."""
    if not cells:
        return None
    if all(found := [_ISO.fullmatch(cell) for cell in cells]):
        return Moments(("iso",), any(match is not None and match["offset"] is None for match in found))
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        numbers = [float(cell) for cell in cells]
        if fits := [name for name, scale in EPOCHS.items() if all(_FIRST * scale <= n <= _LAST * scale for n in numbers)]:
            return Moments((fits[0],), False)
        if named and all(18_264 <= number <= 73_050 for number in numbers):
            return Moments(("excel",), True)
        if not named:
            return None  # 20260301 may be anything
    tried = cells[:_PARSED]
    if not all(6 <= len(cell) <= 40 for cell in tried):
        return None
    formats = [pattern for pattern in _PATTERNS if all(_parses(cell, pattern) for cell in tried)]
    return Moments(tuple(formats), True) if formats else None


def is_number(cells: Sequence[str]) -> bool:
    """Whether every cell is a number with a decimal point or none."""
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def may_be_number(cells: Sequence[str]) -> bool:
    """Whether every cell is a number under some decimal mark and mark between thousands."""
    return bool(cells) and all(_NUMBER.fullmatch(cell) or _MARKED.fullmatch(cell) for cell in cells)


def numbers(columns: Iterable[Sequence[str]]) -> list[Numbers]:
    """Every way to write numbers that fits all cells of these columns, the plain way alone when it does; two are a question."""
    marked = [cell for cells in columns for cell in cells if "," in cell and _MARKED.fullmatch(cell)]
    if not marked:
        return [Numbers()]
    every = [cell for cells in columns for cell in cells if _MARKED.fullmatch(cell)]
    ways = [Numbers(decimal=","), Numbers(decimal=",", thousands="."), Numbers(decimal=".", thousands=",")]
    fits = [way for way in ways if all(_written(cell, way) for cell in every)]
    return [way for way in fits if way != ways[1] or ways[0] not in fits]


def close(name: str, fields: Iterable[str]) -> str | None:
    """The field that a column's name must mean: equal but for case and signs, the beginning of one alone, or very near to one."""
    wanted, known = plain(name), {plain(field): field for field in fields}
    if wanted in known:
        return known[wanted]
    begun = [field for text, field in known.items() if len(wanted) >= 3 and (text.startswith(wanted) or wanted.startswith(text))]
    if len(begun) == 1:
        return begun[0]
    near = difflib.get_close_matches(wanted, known, n=2, cutoff=0.8)
    return known[near[0]] if near and not begun else None


def _parses(cell: str, pattern: str) -> bool:
    try:
        datetime.strptime(cell, pattern)
    except ValueError:
        return False
    return True


def _written(cell: str, way: Numbers) -> bool:
    decimal = re.escape(way.decimal)
    whole = rf"\d{{1,3}}({re.escape(way.thousands)}\d{{3}})+|\d+" if way.thousands else r"\d+"
    return re.fullmatch(rf"[+-]?({whole})({decimal}\d+)?", cell) is not None


def same_unit(one: str, other: str) -> bool:
    """Whether two spellings are one unit."""
    if _UNITS.get(one.casefold(), one) == _UNITS.get(other.casefold(), other):
        return True
    return converts(one, other) and abs(_in(one, other) - 1) < 1e-12 and abs(_in(one, other, 2) - 2) < 1e-12


def converts(one: str, other: str) -> bool:
    """Whether values in one unit can be told in the other. pint is loaded here: it takes a while."""
    import pint

    try:
        _in(one, other)
    except (pint.PintError, ValueError, TypeError, AttributeError, AssertionError, SyntaxError, TokenError):
        return False
    return bool(one and other)


def _in(one: str, other: str, value: float = 1.0) -> float:
    from pint import application_registry

    return float(application_registry.Quantity(value, one).to(other).magnitude)
