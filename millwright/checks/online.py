"""Checks of what a publish left in Redis.

Belongs here: parity as a check. Does not: the comparison itself (compare.py).
"""

from __future__ import annotations

from typing import Any

import psycopg
import redis

from millwright.checks import catalogue
from millwright.checks.result import CheckResult, Seen, evaluate
from millwright.definitions import Definitions, FeatureView

SAMPLE = 1_000


def check_published(
    conn: psycopg.Connection[Any], client: redis.Redis, definitions: Definitions, view: FeatureView, *, project: str
) -> list[CheckResult]:
    """Compare SAMPLE entities of a published view in Redis with its latest rows in Postgres."""
    from millwright.compare import compare_online  # here: Dagster's code location reads the catalogue of checks only

    def parity() -> Seen:
        found = compare_online(conn, client, definitions, view, project=project, sample=SAMPLE)
        counts = {"equal": found.equal, "missing": found.missing, "extra": found.extra, "older": found.older}
        counts |= {"newer": found.newer, "different": found.different, "undecodable": found.undecodable}
        unequal = {cause: count for cause, count in counts.items() if count and cause != "equal"}
        return Seen(
            not unequal,
            f"{found.equal} of {found.entities} entities equal"
            + "".join(f", {count} {cause}" for cause, count in unequal.items()),
            f"{found.entities} of {found.entities} entities equal",
            offending=[difference.model_dump(mode="json") for difference in found.first_differences],
            numbers={"entities": found.entities, **counts},
        )

    return [evaluate(("online", view.id), check, parity) for check in catalogue.ONLINE]
