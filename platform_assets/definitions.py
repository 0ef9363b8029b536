"""Puts everything together: what the code server loads.

Belongs here: `build_definitions`, and `defs` for `-m platform_assets.definitions`. Does not: any asset or sensor itself.
Loads without any server, and without feast, pandas or ibis.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from millwright.definitions import load
from millwright.settings import Settings
from platform_assets import jobs, specs
from platform_assets.models import models
from platform_assets.refresh import refresh_asset
from platform_assets.registration import follower, registration
from resources import FeatureStoreResource, KafkaResource, PostgresResource, RedisResource
from sensors.planner import planner


def build_definitions(settings: Settings | None = None, **overrides: Any) -> dg.Definitions:
    """Fresh definitions from the feature repository of `settings`; `overrides` replace arguments of dg.Definitions.

    Raises DefinitionErrors with every mistake in the repository: Dagster then shows them and keeps serving what it had.
    """
    settings = settings or Settings()
    definitions = load(settings.feature_repo)
    refresh = refresh_asset(settings, definitions)
    place: dict[str, Any] = {"project": str(settings.project), "home": str(settings.home)}
    arguments: dict[str, Any] = {
        "assets": [
            *specs.landing(definitions),
            refresh,
            *([registration(definitions)] if definitions.feature_views else []),
            *([models(settings, definitions)] if definitions.models else []),
        ],
        "jobs": [jobs.refresh_job(refresh), *([jobs.parity_job(definitions)] if definitions.feature_views else [])],
        "schedules": [jobs.parity_schedule()] if definitions.feature_views else [],
        "sensors": [planner(definitions), *([follower()] if definitions.feature_views else [])],
        "resources": {
            "postgres": PostgresResource(**place),
            "online_store": RedisResource(**place),
            "kafka": KafkaResource(**place),
            "feature_store": FeatureStoreResource(**place),
        },
        # A second process per step costs as much as most steps' work.
        "executor": dg.in_process_executor,
    }
    return dg.Definitions(**{**arguments, **overrides})


defs = build_definitions()
