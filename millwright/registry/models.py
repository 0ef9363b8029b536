"""Deployed models in the catalog: what was applied, with which status.

Belongs here: every statement that writes catalog.models, and what may change of an applied version. Does not: the order of an
apply (apply.py), a new model's files (deploy.py), predictions (prediction/).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from pydantic import BaseModel, ConfigDict, ValidationError

from millwright.definitions import DefinitionErrors, Definitions, Model
from millwright.definitions.deployed import FOLDER, inputs, view_ids
from millwright.definitions.load import DefinitionError, mistake
from millwright.prediction.session import BadModel, ChangedFile, Session, verified
from millwright.prediction.signature import mistakes
from millwright.registry.catalog import Status, VersionChanged


class AppliedModel(BaseModel):
    """A model version as applied."""

    model_config = ConfigDict(frozen=True)

    model_id: str
    model: str
    version: int
    status: Status
    definition_hash: str
    views: list[str]


class ModelChange(BaseModel):
    """What apply did (or would do) about one version. `missing`: applied, but its file is gone; nothing was deleted."""

    model_config = ConfigDict(frozen=True)

    model_id: str
    action: Literal["created", "updated", "unchanged", "missing"]
    status: Status
    views: list[str]


class CatalogModel(BaseModel):
    """A deployed version as people look it up."""

    model_config = ConfigDict(frozen=True)

    model_id: str
    status: Status
    features: list[str]
    on_missing: str
    on_stale: str
    description: str
    owner: str
    applied_at: datetime
    applied_by: str


class ModelsReport(BaseModel):
    """Deployed models, all versions of each."""

    model_config = ConfigDict(frozen=True)

    models: list[CatalogModel]


def applied_models(conn: psycopg.Connection[Any]) -> dict[str, AppliedModel]:
    """Every applied version by id, in order of name and version; none where the catalog is older than models."""
    if not _there(conn):
        return {}
    names = ("model_id", "model", "version", "status", "definition_hash", "views")
    rows = conn.execute(
        "select model_id, model, version, status, definition_hash, views from catalog.models order by model, version"
    ).fetchall()
    return {row[0]: AppliedModel(**dict(zip(names, row, strict=True))) for row in rows}


def read_models(conn: psycopg.Connection[Any]) -> ModelsReport:
    """Every deployed version; any role that may read the catalog."""
    if not _there(conn):
        return ModelsReport(models=[])
    rows = conn.execute(
        "select model_id, status, definition, description, owner, applied_at, applied_by from catalog.models"
        " order by model, version"
    ).fetchall()
    found = []
    for model_id, status, definition, description, owner, at, by in rows:
        model = Model.model_validate(definition)
        policies = {"features": model.features, "on_missing": model.on_missing, "on_stale": model.on_stale}
        told = {"description": description, "owner": owner, "applied_at": at, "applied_by": by}
        found.append(CatalogModel.model_validate({"model_id": model_id, "status": status, **policies, **told}))
    return ModelsReport(models=found)


def refuse_changed_models(definitions: Definitions, known: Mapping[str, AppliedModel]) -> None:
    """Raise VersionChanged, naming every file, when a version's content differs from what was applied."""
    changed = [
        f"{FOLDER}/{model.id}.yaml: {model.id} is applied with other contents. A version's meaning never changes: restore the "
        f"file and deploy the change as a new version: `millwright deploy FILE --name {model.model} …`"
        for model in definitions.models.values()
        if model.id in known and known[model.id].definition_hash != model.content_hash()
    ]
    if changed:
        raise VersionChanged("\n".join(changed) + "\nNothing was applied.")


