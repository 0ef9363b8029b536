"""The JSON Schemas for editors: in step with the models, and of one mind with the loader."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from millwright.definitions.load import KINDS
from millwright.definitions.schemas import FOLDER, schemas

REPO = Path(__file__).parents[2] / "feature_repo"


def validator(field: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(schemas()[f"{field}.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_shipped_schemas_are_those_of_the_models():
    found = {path.name: path.read_text(encoding="utf-8") for path in (REPO / FOLDER).iterdir()}
    assert found == schemas(), "run: millwright schemas"


@pytest.mark.parametrize(
    ("folder", "field", "file"),
    [(folder, field, path) for folder, (_, field) in KINDS.items() for path in sorted((REPO / folder).glob("*.yaml"))],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_every_shipped_definition_names_its_schema_and_fits_it(folder: str, field: str, file: Path):
    text = file.read_text(encoding="utf-8")
    line = text.splitlines()[0]
    assert line.startswith("# yaml-language-server: $schema=")
    assert (file.parent / line.partition("=")[2]).resolve() == REPO / FOLDER / f"{field}.json"
    assert list(validator(field).iter_errors(YAML(typ="safe").load(text))) == []


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("dataset", {"colums": {}}),
        ("dataset", {"target": "measurement"}),
        ("feature_view", {"ttl": "2 hours"}),
        ("feature_view", {"version": 0}),
        ("entity", {"join_keys": {}}),
    ],
)
def test_a_mistake_is_marked(field: str, change: dict):
    good = {
        "dataset": {"dataset": "a", "entity": "b"},
        "entity": {"entity": "b", "join_keys": {"b_id": "string"}},
        "feature_view": {
            "feature_view": "v",
            "version": 1,
            "entity": "b",
            "ttl": "2h",
            "features": [{"name": "f", "aggregate": "mean", "of": "x", "window": "1h"}],
        },
    }[field]
    assert list(validator(field).iter_errors(good)) == []
    assert list(validator(field).iter_errors(good | change)) != []
