"""Drafts a dataset, its entity and a feature view for a file that no dataset describes yet.

Belongs here: a sample → the text of definition files, to be reviewed. Does not: writing, applying (registry/proposals.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from millwright.definitions import Dataset, Definitions, Entity, Reading
from millwright.definitions.edit import definition
from millwright.definitions.models import RESERVED
from millwright.landing import guess
from millwright.landing.batches import Question
from millwright.landing.guess import KEY_NAMES, TIME_NAMES, WORD_NAMES
from millwright.landing.mapping import EVENT, BadOptions, Delivery, name_problem
from millwright.landing.propose import Examined, examine
from millwright.landing.sample import Sample

_LONGEST = 40
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FEATURED = 20
_COUNTED = ("count", "counter", "cycles", "total", "number", "nr", "zaehler")
_MODE = {"correction", "historical", "repairs"}
_HINTS = {
    "timezone": "timezone: Europe/Berlin",
    "timestamps": "timestamps: {format: '…'}",
    "numbers": "numbers: {decimal: ','}",
    EVENT: "columns: {column: event_timestamp}",
}


def files_of(name: str, entity: str) -> tuple[str, str, str]:
    """Where the draft's dataset, feature view and (if it is new) entity are written, below the feature repository."""
    return f"datasets/{name}.yaml", f"feature_views/{name[:33]}_vitals_v1.yaml", f"entities/{entity}.yaml"


def draft(
    definitions: Definitions, name: str, seen: Sample, delivery: Delivery, *, file_name: str, accept: str
) -> dict[str, str]:
    """The files of a dataset `name`: path below the feature repository → text. `accept`: the command that accepts them.

    What the sample does not prove stands in the dataset's file as a question. Raises BadOptions for a name that cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise BadOptions(
            f"{name!r} cannot name a dataset: it needs a small letter, then small letters, digits and _, at most 40 in all. "
            "Nothing was received."
        )
    entity, key_columns, made = _entity(definitions, name, seen, delivery)
    known = definitions.model_copy(update={"entities": {**definitions.entities, entity.entity: entity}})
    columns = {**{column: key for column, key in key_columns.items() if column != key}, **delivery.columns}
    word = _word(seen, {*key_columns, *delivery.columns, *delivery.ignore})
    if word and word != "sensor_type":
        columns[word] = "sensor_type"
    constants = {**({} if word or "sensor_type" in delivery.columns.values() else {"sensor_type": name}), **delivery.constants}
    base = Dataset(dataset=name, entity=entity.entity, columns=columns, constants=constants, ignore=delivery.ignore)
    first = examine(known, base, delivery, seen)
    taken = {*key_columns, *delivery.ignore, *([word] if word else [])}
    times = [column for column in seen.header if {**columns, **first.options.columns}.get(column, column) == EVENT]
    readings, renamed, ignored, remarks = _readings(known, entity, seen, {*taken, *times}, delivery, first)
    said = first.options.model_dump(mode="json", exclude_defaults=True, exclude=_MODE)
    event = {column: field for column, field in first.options.columns.items() if field == EVENT}
    whole = base.model_copy(
        update={"columns": {**columns, **event, **renamed}, "readings": readings, "ignore": [*delivery.ignore, *ignored]}
    )
    final = examine(known, whole, Delivery.model_validate({**said, "columns": {}, "constants": {}}), seen)
    said = final.options.model_dump(mode="json", exclude_defaults=True, exclude={"columns", "constants", "ignore"} | _MODE)
    text = _dataset_text(whole, said, remarks, final.questions, file_name, accept)
    dataset_file, view_file, entity_file = files_of(name, entity.entity)
    files = {dataset_file: text}
    if view := _view_text(name, entity, whole):
        files[view_file] = view
    if made:
        files[entity_file] = _entity_text(entity, file_name)
    return files


def _entity(definitions: Definitions, name: str, seen: Sample, delivery: Delivery) -> tuple[Entity, dict[str, str], bool]:
    """(the entity, column → join key, whether it is new): one whose keys the file has, else one made from a column's name."""
    columns = [column for column in seen.header if column not in delivery.columns and column not in delivery.ignore]
    given = {**{field: column for column, field in delivery.columns.items()}, **dict.fromkeys(delivery.constants, "")}
    found: list[tuple[int, Entity, dict[str, str]]] = []
    for entity in definitions.entities.values():
        matched = {key: column for key in entity.keys if (column := _key_column(key, entity.keys, columns, given)) is not None}
        if len(matched) == len(entity.keys):
            exact = sum(guess.plain(column) == key or key in given for key, column in matched.items())
            found.append((exact, entity, {column: key for key, column in matched.items() if column}))
    if found:
        _, entity, matched_columns = max(found, key=lambda each: each[0])
        return entity, matched_columns, False
    own = [column for column in columns if _names_a_thing(column, seen)]
    if not own and len(definitions.entities) == 1:
        return next(iter(definitions.entities.values())), {}, False
    key = _slug(own[0]) if own else f"{name[:37]}_id"
    if key in {"id", *RESERVED}:
        key = f"{name[:37]}_id"
    stem = key.removesuffix("_id").removesuffix("_nr") or name
    entity_name = stem if stem not in definitions.entities else name
    return Entity(entity=entity_name, join_keys={key: "string"}), {own[0]: key} if own else {}, True


