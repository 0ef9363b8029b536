"""The options of a delivery as a person writes them: on the command line, and as query parameters of the API.

Belongs here: names, one line of help each, text ⇄ Delivery. Does not: what an option does (mapping.py, csv.py, rules.py).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Literal

from pydantic import ValidationError

from millwright.definitions.words import nearest
from millwright.landing.mapping import BadOptions, Delivery

_MARKS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|", "none": ""}
_SPELLED = {"\t": "tab", " ": "space", "": "none"}
_TRUE, _FALSE = ("true", "1", "yes", ""), ("false", "0", "no")


@dataclass(frozen=True)
class Option:
    """One option. `field`: where its value goes in a Delivery. `kind`: how often it may be given and what its text means."""

    name: str
    field: str
    kind: Literal["text", "mark", "number", "flag", "list", "many", "pairs", "pair"]
    metavar: str
    help: str

    @property
    def repeatable(self) -> bool:
        """Whether it may be given more than once."""
        return self.kind in ("many", "pairs")


OPTIONS = (
    Option("map", "columns", "pairs", "column=field", "What a column means; repeatable."),
    Option("set", "constants", "pairs", "field=value", "A field for all rows; repeatable."),
    Option("ignore", "ignore", "many", "column", "A column to leave out; repeatable."),
    Option("long", "layout", "pair", "reading=value", "A long file: the column of the reading's name, the column of its value."),
    Option("timezone", "timezone", "text", "ZONE", "Zone of timestamps that have no offset, such as Europe/Berlin."),
    Option(
        "timestamp-format", "timestamps.format", "text", "FORMAT", "iso, epoch_s, epoch_ms, epoch_us, epoch_ns, excel, %d.%m.%Y."
    ),
    Option("ambiguous", "timestamps.ambiguous", "text", "earliest|latest", "A local time that the clocks show twice."),
    Option("nonexistent", "timestamps.nonexistent", "text", "earliest|latest", "A local time that the clocks leave out."),
    Option("decimal", "numbers.decimal", "mark", ",", "The decimal mark."),
    Option("thousands", "numbers.thousands", "mark", ".", "The mark between thousands."),
    Option("unit", "units", "pairs", "field=unit", "The unit of the file's values; repeatable."),
    Option("missing", "missing", "many", "word", "A word that means no value; repeatable."),
    Option("encoding", "format.encoding", "text", "NAME", "Encoding, such as utf-8 or windows-1252."),
    Option("delimiter", "format.delimiter", "mark", "MARK", "What separates cells; tab and space by name."),
    Option("quote", "format.quote", "mark", "MARK", "What quotes cells; none: nothing does."),
    Option("escape", "format.escape", "text", "double|backslash", "How a quote inside quotes is written."),
    Option("header", "format.header", "list", "a,b,c", "Names of the columns of a file that has no header."),
    Option("skip-lines", "format.skip_lines", "number", "N", "Lines before the header."),
    Option("comment", "format.comment", "text", "MARK", "Lines that begin with it are left out."),
    Option("units-row", "format.units_row", "flag", "", "The line after the header holds units."),
    Option("footer", "format.footer", "many", "TEXT", "Lines that begin with it end the table; repeatable."),
    Option("correction", "correction", "flag", "", "Values may replace what is there; what they replace is kept."),
    Option("historical", "historical", "flag", "", "The rows were known at their event time."),
    Option("repairs", "repairs", "number", "BATCH", "The batch whose quarantined rows these are, mended."),
)
_BY_NAME = {option.name: option for option in OPTIONS}


def delivery(given: Mapping[str, Sequence[str]]) -> Delivery:
    """The Delivery that these options mean: option name (`skip-lines` or `skip_lines`) → its texts, as often as it was given.

    Raises BadOptions, naming the option, for an unknown name, one given twice, and text that does not fit.
    """
    content: dict[str, Any] = {}
    for written, texts in given.items():
        option = _BY_NAME.get(written.replace("_", "-"))
        if option is None:
            raise BadOptions(f"There is no option {written!r}{nearest(written, _BY_NAME)}. Nothing was received.")
        if len(texts) > 1 and not option.repeatable:
            raise BadOptions(f"--{option.name} is given {len(texts)} times; once is enough. Nothing was received.")
        if texts:
            group, _, leaf = option.field.rpartition(".")
            (content.setdefault(group, {}) if group else content)[leaf] = _READ[option.kind](option, texts)
    try:
        return Delivery.model_validate(content)
    except ValidationError as error:
        raise BadOptions("; ".join(_sentence(problem) for problem in error.errors()) + ". Nothing was received.") from error


def arguments(wanted: Delivery) -> list[str]:
    """The words of a command line that give this delivery; `delivery` reads them back."""
    content = wanted.model_dump(mode="json", exclude_defaults=True)
    words: list[str] = []
    for option in OPTIONS:
        value: Any = content
        for part in option.field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None or value is False:
            continue
        if option.kind == "flag":
            words.append(f"--{option.name}")
        elif option.kind == "pairs":
            words += [word for left, right in value.items() for word in (f"--{option.name}", f"{left}={right}")]
        elif option.kind == "many":
            words += [word for each in value for word in (f"--{option.name}", each)]
        elif option.kind == "pair":
            words += [f"--{option.name}", f"{value['reading']}={value['value']}"]
        elif option.kind == "list":
            words += [f"--{option.name}", _joined(value)]
        else:
            words += [f"--{option.name}", _SPELLED.get(value, str(value)) if option.kind == "mark" else str(value)]
    return words


def _pair(option: Option, text: str) -> tuple[str, str]:
    # A column's name may hold "=", a field's cannot.
    left, mark, right = text.rpartition("=") if option.name == "map" else text.partition("=")
    if not mark or not left or not right:
        raise BadOptions(f"--{option.name} {text!r}: write two names with = between them, such as {option.metavar}")
    return left, right


def _pairs(option: Option, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for left, right in (_pair(option, text) for text in texts):
        if left in pairs:
            raise BadOptions(f"--{option.name}: {left} is given twice")
        pairs[left] = right
    return pairs


def _layout(option: Option, texts: Sequence[str]) -> dict[str, str]:
    reading, value = _pair(option, texts[0])
    return {"reading": reading, "value": value}


def _number(option: Option, texts: Sequence[str]) -> int:
    if not (texts[0].isascii() and texts[0].isdigit()) or len(texts[0]) > 18:
        raise BadOptions(f"--{option.name} needs a whole number, got {texts[0][:40]!r}")
    return int(texts[0])


def _flag(option: Option, texts: Sequence[str]) -> bool:
    if texts[0].lower() not in (*_TRUE, *_FALSE):
        raise BadOptions(f"{option.name} is true or false, got {texts[0][:40]!r}")
    return texts[0].lower() in _TRUE


_READ: dict[str, Callable[[Option, Sequence[str]], Any]] = {
    "text": lambda _, texts: texts[0],
    "mark": lambda _, texts: _MARKS.get(texts[0].lower(), texts[0]),
    "number": _number,
    "flag": _flag,
    "list": lambda _, texts: next(csv.reader(StringIO(texts[0], newline="")), []),
    "many": lambda _, texts: list(texts),
    "pairs": _pairs,
    "pair": _layout,
}


def _joined(names: Sequence[str]) -> str:
    line = StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(names)
    return line.getvalue()[:-2]


def _sentence(problem: Any) -> str:
    where = [str(part) for part in problem["loc"]]
    fits = [option.name for option in OPTIONS if option.field.split(".") == where[: len(option.field.split("."))]]
    within = [option.name for option in OPTIONS if where and option.field.split(".")[0] == where[0]]
    names = " and ".join(f"--{name}" for name in fits or within)
    return f"{names or '.'.join(where)}: {problem['msg'].removeprefix('Value error, ')}"
