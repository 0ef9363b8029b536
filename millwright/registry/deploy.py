"""`deploy`: an ONNX file becomes a version of a model: its bytes and its definition in the feature repository, applied.

Belongs here: writing the two files and taking them back when they cannot be applied. Does not: what must fit (prediction/),
applying (apply.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from millwright.definitions import Model, load
from millwright.definitions.base import Definition
from millwright.definitions.deployed import FOLDER, inputs
from millwright.definitions.edit import definition
from millwright.prediction.session import load_session
from millwright.registry.apply import apply
from millwright.registry.catalog import Status, resolve_view
from millwright.registry.models import applied_models
from millwright.settings import Settings
from millwright.warehouse.connect import connect

_SCHEMA = "yaml-language-server: $schema=../schemas/model.json"
_DEFAULTS = {"description": "", "owner": "", "on_missing": "refuse", "on_stale": "refuse"}


class CannotDeploy(ValueError):
    """What was asked for is no definition of a model."""


class DeployReport(BaseModel):
    """A deployed version. `already`: this very model had been deployed. `inputs`: the features in their order; `feature_service`:
    what Feast calls them together."""

    model_config = ConfigDict(frozen=True)

    model_id: str
    status: Status
    already: bool
    file: str
    onnx: str
    sha256: str
    inputs: list[str]
    outputs: list[str]
    feature_service: str
    feast: list[str]
    reload: str


def deploy(
    settings: Settings,
    file: Path,
    *,
    name: str,
    features: Sequence[str],
    on_missing: Literal["refuse", "impute"] = "refuse",
    on_stale: Literal["refuse", "impute", "use"] = "refuse",
    impute: Mapping[str, Any] | None = None,
    description: str = "",
    owner: str = "",
    by: str = "",
) -> DeployReport:
    """Make `file` the next version of the model `name` and apply it: the first version of a name is active, a later one a draft.

    `features`: views or `view:feature`, in the order of the model's inputs; a view's name without a version means its active
    one, and its version is what is written. Deploying the same again changes nothing.
    Raises CannotDeploy, DefinitionErrors (then nothing is kept), VersionChanged, OSError, psycopg.Error.
    """
    if "impute" in (on_missing, on_stale) and not impute:
        raise CannotDeploy("impute needs the values to take: --impute FEATURE=VALUE, once for each feature that may be missing")
    data = file.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    with connect(settings.require("postgres_owner_url"), autocommit=True, name="millwright deploy") as conn:
        there = conn.execute("select to_regclass('catalog.feature_views')").fetchone()
        if not there or not there[0]:
            raise CannotDeploy("nothing is applied yet: run `millwright apply`, then deploy the model again")
        references = [_versioned(conn, reference) for reference in features]
        known = applied_models(conn)
    fields = {"features": references, "on_missing": on_missing, "on_stale": on_stale, "impute": dict(impute or {})}
    prose = {"description": description, "owner": owner}
    defined = load(settings.feature_repo).models.values()
    versions = {model.version: model for model in defined if model.model == name}
    taken = {*versions, *(each.version for each in known.values() if each.model == name)}
    newest = versions.get(max(taken, default=0))
    model = _model(name, max(taken, default=0) + 1, sha256, fields | prose)
    if already := newest is not None and _means(newest) == _means(model):
        assert newest is not None
        model = newest
    folder = settings.feature_repo / FOLDER
    yaml, onnx = folder / f"{model.id}.yaml", folder / model.onnx.file
    if not already:
        folder.mkdir(parents=True, exist_ok=True)
        onnx.write_bytes(data)
        yaml.write_text(_text(model), encoding="utf-8")
    try:
        report = apply(settings, by=by)
    except BaseException:
        if not already and model.id not in _applied(settings):
            yaml.unlink(missing_ok=True)
            onnx.unlink(missing_ok=True)
        raise
    definitions = load(settings.feature_repo)
    return DeployReport(
        model_id=model.id,
        status=next(change.status for change in report.models if change.model_id == model.id),
        already=already,
        file=str(yaml),
        onnx=str(onnx),
        sha256=sha256,
        inputs=[each.reference for each in inputs(model, definitions)],
        outputs=list(load_session(settings.feature_repo, model).outputs),
        feature_service=model.id,
        feast=report.feast,
        reload=report.reload,
    )


def _versioned(conn: Any, reference: str) -> str:
    view, colon, feature = reference.partition(":")
    return f"{resolve_view(conn, view)}{colon}{feature}"


def _applied(settings: Settings) -> Mapping[str, object]:
    with connect(settings.require("postgres_owner_url"), autocommit=True, name="millwright deploy") as conn:
        return applied_models(conn)


def _model(name: str, version: int, sha256: str, fields: Mapping[str, Any]) -> Model:
    onnx = {"file": f"{name}_v{version}.onnx", "sha256": sha256}
    try:
        return Model.model_validate({"model": name, "version": version, "onnx": onnx, **fields})
    except ValidationError as error:
        told = [
            f"{'.'.join(map(str, each['loc'])) or name}: {each['msg'].removeprefix('Value error, ')}" for each in error.errors()
        ]
        raise CannotDeploy("; ".join(dict.fromkeys(told))) from None


def _means(model: Definition) -> dict[str, Any]:
    """What two versions that do the same have in common."""
    found = model.model_dump(mode="json", exclude={"version", "description", "owner", "tags"})
    return {**found, "onnx": found["onnx"]["sha256"]}


def _text(model: Model) -> str:
    content = model.model_dump(mode="json", exclude_defaults=True)
    ordered = ("model", "version", "description", "owner", "onnx", "features", "on_missing", "on_stale", "impute")
    fields = {field: content.get(field, _DEFAULTS.get(field)) for field in ordered}
    kept = {field: value for field, value in fields.items() if value not in ("", None, {})}
    return definition(kept, [_SCHEMA], blocks=("features", "impute"))
