"""The job `refresh`: every warehouse, features and online asset.

Belongs here: selection, tags. Does not: what the step does (refresh.py), when it is asked for (sensors/).
"""

from __future__ import annotations

import dagster as dg

from sensors.planner import JOB


def refresh_job(asset: dg.AssetsDefinition) -> dg.UnresolvedAssetJobDefinition:
    """Launched without a partition by the sensor: it marks the days that it touches."""
    return dg.define_asset_job(
        JOB,
        # Checks are evaluated where a step has written. Planned ones that are not would show as failed, and each plan is a write.
        selection=dg.AssetSelection.assets(asset).without_checks(),
        description="Land what arrived, recompute the features it changes, publish them. The sensor `planner` asks for it.",
    )
