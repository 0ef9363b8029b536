"""Which column of a delivery is which field of its dataset.

Belongs here: names: renames, constants, what is missing, unknown or given twice. Does not: values (rules.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict

from millwright.definitions import Dataset, Definitions, Entity
from millwright.definitions.datasets import Format, Layout, Numbers, Timestamps
from millwright.definitions.load import nearest
from millwright.landing.rows import Refused

EVENT = "event_timestamp"


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
    """Raise BadOptions for a field or a zone that does not exist."""
    fields = _fields(dataset, definitions.entities[dataset.entity])
    for field in delivery.constants:
        if field not in fields:
            raise BadOptions(
                f"The dataset {dataset.dataset} has no field {field!r}{nearest(field, fields)}, so it cannot be set."
            )
    if delivery.timezone is not None and delivery.timezone not in available_timezones():
        raise BadOptions(f"There is no time zone {delivery.timezone!r}{nearest(delivery.timezone, available_timezones())}.")


def settings_hash(dataset: Dataset, delivery: Delivery) -> str:
    """SHA-256 (hex) over mapping, rules and mode: what else but the bytes decides about what lands."""
    content = json.dumps([dataset.content_hash(), delivery.model_dump(mode="json", exclude_defaults=True)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Mapped:
    """Columns by field; a field may come from several JSON names, never from several CSV columns."""

    columns: dict[str, list[str]]
    constants: Mapping[str, str]
    new_readings: list[str]

    def name_of(self, field: str) -> str:
        """The column that a field came from, for messages."""
        return self.columns[field][0] if self.columns.get(field) else field


def map_columns(definitions: Definitions, dataset: Dataset, delivery: Delivery, names: Iterable[str], *, fixed: bool) -> Mapped:
    """Say for each of `names` which field it is. `fixed`: the names are a CSV's header, which is refused as a whole."""
    entity = definitions.entities[dataset.entity]
    fields = _fields(dataset, entity)
    rename = {**dataset.columns, **delivery.columns}
    columns: dict[str, list[str]] = {}
    new: list[str] = []
    for name in names:
        field = rename.get(name, name)
        if field not in fields:
            if dataset.unknown_columns == "ignore" and name not in delivery.columns:
                continue
            if dataset.unknown_columns == "refuse" and fixed:
                raise Refused(
                    f"The dataset {dataset.dataset} has no field for the column {name!r}{nearest(name, fields)}. {_MAP}"
                )
            new.append(field)
        columns.setdefault(field, []).append(name)
    if fixed:
        _check_header(dataset, entity, delivery, list(names), columns)
    constants = {**{k: v for k, v in dataset.constants.items() if k not in columns}, **delivery.constants}
    return Mapped(columns, constants, new)


_MAP = "Nothing was loaded. Name the column with `--map column=field`, or set a value for all rows with `--set field=value`."


def _fields(dataset: Dataset, entity: Entity) -> list[str]:
    return [EVENT, *filter(None, [dataset.word]), *entity.keys, *dataset.values]


def _check_header(
    dataset: Dataset, entity: Entity, delivery: Delivery, names: Sequence[str], columns: Mapping[str, list[str]]
) -> None:
    header = f"The columns are: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}."
    for name in delivery.columns:
        if name not in names:
            raise Refused(f"There is no column {name!r}{nearest(name, names)} to map. {header} Nothing was loaded.")
    for field, sources in columns.items():
        if len(sources) > 1:
            raise Refused(f"The columns {sources[0]!r} and {sources[1]!r} both mean {field}. {_MAP}")
        if field in delivery.constants:
            raise Refused(
                f"{field} is set to {delivery.constants[field]!r}, "
                f"but the column {sources[0]!r} has it. Nothing was loaded; drop one."
            )
    given = {*columns, *delivery.constants, *dataset.constants}
    for field in filter(None, (EVENT, *entity.keys, dataset.word)):
        if field not in given:
            raise Refused(f"No column is {field}. {header} {_MAP}")
    for field, reading in dataset.values.items():
        if reading.required and field not in given:
            raise Refused(f"No column is {field}, which the dataset {dataset.dataset} requires. {header} {_MAP}")
    if dataset.target != "events" and not [field for field in given if field not in (EVENT, dataset.word, *entity.keys)]:
        raise Refused(f"No column is a value. {header} {_MAP}")
