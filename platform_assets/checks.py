"""Asset checks: the catalogue of the domain as Dagster specs, its results as evaluations.

Belongs here: names and how a result looks in the UI. Does not: what is checked (millwright/checks/). Checks are not partitioned:
an evaluation lists the days that fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from millwright.checks.catalogue import ONLINE, ONLINE_WHOLE, VIEW, WAREHOUSE, Check
from millwright.checks.result import CheckResult
from millwright.definitions import Definitions
from platform_assets import keys
from platform_assets.metadata import preview

SAMPLE = Check(
    name="landed_sample",
    description="A sample of landed rows fits the dagster-pandas type made from the dataset. Runs when a partition is "
    "materialized by hand or in a backfill: pandas takes seconds to import, which the sensor's runs do not spend.",
)


def specs(definitions: Definitions) -> list[dg.AssetCheckSpec]:
    """Every check of every asset that `refresh` computes."""
    found = [_spec(keys.warehouse(target), checks) for target, checks in WAREHOUSE.items()]
    found.append(_spec(keys.warehouse("measurements"), [SAMPLE]))
    for view_id in definitions.feature_views:
        found += [_spec(keys.features(view_id), VIEW), _spec(keys.online(view_id), [*ONLINE, *ONLINE_WHOLE])]
    return [spec for group in found for spec in group]


def evaluation(result: CheckResult) -> dg.AssetCheckEvaluation:
    """Observed against expected; an error where it blocks, else a warning."""
    metadata: dict[str, Any] = {
        "observed": result.observed,
        "expected": result.expected,
        **result.numbers,
    }
    if result.failing_days:
        metadata["failing_days"] = ", ".join(day.isoformat() for day in result.failing_days)
    if result.offending:
        metadata["offending"] = dg.MetadataValue.md(preview(result.offending))
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(list(result.asset)),
        check_name=result.name,
        passed=result.passed,
        metadata=metadata,
        severity=dg.AssetCheckSeverity.ERROR if result.blocking else dg.AssetCheckSeverity.WARN,
        description=f"{result.observed} (expected: {result.expected})",
        blocking=result.blocking,
    )


def _spec(key: dg.AssetKey, checks: Iterable[Check]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name=check.name, asset=key, description=check.description, blocking=check.blocking) for check in checks
    ]
