"""The assets `models/<model>`: deployed models, verified when their definitions change.

Belongs here: what a model's materialization says, what asks for it. Does not: deploying, predicting.

A model is downstream of the online views that it reads, and a publish does not run it again: the condition (FOLLOW, see
registration.py) has no term about what is upstream. A materialization loads each version's file as the API does.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of its functions as they are.

import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from millwright.definitions import Definitions, Model
from millwright.settings import Settings
from platform_assets import keys, specs
from platform_assets.provenance import provenance
from platform_assets.registration import FOLLOW
from resources import PostgresResource


def models(settings: Settings, definitions: Definitions) -> dg.AssetsDefinition:
    """One multi_asset over every model."""
    every = {spec.key: spec.replace_attributes(automation_condition=FOLLOW) for spec in specs.models(definitions)}

    @dg.multi_asset(
        name="verify_models",
        specs=list(every.values()),
        can_subset=True,
        description="Load the models as the API does: their files are whole, and fit the features that they read.",
    )
    def verify_models(context: dg.AssetExecutionContext, postgres: PostgresResource) -> Iterator[Any]:
        problems: list[str] = []
        with postgres.connect() as conn:
            for name, versions in specs.model_versions(definitions).items():
                key = keys.models(name)
                if key not in context.selected_asset_keys:
                    continue
                try:
                    metadata = _verified(conn, settings, definitions, versions)
                except Exception as error:  # noqa: BLE001 - told as a failure of the run; the other models go on
                    problems.append(f"models/{name}: {error}")
                    continue
                yield dg.AssetMaterialization(asset_key=key, metadata=metadata, tags=provenance(every[key]))
        if problems:
            raise dg.Failure("\n".join(problems), allow_retries=False)

    return verify_models


def _verified(conn: Any, settings: Settings, definitions: Definitions, versions: Sequence[Model]) -> dict[str, Any]:
    from millwright.definitions.deployed import inputs
    from millwright.prediction.session import BadModel, load_session
    from millwright.prediction.signature import mistakes
    from millwright.registry.models import applied_models
    from millwright.serving.predictions import logged_since_yesterday

    began = time.monotonic()
    known = applied_models(conn)
    told = []
    for model in versions:
        status = known[model.id].status if model.id in known else "not applied"
        if status == "retired":
            continue
        session = load_session(settings.feature_repo, model)
        if wrong := [what for _, what in mistakes(session, inputs(model, definitions))]:
            raise BadModel(f"{model.id}: {'; '.join(wrong)}")
        told.append(f"{model.id} {status}, answers {', '.join(session.outputs)}, SHA-256 {model.onnx.sha256[:12]}…")
    return {
        "rows": logged_since_yesterday(conn, versions[0].model),
        "seconds": round(time.monotonic() - began, 4),
        "versions": len(told),
        "served": dg.MetadataValue.md("\n".join(f"- {line}" for line in told) or "no version is served"),
    }
