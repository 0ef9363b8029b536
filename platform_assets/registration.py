"""The assets `feast/<view>_v<n>`: definitions in Feast's registry, following their files by themselves.

Belongs here: registering, and the condition that asks for it. Does not: Feast objects (feature_repo/feast_objects.py).

The condition, term by term: `code_version_changed()` is true once, on the tick that first sees another definition; `missing()`
alone would hold on every tick until a run succeeds, and a registry that cannot be reached would be asked for run after run
(368,000 were seen once), so `newly_true()` takes its edge; `initial_evaluation()` gives a new code location that edge once;
`~in_progress()` leaves a run that is under way alone.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of its functions as they are.

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg

from millwright.definitions import Definitions
from platform_assets import keys, specs
from platform_assets.provenance import SAME_DATA
from resources import FeatureStoreResource

FOLLOW = (
    (dg.AutomationCondition.missing().newly_true() | dg.AutomationCondition.code_version_changed())
    & ~dg.AutomationCondition.in_progress()
).with_label("definition_changed")


def registration(definitions: Definitions) -> dg.AssetsDefinition:
    """One multi_asset over every feast spec: one registry, one apply, whichever views are asked for."""

    @dg.multi_asset(
        name="register",
        specs=[spec.replace_attributes(automation_condition=FOLLOW) for spec in specs.feast(definitions)],
        can_subset=True,
        description="Register the definitions with Feast.",
    )
    def register(context: dg.AssetExecutionContext, feature_store: FeatureStoreResource) -> Iterator[Any]:
        began = time.monotonic()
        words = feature_store.register(definitions)
        seconds = time.monotonic() - began
        for view_id, view in definitions.feature_views.items():
            key = keys.feast(view_id)
            if key in context.selected_asset_keys:
                yield dg.MaterializeResult(
                    asset_key=key,
                    data_version=dg.DataVersion(SAME_DATA),  # what online/ depends on is the definition, by its code version
                    metadata={
                        "rows": len(view.features),
                        "seconds": round(seconds, 3),
                        "changed": "; ".join(words) or "nothing",
                        "features": ", ".join(feature.name for feature in view.features),
                    },
                )

    return register


def follower() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions every half minute."""
    return dg.AutomationConditionSensorDefinition(
        "definitions",
        target=dg.AssetSelection.groups("feast", "models"),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers a feature view with Feast, and verifies a model, when its definition is new or has changed.",
    )