def check_models(feature_repo: Path, definitions: Definitions, known: Mapping[str, AppliedModel]) -> None:
    """Raise DefinitionErrors where an ONNX file is not the one that a definition names, or, of a version that is new, where it
    does not fit the features that it reads. A retired version's file may be gone."""
    errors: list[DefinitionError] = []
    for model in definitions.models.values():
        if model.id in known and known[model.id].status == "retired":
            continue
        path = next(path for end in ("yaml", "yml") if (path := feature_repo / FOLDER / f"{model.id}.{end}").is_file())
        try:
            data = verified(feature_repo, model)
            wrong = [] if model.id in known else [*mistakes(Session(data), inputs(model, definitions))]
        except ChangedFile as error:
            wrong = [(("onnx", "sha256"), str(error))]
        except BadModel as error:
            wrong = [(("onnx", "file"), f"{model.onnx.file}: {error}")]
        errors += [mistake(path, feature_repo, where, what) for where, what in wrong]
    if errors:
        raise DefinitionErrors(errors)


def served_models(conn: psycopg.Connection[Any]) -> list[Model]:
    """Every applied version that is not retired, as it was applied; none where the catalog is older than models."""
    if not _there(conn):
        return []
    rows = conn.execute("select definition from catalog.models where status <> 'retired' order by model, version")
    return [Model.model_validate(definition) for (definition,) in rows]


def model_statuses(
    definitions: Definitions, known: Mapping[str, AppliedModel], published: Set[str]
) -> Iterator[tuple[Model, Status]]:
    """Models with their status: as applied, else draft for a later version of a name and where a view is not published, else
    active."""
    names = {each.model for each in known.values()}
    for model in sorted(definitions.models.values(), key=lambda model: (model.model, model.version)):
        if model.id in known:
            yield model, known[model.id].status
        else:
            yield model, "active" if model.model not in names and published >= {*view_ids(model)} else "draft"
            names.add(model.model)


def model_changes(
    conn: psycopg.Connection[Any], definitions: Definitions, known: Mapping[str, AppliedModel], published: Set[str]
) -> list[ModelChange]:
    """What an apply does, or would do."""
    stored = dict(conn.execute("select model_id, definition from catalog.models").fetchall()) if known else {}
    changes = []
    for model, status in model_statuses(definitions, known, published):
        action: Literal["created", "updated", "unchanged"]
        action = "created" if model.id not in stored else "unchanged" if _same(stored[model.id], model) else "updated"
        changes.append(ModelChange(model_id=model.id, action=action, status=status, views=view_ids(model)))
    for model_id in known.keys() - definitions.models.keys():
        gone = known[model_id]
        changes.append(ModelChange(model_id=model_id, action="missing", status=gone.status, views=gone.views))
    return sorted(changes, key=lambda change: change.model_id)


def write_model(conn: psycopg.Connection[Any], model: Model, status: Status, by: str) -> None:
    """Insert with `status`, or bring the metadata of an applied version up to date."""
    conn.execute(
        "insert into catalog.models as old (model_id, model, version, status, views, definition, definition_hash, description, "
        "owner, tags, applied_at, applied_by) values (%(model_id)s, %(model)s, %(version)s, %(status)s, %(views)s, "
        "%(definition)s, %(hash)s, %(description)s, %(owner)s, %(tags)s, now(), %(by)s) "
        "on conflict (model_id) do update set definition = excluded.definition, description = excluded.description, "
        "owner = excluded.owner, tags = excluded.tags, applied_at = excluded.applied_at, applied_by = excluded.applied_by "
        "where old.definition is distinct from excluded.definition",
        {
            "model_id": model.id,
            "model": model.model,
            "version": model.version,
            "status": status,
            "views": view_ids(model),
            "definition": model.model_dump_json(),
            "hash": model.content_hash(),
            "description": model.description,
            "owner": model.owner,
            "tags": json.dumps(model.tags),
            "by": by,
        },
    )


def write_model_status(conn: psycopg.Connection[Any], model_id: str, status: Status) -> None:
    """The status of an applied version."""
    conn.execute("update catalog.models set status = %s where model_id = %s", [status, model_id])


def _there(conn: psycopg.Connection[Any]) -> bool:
    return conn.execute("select to_regclass('catalog.models')").fetchone() != (None,)


def _same(stored: Any, model: Model) -> bool:
    try:
        return Model.model_validate(stored) == model
    except ValidationError:
        return False
