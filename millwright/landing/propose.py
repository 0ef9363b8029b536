"""Proposes what the columns of a file mean when its header does not fit its dataset.

Belongs here: evidence (guess.py) → options of a delivery, reasons, and questions that only a person can answer.
Does not: applying them (registry/proposals.py): a proposal is printed, and never acted on by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from millwright.definitions import Dataset, Definitions
from millwright.landing import guess
from millwright.landing.batches import Proposal, Question
from millwright.landing.guess import KEY_NAMES, TIME_NAMES, VALUE_NAMES, WORD_NAMES, Moments
from millwright.landing.mapping import EVENT, Delivery, map_columns, name_problem
from millwright.landing.options import arguments
from millwright.landing.rows import Refused, Unavailable
from millwright.landing.sample import Sample, sample
from millwright.warehouse import ledger

_TAKEN_OVER = ("columns", "ignore", "layout", "format", "timezone", "timestamps", "numbers", "units", "missing")


def for_refused(
    conn: psycopg.Connection[Any], definitions: Definitions, dataset: Dataset, delivery: Delivery, path: Path, *, file_name: str
) -> Proposal | None:
    """A proposal for a file that was refused, None when its header fits or cannot be read. Raises psycopg.Error."""
    try:
        seen = sample(path, delivery.format.over(dataset.format), [*dataset.missing, *delivery.missing])
    except (Refused, Unavailable):
        return None
    try:
        map_columns(definitions, dataset, delivery, seen.header, fixed=True)
    except Refused:
        return propose(conn, definitions, dataset, delivery, seen, file_name=file_name)
    return None


def propose(
    conn: psycopg.Connection[Any], definitions: Definitions, dataset: Dataset, delivery: Delivery, seen: Sample, *, file_name: str
) -> Proposal:
    """Options that say what the columns mean: from an earlier delivery with the same header, else from names and cells."""
    found = examine(definitions, dataset, delivery, seen, earlier=ledger.landed_with_header(conn, dataset.dataset, seen.header))
    return Proposal(
        dataset=dataset.dataset,
        options=found.options.model_dump(mode="json", exclude_defaults=True),
        command=command(file_name, dataset.dataset, found.options),
        reasons=found.reasons,
        questions=found.questions,
    )


@dataclass(frozen=True)
class Examined:
    """What is said and found of a file's columns, why, and what is not certain."""

    options: Delivery
    reasons: list[str]
    questions: list[Question]


def examine(
    definitions: Definitions,
    dataset: Dataset,
    delivery: Delivery,
    seen: Sample,
    *,
    earlier: tuple[int, dict[str, Any]] | None = None,
) -> Examined:
    """Look at a sample under a dataset and what is said already. `earlier`: batch and options of a file with this header."""
    work = _Work(definitions, dataset, delivery, seen)
    if earlier is not None:
        work.take_over(*earlier)
    work.fill()
    return Examined(work.options, work.reasons, work.questions)


def command(file_name: str, dataset: str, options: Delivery, *more: str) -> str:
    """The command line that delivers a file with these options."""
    return shlex.join(["millwright", "upload", file_name, "--dataset", dataset, *arguments(options), *more])


