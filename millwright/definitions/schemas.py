"""JSON Schemas of the definition files, so that an editor completes fields and marks mistakes while one types.

Belongs here: from models to schema files. Does not: what files must agree on: `millwright apply --plan` tells that (load.py).
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from millwright.definitions.load import KINDS

FOLDER = "schemas"
"""Folder of the feature repository that holds them."""


class SchemaFiles(BaseModel):
    """The files that were written."""

    model_config = ConfigDict(frozen=True)
    files: list[str]


def schemas() -> dict[str, str]:
    """File name → JSON Schema (draft 2020-12) as text, one for each kind of definition."""
    found = {}
    for model, field in KINDS.values():
        content = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        found[f"{field}.json"] = json.dumps(content, indent=1, sort_keys=True) + "\n"
    return found


def write_schemas(repo: Path) -> SchemaFiles:
    """Write them into the feature repository; raises OSError."""
    folder = repo / FOLDER
    folder.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")
    return SchemaFiles(files=[str(folder / name) for name in schemas()])