def _key_column(key: str, keys: Sequence[str], columns: Sequence[str], given: Mapping[str, str]) -> str | None:
    if key in given:
        return given[key]
    exact = [column for column in columns if guess.plain(column) == guess.plain(key)]
    near = [column for column in columns if len(keys) == 1 and guess.plain(column) in KEY_NAMES]
    return next(iter([*exact, *near]), None)


def _names_a_thing(column: str, seen: Sample) -> bool:
    plain = guess.plain(column)
    cells = seen.columns.get(column, [])
    named = plain in KEY_NAMES or plain.endswith(("_id", "_nr"))
    return named and bool(cells) and guess.moments(cells, named=plain in TIME_NAMES) is None


def _word(seen: Sample, taken: set[str]) -> str | None:
    """The column that names the sensor type of each row, when it holds names."""
    for column in seen.header:
        cells = seen.columns.get(column, [])
        named = column not in taken and guess.plain(column) in WORD_NAMES
        if named and cells and all(_NAME.fullmatch(cell) for cell in cells):
            return column
    return None


def _readings(
    definitions: Definitions, entity: Entity, seen: Sample, taken: set[str], delivery: Delivery, first: Examined
) -> tuple[dict[str, Reading], dict[str, str], list[str], list[str]]:
    """(declared readings, column → reading where the names differ, ignored columns, remarks)."""
    layout = delivery.layout
    if layout is not None:
        names = dict.fromkeys(seen.columns.get(layout.reading, []))
        return {cell: Reading() for cell in names if _NAME.fullmatch(cell)}, {}, [], []
    readings: dict[str, Reading] = {}
    renamed: dict[str, str] = {}
    ignored: list[str] = []
    remarks: list[str] = []
    fixed = {"event_timestamp", "sensor_type", *entity.keys}
    for column in seen.header:
        cells = seen.columns.get(column, [])
        field = delivery.columns.get(column)
        if column in taken or field in fixed:
            continue
        if not cells:
            remarks.append(f"The column {column!r} is empty in the first rows: it is not declared.")
            if name_problem(column) is not None:
                ignored.append(column)
                remarks.append(f"{column!r} is ignored, because no reading can have such a name.")
            continue
        reading = field or _free_name(_slug(column), {*readings, *fixed, *RESERVED})
        declared = definitions.reading(entity.entity, reading)
        unit = seen.units.get(column) or guess.unit_of(column)
        made = Reading(type=_type(reading, cells), unit=unit)
        if declared is not None:
            made = Reading(type=declared.type, unit=declared.unit)
            remarks.append(f"{reading} is declared by another dataset of {entity.entity}: type and unit are its.")
        readings[reading] = made
        if reading != column:
            renamed[column] = reading
    return readings, renamed, ignored, remarks


