"""Reads a feature repository: every file, every error at once, each with file, line and field.

Belongs here: YAML → models and what files must agree on. Does not: writing to databases or Feast (registry.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from millwright.definitions.base import Definition
from millwright.definitions.datasets import Dataset
from millwright.definitions.deployed import Model, model_mistakes
from millwright.definitions.models import RESERVED, TAKEN_FEATURES, Definitions, Entity, FeatureView, Topic
from millwright.definitions.views import view_mistakes, with_columns
from millwright.definitions.words import field_names, nearest

KINDS: dict[str, tuple[type[Definition], str]] = {
    "entities": (Entity, "entity"),
    "datasets": (Dataset, "dataset"),
    "topics": (Topic, "topic"),
    "feature_views": (FeatureView, "feature_view"),
    "models": (Model, "model"),
}


_VALUES = {"measurements": "readings", "events": "attributes", "feature_set": "features"}


@dataclass(frozen=True)
class DefinitionError:
    """One mistake: where it is and what to do."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.field}: {self.message}" if self.field else f"{self.file}:{self.line}: {self.message}"
        )


class DefinitionErrors(ValueError):
    """Every mistake in a feature repository."""

    def __init__(self, errors: list[DefinitionError]) -> None:
        super().__init__("\n".join(str(error) for error in errors))
        self.errors = errors


@dataclass(frozen=True)
class _File:
    name: str
    tree: Any
    model: Definition

    def error(self, path: tuple[str | int, ...], message: str) -> DefinitionError:
        return DefinitionError(self.name, _line(self.tree, path), ".".join(str(part) for part in path), message)


def load(repo: Path) -> Definitions:
    """Read all definition files below `repo`. Raises DefinitionErrors with every mistake found."""
    errors: list[DefinitionError] = []
    found: dict[str, dict[str, _File]] = {folder: {} for folder in KINDS}
    for folder, (kind, label) in KINDS.items():
        for path in sorted((repo / folder).glob("*.y*ml")):
            file = _read(path, repo, kind, errors)
            if file is None:
                continue
            name = file.model.id if isinstance(file.model, FeatureView | Model) else str(getattr(file.model, label))
            if path.stem != name and folder != "topics":
                errors.append(file.error((label,), f"the file must be named {name}{path.suffix}"))
            elif name in found[folder]:
                errors.append(file.error((label,), f"{name} is defined in {found[folder][name].name} too"))
            if isinstance(file.model, Model) and not (path.parent / file.model.onnx.file).is_file():
                errors.append(file.error(("onnx", "file"), f"{folder}/{file.model.onnx.file} is not there"))
            found[folder][name] = file
    datasets = {name: file.model for name, file in found["datasets"].items() if isinstance(file.model, Dataset)}
    for name, file in found["feature_views"].items():
        if isinstance(file.model, FeatureView):
            found["feature_views"][name] = replace(file, model=with_columns(file.model, datasets))
    definitions = Definitions.model_validate(
        {folder: {name: file.model for name, file in files.items()} for folder, files in found.items()}
    )
    for files in found.values():
        for file in files.values():
            errors.extend(_disagreements(file, definitions))
    if errors:
        raise DefinitionErrors(sorted(errors, key=lambda error: (error.file, error.line)))
    return definitions


def mistake(path: Path, repo: Path, where: tuple[str | int, ...], message: str) -> DefinitionError:
    """A mistake in a definition file that only something beside it shows, at its place in the file."""
    tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    return DefinitionError(path.relative_to(repo).as_posix(), _line(tree, where), ".".join(map(str, where)), message)


def _read(path: Path, repo: Path, kind: type[Definition], errors: list[DefinitionError]) -> _File | None:
    name = path.relative_to(repo).as_posix()
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        errors.append(DefinitionError(name, line, "", f"not YAML: {error.problem}"))
        return None
    except UnicodeDecodeError as error:
        errors.append(DefinitionError(name, 1, "", f"not UTF-8: {error.reason} at byte {error.start}"))
        return None
    if not isinstance(tree, CommentedMap):
        errors.append(DefinitionError(name, 1, "", "a definition is a mapping of fields to values"))
        return None
    try:
        return _File(name, tree, kind.model_validate(_plain(tree)))
    except ValidationError as error:
        for problem in error.errors():
            where = tuple(part for part in problem["loc"] if part != "[key]")
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = f"unknown field{nearest(str(where[-1]), field_names(kind, where[:-1]))}"
            elif problem["type"] in {"string_pattern_mismatch", "literal_error"}:
                words = re.findall("'([^']*)'", problem["ctx"].get("expected", ""))
                message = f"{message}, got {problem['input']!r}{nearest(str(problem['input']), words)}"
            errors.append(DefinitionError(name, _line(tree, where), ".".join(str(part) for part in where), message))
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, CommentedMap):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, CommentedSeq) else value


def _line(tree: Any, path: tuple[str | int, ...]) -> int:
    line = int(tree.lc.line) if hasattr(tree, "lc") else 0
    for part in path:
        if isinstance(tree, CommentedMap) and part in tree:
            line = tree.lc.key(part)[0]
        elif isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
            line = tree.lc.item(part)[0]
        else:
            break
        tree = tree[part]
    return line + 1


def _disagreements(file: _File, definitions: Definitions) -> Iterator[DefinitionError]:
    match file.model:
        case Dataset() as dataset:
            yield from _check_dataset(file, dataset, definitions)
        case Topic() as topic if topic.dataset not in definitions.datasets:
            yield file.error(("dataset",), f"no dataset {topic.dataset}{nearest(topic.dataset, definitions.datasets)}")
        case FeatureView() as view:
            yield from (file.error(where, message) for where, message in view_mistakes(view, definitions))
        case Model() as model:
            yield from (file.error(where, message) for where, message in model_mistakes(model, definitions))


def _check_dataset(file: _File, dataset: Dataset, definitions: Definitions) -> Iterator[DefinitionError]:
    entity = definitions.entities.get(dataset.entity)
    if entity is None:
        yield file.error(("entity",), f"no entity {dataset.entity}{nearest(dataset.entity, definitions.entities)}")
        return
    if dataset.timezone is not None and dataset.timezone not in available_timezones():
        yield file.error(("timezone",), f"no time zone {dataset.timezone}{nearest(dataset.timezone, available_timezones())}")
    fields = {"event_timestamp", *filter(None, [dataset.word]), *entity.join_keys, *dataset.values}
    for column, field in dataset.columns.items():
        if field not in fields:
            yield file.error(("columns", column), f"no field {field}{nearest(field, fields)}")
    for field in dataset.constants:
        if field not in fields:
            yield file.error(("constants", field), f"no field {field}{nearest(field, fields)}")
    for option in ("units", "sensitive"):
        for field in getattr(dataset, option):
            if field not in (dataset.values if option == "units" else fields):
                where = (option, field) if option == "units" else (option,)
                yield file.error(where, f"no field {field}{nearest(field, fields)}")
    taken = {*(TAKEN_FEATURES if dataset.target == "feature_set" else RESERVED), *entity.join_keys, dataset.word}
    for name, reading in dataset.values.items():
        if name in taken:
            yield file.error((_VALUES[dataset.target], name), "this name is taken by a key or a clock")
        declared = definitions.reading(dataset.entity, name)
        if dataset.target == "measurements" and declared and (declared.unit, declared.type) != (reading.unit, reading.type):
            yield file.error(
                ("readings", name),
                f"another dataset of {dataset.entity} has {name} as {declared.type} in {declared.unit or 'no unit'}",
            )
