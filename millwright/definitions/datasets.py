"""Models of a dataset: what a delivery looks like, what a good row is, where it goes.

Belongs here: what a dataset's file may say. Does not: what files must agree on (load.py), reading cells (landing/).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from millwright.definitions import patterns
from millwright.definitions.base import Definition, Name, ReadingType

Target = Literal["measurements", "events", "feature_set"]
WORDS: dict[Target, str] = {"measurements": "sensor_type", "events": "kind", "feature_set": ""}
"""The field that names a row beside its entity, by target."""
RELATIONS: dict[Target, str] = {"measurements": "measurements", "events": "events", "feature_set": "feature_sets"}
EPOCHS = ("epoch_s", "epoch_ms", "epoch_us", "epoch_ns")


def _word(value: object) -> object:
    """A word as YAML may have read it: of what is no text only a whole number has one spelling."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        raise ValueError(f"YAML reads this as {value}, and its spelling is lost: put the word into quotes")
    return str(value) if isinstance(value, int) else value


_Word = Annotated[str, BeforeValidator(_word)]


class Reading(Definition):
    """One named value of a dataset and what a good one is.

    `min`, `max`, `allowed`, `pattern` (whole text, RE2) hold for each value, in the reading's own unit. `unique`: no value occurs
    twice in a delivery. `counter`: within a delivery the value of a series never falls with event time. `max_step`: a greater
    difference between neighbours in time of a series is told as a warning; the row lands.
    """

    type: ReadingType = "double"
    unit: str = ""
    required: bool = False
    min: float | None = None
    max: float | None = None
    allowed: list[_Word] = Field(default=[])
    pattern: str | None = None
    unique: bool = False
    counter: bool = False
    max_step: float | None = Field(default=None, gt=0)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            import pyarrow.compute as pc

            try:
                pc.match_substring_regex("", f"^(?:{pattern})$")
            except ValueError as error:
                raise ValueError(f"not a regular expression of RE2: {str(error).partition(': ')[2]}") from error
        return pattern

    @model_validator(mode="after")
    def _fits_type(self) -> Self:
        number = self.type in ("double", "int64")
        for rule in ("min", "max", "max_step"):
            if getattr(self, rule) is not None and not number:
                raise ValueError(f"{rule} needs a number, and the type is {self.type}")
        if self.counter and not number:
            raise ValueError(f"counter needs a number, and the type is {self.type}")
        if self.allowed and self.type == "bool":
            raise ValueError("allowed needs a number or text, and the type is bool")
        for word in self.allowed if number else ():
            try:
                int(word) if self.type == "int64" else float(word)
            except ValueError as error:
                raise ValueError(f"{word!r} is allowed, and is no {self.type}") from error
        if self.pattern is not None and self.type != "string":
            raise ValueError(f"pattern needs text, and the type is {self.type}")
        return self