def _type(name: str, cells: Sequence[str]) -> Any:
    """int64 only for what counts or does not fit a double: a whole number today may have digits after the point tomorrow."""
    if {cell.lower() for cell in cells} <= {"true", "false"}:
        return "bool"
    if not guess.may_be_number(cells):
        return "string"
    whole = all(re.fullmatch(r"[+-]?\d+", cell) for cell in cells)
    counts = any(part in _COUNTED for part in name.split("_")) or any(abs(int(cell)) > 2**53 for cell in cells if whole)
    return "int64" if whole and counts else "double"


def _dataset_text(
    dataset: Dataset, said: dict[str, Any], remarks: Sequence[str], questions: Sequence[Question], file_name: str, accept: str
) -> str:
    head = "Look at every line: names, types and units, what is required, what a good value is."
    comments = [f"Proposed from {file_name}. {head}", *remarks]
    for question in questions:
        comments += ["", f"QUESTION {question.about}: {question.text}", f"  Say it here ({_hint(question)}), or when accepting:"]
        comments += [f"  {answer}" for answer in question.answers]
    comments += ["", f"Then: {accept}"]
    readings = {
        name: {"type": reading.type, **reading.model_dump(mode="json", exclude_defaults=True)}
        for name, reading in dataset.readings.items()
    }
    content = {
        "dataset": dataset.dataset,
        "description": f"Proposed from {file_name}.",
        "target": "measurements",
        "entity": dataset.entity,
        **dataset.model_dump(mode="json", exclude_defaults=True, exclude={"readings", "dataset", "entity"}),
        **said,
        "readings": readings,
    }
    return definition(content, comments, blocks=["readings"])


def _hint(question: Question) -> str:
    return _HINTS.get(question.about, f"constants: {{{question.about}: …}}")


def _view_text(name: str, entity: Entity, dataset: Dataset) -> str | None:
    numeric = [reading for reading, each in dataset.readings.items() if each.type in ("double", "int64")]
    wanted = [(reading, aggregate) for reading in numeric[:_FEATURED] for aggregate in ("mean", "max", "last")]
    wanted = wanted or [(reading, "last") for reading in list(dataset.readings)[:_FEATURED]]
    features: list[dict[str, str]] = []
    for reading, aggregate in wanted:
        feature = _free_name(f"{reading[:31]}_{aggregate}_1h", {each["name"] for each in features})
        features.append({"name": feature, "aggregate": aggregate, "of": reading, "window": "1h"})
    if not features:
        return None
    comments = [
        "Proposed with the dataset: what a model usually asks of such readings. Keep what you need.",
        "It becomes a draft: computed, and not served before you activate it.",
    ]
    content = {
        "feature_view": f"{name[:33]}_vitals",
        "version": 1,
        "entity": entity.entity,
        "description": f"Draft over the readings of {name}.",
        "ttl": "1d",
        "features": features,
    }
    if sensor_type := dataset.constants.get("sensor_type"):
        content["source"] = {"sensor_type": sensor_type}
    return definition(content, comments, blocks=["features"])


def _entity_text(entity: Entity, file_name: str) -> str:
    content = {"entity": entity.entity, "description": f"Proposed from {file_name}.", "join_keys": dict(entity.join_keys)}
    return definition(content, ["What has the features, and the columns that name one of it."])


def _slug(column: str) -> str:
    text = guess.plain(column)[:_LONGEST].strip("_")
    return text if text and text[0].isalpha() else f"c_{text}"[:_LONGEST].strip("_")


def _free_name(wanted: str, taken: set[str]) -> str:
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted[: _LONGEST - 4]}_{number}", number + 1
    return name
