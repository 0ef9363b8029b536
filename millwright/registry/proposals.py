"""Proposals written for review, and accepted: files put in place, applied, or as they were before.

Belongs here: the order of it, and what keeps a proposal from being accepted. Does not: what is proposed (landing/propose.py,
landing/draft.py), the command that asks for it (commands/upload.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Dataset, Definitions, edit, load
from millwright.landing.batches import Question
from millwright.landing.draft import draft, files_of
from millwright.landing.mapping import Delivery, map_columns
from millwright.landing.propose import command, examine
from millwright.landing.sample import Sample
from millwright.registry.apply import apply
from millwright.settings import Settings
from millwright.warehouse import ledger

_SAID = ("columns", "ignore", "layout", "format", "timezone", "timestamps", "numbers", "units", "missing")
_LISTS, _MAPPINGS = ("ignore", "missing"), ("columns", "units", "format", "timestamps")


class Proposed(BaseModel):
    """Files of a dataset that is not there yet, written for review. Nothing was received."""

    model_config = ConfigDict(frozen=True)
    dataset: str
    folder: str
    files: list[str]
    questions: list[Question] = []
    command: str


class Accepted(BaseModel):
    """What was put in place and applied, and the delivery that is left to say for this file alone."""

    model_config = ConfigDict(frozen=True)
    files: list[str]
    drafts: list[str] = []
    delivery: Delivery


class Unanswered(ValueError):
    """A proposal that leaves something to a person."""

    def __init__(self, questions: Sequence[Question], where: str) -> None:
        lines = [f"- {question.text} {' or '.join(question.answers)}".rstrip() for question in questions]
        super().__init__("\n".join([f"Nothing was received. {where}", *lines]))
        self.questions = list(questions)


def propose_dataset(
    settings: Settings, definitions: Definitions, name: str, seen: Sample, delivery: Delivery, *, file_name: str
) -> Proposed:
    """Write a dataset, a feature view and, if needed, an entity for review; what was proposed before is left as it is.

    Raises BadOptions, DefinitionErrors for a proposal that somebody edited into a mistake, OSError.
    """
    repo = settings.feature_repo
    accept = command(file_name, name, delivery, "--accept")
    if not (files := _files(settings, definitions, name)):
        made = draft(
            definitions, name, seen, delivery, file_name=file_name, accept=command(file_name, name, Delivery(), "--accept")
        )
        edit.write_proposed(repo, made)
        files = list(made)
    known = edit.load_with(repo, files)
    questions = examine(known, known.datasets[name], delivery, seen).questions
    return Proposed(dataset=name, folder=str(repo / edit.PROPOSED), files=files, questions=questions, command=accept)


def accept_dataset(
    settings: Settings, definitions: Definitions, name: str, seen: Sample, delivery: Delivery, *, file_name: str
) -> Accepted:
    """Move the proposed files into place and apply them; where that fails they are proposals again.

    Raises Unanswered, Refused for a header that does not fit, DefinitionErrors, what `apply` raises.
    """
    repo = settings.feature_repo
    files = propose_dataset(settings, definitions, name, seen, delivery, file_name=file_name).files
    known = edit.load_with(repo, files)
    where = f"Answer in {repo / edit.PROPOSED / files_of(name, '')[0]}, or add the option:"
    fitting = _answered(known, known.datasets[name], delivery, seen, None, where)
    drafts = sorted(known.feature_views.keys() - definitions.feature_views.keys())
    edit.move_in(repo, files)
    try:
        left = _save(settings, known.datasets[name], fitting, lambda: apply(settings, drafts=drafts))
    except BaseException:
        edit.move_out(repo, files)
        raise
    return Accepted(files=files, drafts=drafts, delivery=left)


def accept_mapping(
    conn: psycopg.Connection[Any],
    settings: Settings,
    definitions: Definitions,
    dataset: Dataset,
    seen: Sample,
    delivery: Delivery,
) -> Accepted:
    """Save what is said and found of a file's columns in its dataset's file and apply; where that fails it is as it was.

    What the dataset says already is added to, never changed. Values set for all rows stay with this file.
    Raises Unanswered, Refused, DefinitionErrors, what `apply` raises.
    """
    earlier = ledger.landed_with_header(conn, dataset.dataset, seen.header)
    fitting = _answered(definitions, dataset, delivery, seen, earlier, "Add the option that answers:")
    left = _save(settings, dataset, fitting, lambda: apply(settings))
    saved = left != fitting
    return Accepted(files=[f"datasets/{dataset.dataset}.yaml"] if saved else [], delivery=left)


def _answered(
    definitions: Definitions,
    dataset: Dataset,
    delivery: Delivery,
    seen: Sample,
    earlier: tuple[int, dict[str, Any]] | None,
    where: str,
) -> Delivery:
    """The delivery with what was found. Raises Unanswered, Refused."""
    found = examine(definitions, dataset, delivery, seen, earlier=earlier)
    if found.questions:
        raise Unanswered(found.questions, where)
    map_columns(definitions, dataset, found.options, seen.header, fixed=True)
    return found.options


def _files(settings: Settings, definitions: Definitions, name: str) -> list[str]:
    """The proposed files of a dataset that lie there."""
    dataset, view, _ = files_of(name, "")
    there = edit.proposed(settings.feature_repo, [dataset, view])
    if dataset not in there:
        return []
    entities = sorted((settings.feature_repo / edit.PROPOSED / "entities").glob("*.y*ml"))
    known = edit.load_with(settings.feature_repo, [*there, *(f"entities/{path.name}" for path in entities)])
    entity = files_of(name, known.datasets[name].entity)[2]
    return [*there, *edit.proposed(settings.feature_repo, [entity])]


def _save(settings: Settings, dataset: Dataset, said: Delivery, then: Callable[[], Any]) -> Delivery:
    """Write what the dataset does not say yet into its file, then `then`; returns what is left to the delivery."""
    additions, left = _divided(dataset, said)
    path = edit.dataset_path(settings.feature_repo, dataset.dataset)
    before = path.read_text(encoding="utf-8")
    try:
        if additions:
            path.write_text(edit.add(before, additions), encoding="utf-8")
            load(settings.feature_repo)
        then()
    except BaseException:
        path.write_text(before, encoding="utf-8")
        raise
    return left


def _divided(dataset: Dataset, said: Delivery) -> tuple[dict[str, Any], Delivery]:
    """(what the dataset's file can take on, what contradicts it or is of this file alone)."""
    own = dataset.model_dump(mode="json", exclude_defaults=True)
    content = said.model_dump(mode="json", exclude_defaults=True)
    additions: dict[str, Any] = {}
    left = {name: value for name, value in content.items() if name not in _SAID}
    for name in _SAID:
        value, there = content.get(name), own.get(name)
        if value is None:
            continue
        if name in _LISTS:
            if unsaid := [each for each in value if each not in (there or [])]:
                additions[name] = unsaid
        elif name in _MAPPINGS:
            if new := {field: each for field, each in value.items() if field not in (there or {})}:
                additions[name] = new
            if rest := {field: each for field, each in value.items() if (there or {}).get(field, each) != each}:
                left[name] = rest
        elif there is None:
            additions[name] = value
        elif there != value:
            left[name] = value
    return additions, Delivery.model_validate(left)
