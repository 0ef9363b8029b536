"""Which column of a delivery is which field of its dataset.

Belongs here: names: renames, constants, what is missing, unknown or given twice. Does not: values (rules.py).
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict

from millwright.definitions import Dataset, Definitions, Entity
from millwright.definitions.datasets import Format, Layout, Numbers, Timestamps
from millwright.definitions.words import nearest
from millwright.landing.rows import Refused

EVENT = "event_timestamp"
_LONGEST_NAME = 63
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


class Delivery(BaseModel):
    """What one delivery says beyond its dataset, and before it.

    `columns`: column → field. `constants`: field → value for every row. `ignore`, `layout`, `format`, `timezone`, `timestamps`,
    `numbers`, `units`, `missing`: as a dataset has them. `correction`: values may replace what is there. `historical`: the rows
    were known at their event time. `repairs`: the batch whose quarantined rows these are, mended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    ignore: list[str] = []
    layout: Layout | None = None
    format: Format = Format()
    timezone: str | None = None
    timestamps: Timestamps = Timestamps()
    numbers: Numbers | None = None
    units: dict[str, str] = {}
    missing: list[str] = []
    correction: bool = False
    historical: bool = False
    repairs: int | None = None


class UnknownDataset(LookupError):
    """No definition file has this dataset."""


class BadOptions(ValueError):
    """A delivery's options contradict its dataset."""


def dataset_of(definitions: Definitions, name: str) -> Dataset:
    """The dataset, or UnknownDataset with the nearest name."""
    if name not in definitions.datasets:
        raise UnknownDataset(
            f"There is no dataset {name!r}{nearest(name, definitions.datasets)}. Nothing was received. "
            f"Datasets are files in feature_repo/datasets/: {', '.join(sorted(definitions.datasets)) or 'none yet'}."
        )
    return definitions.datasets[name]


def check_options(definitions: Definitions, dataset: Dataset, delivery: Delivery) -> None:
    """Raise BadOptions for a field, a unit's field or a zone that does not exist, for a column both mapped and ignored, and for a
    constant that no receipt may show."""
    fields = _fields(dataset, definitions.entities[dataset.entity])
    for field in delivery.constants:
        if field not in fields:
            raise BadOptions(
                f"The dataset {dataset.dataset} has no field {field!r}{nearest(field, fields)}, so it cannot be set."
            )
        if field in dataset.sensitive:
            raise BadOptions(
                f"{field} is sensitive in the dataset {dataset.dataset}, and receipts show the options of a delivery. "
                "Give its value in a column of the file."
            )
    for field in delivery.units:
        if field not in dataset.values:
            raise BadOptions(
                f"The dataset {dataset.dataset} has no value {field!r}{nearest(field, dataset.values)}, so it cannot have a unit."
            )
    if both := sorted(set(delivery.columns) & set(delivery.ignore)):
        raise BadOptions(f"The column {both[0]!r} is mapped and ignored at once. Drop one of the two options.")
    if delivery.timezone is not None and delivery.timezone not in available_timezones():
        raise BadOptions(f"There is no time zone {delivery.timezone!r}{nearest(delivery.timezone, available_timezones())}.")