class Format(BaseModel):
    """How a file is written; what is unset is found out, and pinned in the receipt.

    `delimiter` is one character; with a space after it (`, `), spaces after it are no part of a cell. `quote`: "" for none.
    `header` gives the names of a file that has none. `skip_lines`: lines before the header. `comment`: lines that begin with it
    are left out. `units_row`: the line after the header holds units. `footer`: lines that begin with one of these end the table.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: str | None = None
    delimiter: Annotated[str, StringConstraints(pattern=r"^(?s:.) ?$")] | None = None
    quote: Literal['"', "'", ""] | None = None
    escape: Literal["double", "backslash"] | None = None
    header: list[str] | None = None
    skip_lines: int | None = Field(default=None, ge=0)
    comment: Annotated[str, StringConstraints(min_length=1, max_length=8)] | None = None
    units_row: bool | None = None
    footer: list[Annotated[str, StringConstraints(min_length=1)]] | None = None

    def over(self, other: Format) -> Format:
        """This where it says something, else the other."""
        return Format.model_validate({**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class Timestamps(BaseModel):
    """How event timestamps are written.

    `format`: `iso` (ISO 8601), `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, `excel` (days since 1899-12-30), or a pattern of
    strptime such as `%d.%m.%Y %H:%M:%S`. `ambiguous` and `nonexistent` say what a local time means that a change of the clocks
    gives twice or leaves out (`nonexistent`: the last instant before the gap, or the first after it).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str | None = None
    ambiguous: Literal["error", "earliest", "latest"] | None = None
    nonexistent: Literal["error", "earliest", "latest"] | None = None

    @field_validator("format")
    @classmethod
    def _known(cls, format: str | None) -> str | None:
        if format is not None and "%" not in format and format not in ("iso", *EPOCHS, "excel"):
            raise ValueError(f"a format is iso, {', '.join(EPOCHS)}, excel or a pattern such as %d.%m.%Y %H:%M, got {format!r}")
        if format is not None and "%" in format:
            patterns.compiled(format)
        return format

    def over(self, other: Timestamps) -> Timestamps:
        """This where it says something, else the other."""
        return Timestamps.model_validate({**other.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})


class Numbers(BaseModel):
    """How numbers are written: the decimal mark and the mark between thousands (none by default)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "_"] = ""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands cannot be the same mark")
        return self


class Layout(BaseModel):
    """A long file: one value a line, its reading's name in the column `reading`, the value in the column `value`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reading: str
    value: str


class Dataset(Definition):
    """The contract of one kind of delivery.

    `columns` renames: CSV column (or JSON field) → field. A field is `event_timestamp`, the target's word (`sensor_type` of a
    measurement, `kind` of an event), a join key or a value. `constants` gives fields that the file does not have. A column that
    is no field becomes a new reading (`unknown_columns: land`), is refused, or ignored; `ignore` names columns to leave out.
    `timezone` is the zone of timestamps that have no offset; without it such timestamps are errors. `units`: field → unit of the
    file's values, converted to the reading's own. `missing`: words that mean "no value", beside the empty cell; `yes` and `no`:
    words that mean true and false, beside these. `sensitive`: fields whose values no log, receipt or metadata may show.
    """

    dataset: Name
    target: Target = "measurements"
    entity: Name
    sensor_types: list[Name] = Field(default=[], description="Allowed sensor types; empty: any name.")
    kinds: list[Name] = Field(default=[], description="Allowed kinds of event; empty: any name.")
    columns: dict[str, str] = Field(default={})
    constants: dict[Name, str] = Field(default={})
    ignore: list[str] = Field(default=[])
    layout: Layout | None = None
    format: Format = Format()
    timezone: str | None = None
    timestamps: Timestamps = Timestamps()
    numbers: Numbers = Numbers()
    units: dict[str, str] = Field(default={})
    missing: list[_Word] = Field(default=[])
    yes: list[_Word] = Field(default=[])
    no: list[_Word] = Field(default=[])
    unknown_columns: Literal["land", "refuse", "ignore"] = "land"
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    max_bad_fraction: float | None = Field(default=None, ge=0, le=1)
    sensitive: list[str] = Field(default=[])
    readings: dict[Name, Reading] = Field(default={}, description="Values of a measurement.")
    attributes: dict[Name, Reading] = Field(default={}, description="Values of an event.")
    features: dict[Name, Reading] = Field(default={}, description="Values of a feature set.")

    @property
    def word(self) -> str:
        """The field that names a row beside its entity: sensor_type, kind, or nothing."""
        return WORDS[self.target]

    @property
    def relation(self) -> str:
        """The warehouse's name for the rows of the target: measurements, events or feature_sets."""
        return RELATIONS[self.target]

    @property
    def values(self) -> dict[str, Reading]:
        """The declared values, under the name that the target gives them."""
        return {"measurements": self.readings, "events": self.attributes, "feature_set": self.features}[self.target]

    @model_validator(mode="after")
    def _fits_target(self) -> Self:
        belongs = {"readings": "measurements", "sensor_types": "measurements", "attributes": "events", "kinds": "events"}
        for field, target in {**belongs, "features": "feature_set"}.items():
            if getattr(self, field) and target != self.target:
                raise ValueError(f"{field} belong to the target {target}, and this is {self.target}")
        if self.target == "feature_set" and not self.features:
            raise ValueError("a feature set needs features")
        true, false = ({word.lower() for word in words} for words in (["true", *self.yes], ["false", *self.no]))
        if both := sorted(true & false):
            raise ValueError(f"{', '.join(both)} cannot mean both true and false")
        if shown := sorted(set(self.sensitive) & set(self.constants)):
            raise ValueError(f"{', '.join(shown)} cannot be sensitive and a constant, which every receipt shows")
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise ValueError("not_before must lie before not_after")
        return self
