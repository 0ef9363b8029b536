"""The matrix of files: one folder a case in `files/`, with what is delivered and the receipt that is expected.

Belongs here: reading a case, running it, what of a receipt is compared. Does not: the cases (files/), made inputs (made.py).

A case is a folder with `case.yaml`, its input (`input.csv`, or `input.` and any other ending) and `receipt.json`:

    about: One sentence: what this file is, and what must become of it.   # required
    dataset: fleet              # a dataset of conftest.DEFINITIONS (default: fleet), or a whole dataset as a mapping
    change: {timezone: UTC}     # fields of the dataset that are different here
    delivery: {}                # fields of Delivery
    settings: {max_columns: 9}  # settings that are different here
    file_name: odd.csv          # default: the input's own name
    make: gzip_bomb             # a function of made.py gives the bytes, instead of an input file
    first:                      # deliveries that land before, each with its own input (or make) and delivery
      - {input: first.csv, delivery: {}}

`receipt.json` holds the parts that are compared; a part that is left out is not compared. `error`, and `message` of an error,
must occur in what is told. `rows` is all that is in the warehouse afterwards (`rows_sha256` where that is long), `quarantine` all that was set aside.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from millwright.definitions import Dataset
from millwright.landing.batches import Receipt
from millwright.landing.load import dry_run, land
from millwright.landing.mapping import Delivery
from millwright.landing.receive import receive
from tests.landing import made
from tests.landing.conftest import DEFINITIONS, Plant

FILES = Path(__file__).parent / "files"
COUNTS = ("received", "loaded", "corrected", "duplicate", "quarantined")
_REPAIRABLE = "select max(batch_id) from landing.batches where state = 'landed' and options ->> 'repairs' is null"
_SHOWN, _LONGEST = 20, 5_000
_AT = "to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
_ROWS = {
    "measurements": (
        "select array_to_string(s.keys, '/'), s.sensor_type, "
        + _AT.format("m.event_timestamp")
        + ", m.readings from warehouse.measurements m join warehouse.series s using (series_id) order by 1, 2, 3"
    ),
    "events": (
        "select array_to_string(keys, '/'), kind, "
        + _AT.format("event_timestamp")
        + ", attributes from warehouse.events order by 1, 2, 3"
    ),
    "feature_set": (
        "select array_to_string(keys, '/'), dataset, "
        + _AT.format("event_timestamp")
        + ", features from warehouse.feature_sets order by 1, 2, 3"
    ),
}


class Given(BaseModel):
    """One delivery of a case."""

    model_config = ConfigDict(extra="forbid")
    input: str | None = None
    make: str | None = None
    delivery: Delivery = Delivery()
    file_name: str | None = None


class Case(Given):
    """A case.yaml."""

    about: str
    dataset: str | dict[str, Any] = "fleet"
    change: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    first: list[Given] = []


def names() -> list[str]:
    """Every case."""
    return sorted(folder.name for folder in FILES.iterdir() if folder.is_dir())


def case(name: str) -> Case:
    """A case as its folder has it."""
    return Case.model_validate(YAML(typ="safe").load((FILES / name / "case.yaml").read_text()))


def run(plant: Plant, name: str, folder: Path) -> dict[str, Any]:
    """Land a case as its deliveries say; returns what became of it. Asserts what holds for every file there is.

    A dry run tells the same and keeps nothing; a refused delivery changes nothing; the same delivery again changes nothing (I2).
    """
    told = case(name)
    plain = told.dataset if isinstance(told.dataset, dict) else DEFINITIONS.datasets[told.dataset].model_dump(exclude_unset=True)
    dataset = Dataset.model_validate(plain | told.change)
    plant = replace(
        plant,
        settings=plant.settings.model_copy(update=told.settings),
        definitions=DEFINITIONS.model_copy(update={"datasets": {dataset.dataset: dataset}}),
    )
    for earlier in told.first:
        assert _land(plant, dataset, FILES / name, earlier).state == "landed", "what comes first must land"
    before, path = plant.state(), folder / "delivered"
    path.write_bytes(_content(FILES / name, told))
    dry = dry_run(plant.conn, plant.settings, plant.definitions, path, dataset=dataset.dataset, delivery=_delivery(plant, told))
    assert plant.state() == before, "a dry run changed something"
    done = _land(plant, dataset, FILES / name, told)
    same = (*COUNTS, "new_readings", "dialect", "days", "preview")
    assert dry.state == {"landed": "dry_run"}.get(done.state, done.state), (dry.error, done.error)
    assert [getattr(dry, part) for part in same] == [getattr(done, part) for part in same], "a dry run told something else"
    after = plant.state()
    if done.state != "landed":
        assert after == before, "a refused delivery changed something"
    again = _land(plant, dataset, FILES / name, told)
    assert (again.state, plant.state()) == (done.state, after), "the same delivery again changed something"
    return _outcome(plant, dataset, done)


def difference(expected: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Parts of the expected receipt that were not met: part → [expected, found]."""
    wrong = {}
    for part, value in expected.items():
        have = found.get(part)
        match part:
            case "error":
                met = value in (have or "") if value else not have
            case "dialect":
                met = {key: (have or {}).get(key) for key in value} == value
            case "errors" | "warnings":
                have = have or []
                met = len(have) == len(value) and all(_same(kind, other) for kind, other in zip(value, have, strict=True))
            case _:
                met = have == value
        if not met:
            wrong[part] = [value, have]
    return wrong