class _Work:
    def __init__(self, definitions: Definitions, dataset: Dataset, delivery: Delivery, seen: Sample) -> None:
        self.dataset, self.options, self.seen = dataset, delivery, seen
        self.keys = definitions.entities[dataset.entity].keys
        self.reasons: list[str] = []
        self.questions: list[Question] = []

    def take_over(self, batch_id: int, options: dict[str, Any]) -> None:
        """What was said of an earlier file with the same header; what is given now goes before it."""
        given = self.options.model_dump(exclude_defaults=True)
        known = Delivery.model_validate({name: value for name, value in options.items() if name in _TAKEN_OVER})
        merged = {**known.model_dump(exclude_defaults=True), **given}
        for group in ("columns", "units", "constants"):
            if group in merged:
                merged[group] = {**getattr(known, group), **getattr(self.options, group)}
        self.options = Delivery.model_validate(merged)
        if self.options.model_dump(exclude_defaults=True) != given:
            self.reasons.append(f"Batch {batch_id} had the same header: what was said of it is said again.")
        earlier = {field: text for field, text in options.get("constants", {}).items() if field not in self.options.constants}
        for field, text in earlier.items():
            if field not in self._given():
                self._ask(f"{field} was {text!r} in batch {batch_id}. Is it the same here?", [f"--set {field}={text}"], field)

    def fill(self) -> None:
        """Look at every column and field that is not settled."""
        self._names()
        self._event()
        self._needed()
        self._numbers()
        self._units()

    def _field(self, column: str) -> str:
        return {**self.dataset.columns, **self.options.columns}.get(column, column)

    def _given(self) -> set[str]:
        """Fields that a column or a constant gives."""
        columns = {self._field(name) for name in self.seen.header if name not in self._left_out()}
        return {*columns, *self.dataset.constants, *self.options.constants}

    def _left_out(self) -> set[str]:
        layout = self.options.layout or self.dataset.layout
        return {*self.dataset.ignore, *self.options.ignore, *([layout.reading, layout.value] if layout else [])}

    def _fields(self) -> list[str]:
        return [EVENT, *filter(None, [self.dataset.word]), *self.keys, *self.dataset.values]

    def _free(self) -> list[str]:
        """Columns that mean no field yet."""
        fields, left_out = self._fields(), self._left_out()
        return [name for name in self.seen.header if self._field(name) not in fields and name not in left_out]

    def _names(self) -> None:
        wanted: dict[str, list[str]] = {}
        open_fields = [field for field in self._fields() if field not in self._given() and field != EVENT]
        for column in self._free():
            if (field := self._named(column, open_fields)) is not None:
                wanted.setdefault(field, []).append(column)
        for field, columns in wanted.items():
            if len(columns) == 1:
                self._map(columns[0], field, "by its name")
            else:
                self._ask(
                    f"{_list(columns)} may each be {field}. Which one is it?", [f"--map {_q(c)}={field}" for c in columns], field
                )

    def _named(self, column: str, fields: Sequence[str]) -> str | None:
        name, cells = guess.plain(column), self.seen.columns.get(column, [])
        own = [key for key in fields if key in self.keys]
        if (field := guess.close(column, own)) and (guess.plain(field) == name or name not in TIME_NAMES):
            return field
        if len(self.keys) == 1 and own and name in KEY_NAMES:
            return own[0]
        if self.dataset.word in fields and name in WORD_NAMES:
            allowed = self.dataset.sensor_types or self.dataset.kinds
            return self.dataset.word if not allowed or set(cells) <= set(allowed) else None
        found = guess.close(column, [field for field in fields if field in self.dataset.values])
        if found and self.dataset.values[found].type in ("double", "int64") and cells and not guess.may_be_number(cells):
            return None
        return found

    def _event(self) -> None:
        if EVENT in self._given():
            column = next((name for name in self.seen.header if self._field(name) == EVENT), None)
            if column is not None:
                self._moments(column, self._looks(column))
            return
        found = {column: looks for column in self._free() if (looks := self._looks(column)) is not None}
        named = [column for column in found if guess.plain(column) in TIME_NAMES]
        chosen = list(found) if len(found) == 1 else named
        if len(chosen) == 1:
            self._map(chosen[0], EVENT, "its cells are times")
            self._moments(chosen[0], found[chosen[0]])
        else:
            columns = list(found) or [column for column in self._free() if guess.plain(column) in TIME_NAMES]
            what = f"{_list(columns)} may each be" if columns else "No column looks like"
            self._ask(f"{what} the time of a row.", [f"--map {_q(column)}={EVENT}" for column in columns[:4]], EVENT)

    def _looks(self, column: str) -> Moments | None:
        cells = self.seen.columns.get(column, [])
        return guess.moments(cells, named=self._field(column) == EVENT or guess.plain(column) in TIME_NAMES)

    def _moments(self, column: str, looks: Moments | None) -> None:
        timestamps = self.options.timestamps.over(self.dataset.timestamps)
        if timestamps.format is None:
            if looks is None:
                if self.seen.columns.get(column):
                    shown = self._shown(column)
                    self._ask(f"How are the times in {column!r} written{shown}?", ["--timestamp-format FORMAT"], "timestamps")
                return
            if len(looks.formats) > 1:
                choices = [f"--timestamp-format {shlex.quote(each)}" for each in looks.formats]
                self._ask(f"In {column!r} day and month cannot be told apart{self._shown(column)}.", choices, "timestamps")
            elif looks.formats[0] != "iso":
                self._change(timestamps={**self.options.timestamps.model_dump(exclude_none=True), "format": looks.formats[0]})
                self.reasons.append(f"{column!r} is written as {looks.formats[0]}.")
        written = timestamps.format or "iso"
        naive = looks.naive if looks is not None else written not in (*guess.EPOCHS, "iso")
        if naive and (self.options.timezone or self.dataset.timezone) is None:
            zones = ["--timezone Europe/Berlin", "--timezone UTC"]
            self._ask(f"The times in {column!r} have no offset. Which time zone are they in?", zones, "timezone")

    def _needed(self) -> None:
        given, free = self._given(), self._free()
        for key in self.keys:
            if key not in given:
                self._ask(f"No column is {key}.", [f"--set {key}=…", f"--map column={key}"], key)
        word = self.dataset.word
        allowed = self.dataset.sensor_types or self.dataset.kinds
        if word and word not in given:
            if len(allowed) == 1:
                self._change(constants={**self.options.constants, word: allowed[0]})
                self.reasons.append(f"{word} can only be {allowed[0]}.")
            else:
                self._ask(f"No column is {word}.", [f"--set {word}={each}" for each in allowed[:8]] or [f"--set {word}=…"], word)
        values = [name for name in self.dataset.values if name in given]
        general = [column for column in free if guess.plain(column) in VALUE_NAMES]
        if not values and len(general) == 1:
            if len(self.dataset.values) == 1:
                self._map(general[0], next(iter(self.dataset.values)), "the dataset has no other value")
            else:
                names = list(self.dataset.values)[:8]
                self._ask(f"What is {general[0]!r}?", [f"--map {_q(general[0])}={name}" for name in names], "value")
        for name, reading in self.dataset.values.items():
            if reading.required and name not in self._given():
                self._ask(f"No column is {name}, which is required.", [f"--map column={name}", f"--set {name}=…"], name)
        asked = {column for question in self.questions for column in free if any(_q(column) in each for each in question.answers)}
        for column in [column for column in self._free() if column not in asked]:
            if self.dataset.unknown_columns == "land" and (problem := name_problem(column)):
                answers = [f"--ignore {_q(column)}", f"--map {_q(column)}=field"]
                self._ask(f"{column!r} cannot become a reading: its name {problem}.", answers, column)
            elif self.dataset.unknown_columns == "refuse":
                self._ask(f"No field is {column!r}.", [f"--ignore {_q(column)}", f"--map {_q(column)}=field"], column)
            elif self.dataset.unknown_columns == "land":
                self.reasons.append(f"{column!r} would be a new reading of that name; `--ignore {_q(column)}` leaves it out.")

    def _numbers(self) -> None:
        if self.options.numbers is not None:
            return
        numeric = [name for name, value in self.dataset.values.items() if value.type in ("double", "int64")]
        columns = [name for name in self.seen.header if self._field(name) in numeric]
        ways = guess.numbers([cells for name in columns if guess.may_be_number(cells := self.seen.columns.get(name, []))])
        if self.dataset.numbers in ways:
            return
        if len(ways) == 1:
            self._change(numbers=ways[0].model_dump())
            self.reasons.append(f"Numbers are written with {ways[0].decimal!r} as the decimal mark.")
        elif ways:
            self._ask(
                "Is the comma in numbers the decimal mark or the mark between thousands?",
                [shlex.join(arguments(Delivery(numbers=way))) for way in ways],
                "numbers",
            )

    def _units(self) -> None:
        for column in self.seen.header:
            field = self._field(column)
            reading = self.dataset.values.get(field)
            unit = self.seen.units.get(column) or guess.unit_of(column)
            if reading is None or not unit or field in {**self.dataset.units, **self.options.units}:
                continue
            if guess.same_unit(unit, reading.unit):
                continue
            if guess.converts(unit, reading.unit):
                self._change(units={**self.options.units, field: unit})
                self.reasons.append(f"{column!r} is in {unit}, and {field} in {reading.unit}.")
            else:
                own = f"{field} is in {reading.unit}" if reading.unit else f"{field} has no unit"
                self._ask(f"{column!r} seems to be in {unit!r}; {own}.", [f"--unit {field}={reading.unit or '…'}"], field)

    def _map(self, column: str, field: str, why: str) -> None:
        self._change(columns={**self.options.columns, column: field})
        self.reasons.append(f"{column!r} is {field}: {why}.")

    def _change(self, **changes: Any) -> None:
        self.options = Delivery.model_validate({**self.options.model_dump(exclude_defaults=True), **changes})

    def _ask(self, text: str, answers: Iterable[str], about: str) -> None:
        if about not in {question.about for question in self.questions}:
            self.questions.append(Question(about=about, text=text, answers=list(answers)))

    def _shown(self, column: str) -> str:
        """One cell, unless its field is sensitive."""
        cells = self.seen.columns.get(column, [])
        return "" if not cells or self._field(column) in self.dataset.sensitive else f" ({cells[0][:40]!r})"


def _q(column: str) -> str:
    return shlex.quote(column)


def _list(columns: Sequence[str]) -> str:
    return ", ".join(repr(column) for column in columns[:6])
