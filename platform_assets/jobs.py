"""The job `refresh`: every warehouse, features and online asset; the job `parity` with its schedule: all of Redis compared.

Belongs here: selection, tags, the hour. Does not: what the step does (refresh.py), when a refresh is asked for (sensors/).
"""

from __future__ import annotations

import dagster as dg

from millwright.checks.catalogue import ONLINE_WHOLE
from millwright.definitions import Definitions
from platform_assets import keys
from sensors.planner import JOB

PARITY = "parity"
EVERY_NIGHT = "23 3 * * *"


def refresh_job(asset: dg.AssetsDefinition) -> dg.UnresolvedAssetJobDefinition:
    """Launched without a partition by the sensor: it marks the days that it touches."""
    return dg.define_asset_job(
        JOB,
        # Checks are evaluated where a step has written. Planned ones that are not would show as failed, and each plan is a write.
        selection=dg.AssetSelection.assets(asset).without_checks(),
        description="Land what arrived, recompute the features it changes, publish them. The sensor `planner` asks for it.",
    )


def parity_job(definitions: Definitions) -> dg.UnresolvedAssetJobDefinition:
    """The check `parity_whole` of every online view, on what is there."""
    whole = [
        dg.AssetCheckKey(keys.online(view_id), check.name) for view_id in definitions.feature_views for check in ONLINE_WHOLE
    ]
    return dg.define_asset_job(
        PARITY,
        selection=dg.AssetSelection.checks(*whole),
        description="Compare every entity's newest row in Postgres with Redis. `millwright compare online --repair` repairs.",
    )


def parity_schedule() -> dg.ScheduleDefinition:
    """Every night, in UTC; a sample is compared after each publish anyway."""
    return dg.ScheduleDefinition(
        name=PARITY,
        job_name=PARITY,
        cron_schedule=EVERY_NIGHT,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compares all of Redis with Postgres once a night.",
    )