def write(name: str, found: dict[str, Any]) -> None:
    """Write what became of a case as its expected receipt: to be read line by line before it is believed."""
    kept = {part: value for part, value in found.items() if value not in ([], None, {}) or part == "rows"}
    for part in ("rows", "quarantine", "new_readings"):
        if len(kept.get(part, [])) > _SHOWN or len(json.dumps(kept.get(part, []))) > _LONGEST:
            del kept[part]
    if "rows" in kept:
        del kept["rows_sha256"]
    if len(json.dumps(kept.get("dialect"))) > _LONGEST:
        del kept["dialect"]["columns"]
    (FILES / name / "receipt.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _same(kind: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(value in other[part] if part == "message" else other[part] == value for part, value in kind.items())


def _content(folder: Path, given: Given) -> bytes:
    if given.make is not None:
        content: bytes = getattr(made, given.make)()
        return content
    return _path(folder, given).read_bytes()


def _path(folder: Path, given: Given) -> Path:
    if given.input is not None:
        return folder / given.input
    (found,) = folder.glob("input.*")
    return found


def _delivery(plant: Plant, given: Given) -> Delivery:
    if given.delivery.repairs is None:
        return given.delivery
    newest = plant.rows(_REPAIRABLE)[0][0]
    return given.delivery.model_copy(update={"repairs": newest})  # a case cannot know the number of what came first


def _land(plant: Plant, dataset: Dataset, folder: Path, given: Given) -> Receipt:
    received = receive(
        plant.conn, plant.settings, plant.definitions, BytesIO(_content(folder, given)),
        dataset=dataset.dataset, file_name=given.file_name or (given.make or _path(folder, given).name),
        delivery=_delivery(plant, given), channel="upload", by="test",
    )  # fmt: skip
    return land(plant.conn, plant.settings, plant.definitions, received.batch_id)


def _outcome(plant: Plant, dataset: Dataset, done: Receipt) -> dict[str, Any]:
    report = done.model_dump(mode="json")
    kinds = ("code", "column", "count", "first_position", "message")
    outcome: dict[str, Any] = {
        "state": done.state,
        "counts": {name: report[name] for name in COUNTS},
        "error": done.error,
        "dialect": report["dialect"],
        "new_readings": done.new_readings,
        "quarantine": [
            [position, original.decode("utf-8", errors="backslashreplace"), codes]
            for position, original, codes in plant.quarantine(done.batch_id)
        ],
    }
    for part in ("errors", "warnings"):
        outcome[part] = [{name: kind[name] for name in kinds} for kind in report.get(part, [])]
    if dataset.target in _ROWS:
        outcome["rows"] = [list(row) for row in plant.rows(_ROWS[dataset.target])]
        outcome["rows_sha256"] = hashlib.sha256(json.dumps(outcome["rows"], sort_keys=True).encode()).hexdigest()
    return outcome