def settings_hash(dataset: Dataset, delivery: Delivery) -> str:
    """SHA-256 (hex) over mapping, rules and mode: what else but the bytes decides about what lands."""
    content = json.dumps([dataset.content_hash(), delivery.model_dump(mode="json", exclude_defaults=True)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Mapped:
    """Columns by field; a field may come from several JSON names, never from several CSV columns.

    `ignored`: columns that are left out. `strange`: columns of a JSON object that may not land, and why.
    """

    columns: dict[str, list[str]]
    constants: Mapping[str, str]
    new_readings: list[str]
    ignored: list[str]
    strange: dict[str, tuple[str, str]]

    def name_of(self, field: str) -> str:
        """The column that a field came from, for messages."""
        return self.columns[field][0] if self.columns.get(field) else field


class Names:
    """What the names of one delivery mean: its columns, and in the long layout the readings that lines name.

    `fixed`: the columns are a CSV's header, which is refused as a whole; else each row has its own.
    """

    def __init__(self, definitions: Definitions, dataset: Dataset, delivery: Delivery, *, fixed: bool) -> None:
        self._entity = definitions.entities[dataset.entity]
        self._dataset, self._delivery, self._fixed = dataset, delivery, fixed
        self.layout = delivery.layout or dataset.layout
        self._fields = _fields(dataset, self._entity)
        self._rename = {**dataset.columns, **delivery.columns}
        self._ignore = {*dataset.ignore, *delivery.ignore} - set(delivery.columns)

    def field_of(self, name: str) -> str:
        """The field that a column, or a reading of the long layout, is renamed to."""
        return self._rename.get(name, name)

    def columns(self, names: Iterable[str]) -> Mapped:
        """Say for each column which field it is. Raises Refused for a header that cannot be mapped with certainty."""
        columns: dict[str, list[str]] = {}
        new: list[str] = []
        ignored: list[str] = []
        strange: dict[str, tuple[str, str]] = {}
        names = list(names)
        if self._fixed and self.layout is not None:
            self._check_layout(self.layout, names)
        for name in names:
            if self.layout is not None and name in (self.layout.reading, self.layout.value):
                continue
            field = self.field_of(name)
            if name in self._ignore:
                ignored.append(name)
                continue
            if field not in self._fields:
                if self._dataset.unknown_columns == "ignore" and name not in self._delivery.columns:
                    ignored.append(name)
                    continue
                if (problem := self._unknown(name, field, long=self.layout is not None)) is not None:
                    if self._fixed:
                        raise Refused(problem[1])
                    strange[name] = problem
                    continue
                if field not in new:
                    new.append(field)
            columns.setdefault(field, []).append(name)
        if self._fixed:
            self._check_header(names, columns)
        constants = {**{k: v for k, v in self._dataset.constants.items() if k not in columns}, **self._delivery.constants}
        return Mapped(columns, constants, new, ignored, strange)

    def reading(self, name: str) -> tuple[str | None, tuple[str, str] | None]:
        """Long layout: (the field of a reading's name, or None if it is ignored; code and message if it may not land)."""
        field = self.field_of(name)
        if name in self._ignore:
            return None, None
        if field in self._dataset.values:
            return field, None
        if field in self._fields:
            return field, ("bad_reading_name", f"{field} is no reading")
        if self._dataset.unknown_columns == "ignore" and name not in self._delivery.columns:
            return None, None
        if self._dataset.unknown_columns == "refuse":
            near = nearest(name, self._dataset.values)
            return field, (
                "unknown_reading",
                f"the dataset {self._dataset.dataset} has no such reading{near}; name it with --map",
            )
        problem = name_problem(field)
        return field, ("bad_reading_name", f"a reading's name {problem}") if problem else None

    def _unknown(self, name: str, field: str, *, long: bool) -> tuple[str, str] | None:
        """Why a column that is no field may not become a new reading: code and message."""
        if long:
            told = (
                f"The column {name!r} is neither a key nor the reading's name nor its value{nearest(name, self._fields)}. "
                f"Nothing was loaded. Leave it out with `--ignore {name}`, or name it with `--map column=field`."
            )
            return "unknown_field", told if self._fixed else "is no field of the dataset"
        if self._dataset.unknown_columns == "refuse" and name not in self._delivery.columns:
            told = (
                f"The dataset {self._dataset.dataset} has no field for the column {name!r}{nearest(name, self._fields)}. {_MAP}"
            )
            return "unknown_field", told if self._fixed else f"is no field of the dataset{nearest(name, self._fields)}"
        if (problem := name_problem(field)) is not None:
            told = f"The column {field[:_LONGEST_NAME]!r} would become a reading, but its name {problem}. {_MAP}"
            return "bad_reading_name", told if self._fixed else f"the name {problem}"
        like = [known for known in self._fields if known.casefold() == field.casefold()]
        if like and self._fixed and name not in self._delivery.columns:
            return "unknown_field", (
                f"The column {name!r} is the field {like[0]} but for small and capital letters. Nothing was loaded. "
                f"If it is that field: `--map {name}={like[0]}`; if it is a new reading: `--map {name}={name}`."
            )
        return None

    def _check_layout(self, layout: Layout, names: Sequence[str]) -> None:
        for name in (layout.reading, layout.value):
            if name not in names:
                raise Refused(
                    f"There is no column {name!r}{nearest(name, names)}, which the long layout names. {_header(names)} "
                    "Nothing was loaded. Name the two columns with `--long reading=value`."
                )

    def _check_header(self, names: Sequence[str], columns: Mapping[str, list[str]]) -> None:
        dataset, delivery, layout = self._dataset, self._delivery, self.layout
        header = _header(names)
        for name in [*(() if layout else delivery.columns), *(() if layout else delivery.ignore)]:
            if name not in names:
                what = "map" if name in delivery.columns else "ignore"
                raise Refused(f"There is no column {name!r}{nearest(name, names)} to {what}. {header} Nothing was loaded.")
        for field, sources in columns.items():
            if len(sources) > 1:
                raise Refused(f"The columns {sources[0]!r} and {sources[1]!r} both mean {field}. {_MAP}")
            if field in delivery.constants:
                raise Refused(
                    f"{field} is set to {delivery.constants[field]!r}, "
                    f"but the column {sources[0]!r} has it. Nothing was loaded; drop one."
                )
        given = {*columns, *delivery.constants, *dataset.constants}
        for field in filter(None, (EVENT, *self._entity.keys, dataset.word)):
            if field not in given:
                raise Refused(f"No column is {field}. {header} {_MAP}")
        if layout is not None:
            return
        for field, reading in dataset.values.items():
            if reading.required and field not in given:
                raise Refused(f"No column is {field}, which the dataset {dataset.dataset} requires. {header} {_MAP}")
        if dataset.target != "events" and not [f for f in given if f not in (EVENT, dataset.word, *self._entity.keys)]:
            raise Refused(f"No column is a value. {header} {_MAP}")


_MAP = "Nothing was loaded. Name the column with `--map column=field`, or set a value for all rows with `--set field=value`."


def map_columns(definitions: Definitions, dataset: Dataset, delivery: Delivery, names: Iterable[str], *, fixed: bool) -> Mapped:
    """Say for each of `names` which field it is. Raises Refused for a header that cannot be mapped with certainty."""
    return Names(definitions, dataset, delivery, fixed=fixed).columns(names)


def name_problem(name: str) -> str | None:
    """Why a name may not become a reading's, or None: at most 63 bytes, no control or invisible characters, no blank ends."""
    if not name.strip():
        return "is empty"
    if name != name.strip():
        return "begins or ends with a blank"
    if len(name.encode()) > _LONGEST_NAME:
        return f"is longer than {_LONGEST_NAME} bytes"
    if any(unicodedata.category(character) in _INVISIBLE for character in name):
        return "has a control character or one that cannot be seen"
    return None


def _header(names: Sequence[str]) -> str:
    return f"The columns are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."


def _fields(dataset: Dataset, entity: Entity) -> list[str]:
    return [EVENT, *filter(None, [dataset.word]), *entity.keys, *dataset.values]
