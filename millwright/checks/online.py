"""Checks of what a publish left in Redis.

Belongs here: parity as a check. Does not: the comparison itself (compare.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import redis

from millwright.checks import catalogue
from millwright.checks.result import CheckResult, Seen, evaluate
from millwright.definitions import Definitions, FeatureView

SAMPLE = 1_000


def check_published(
    conn: psycopg.Connection[Any],
    client: redis.Redis,
    definitions: Definitions,
    view: FeatureView,
    *,
    project: str,
    expire: timedelta | None = None,
    whole: bool = False,
) -> list[CheckResult]:
    """Compare a published view in Redis with its latest rows in Postgres: SAMPLE entities, or with `whole` every one.

    `expire`: as compare_online takes it.
    """
    from millwright.compare import CAUSES, compare_online  # here: Dagster's code location reads the catalogue of checks only
    from millwright.registry import applied

    def parity() -> Seen:
        known = applied(conn).get(view.id)
        status = known.status if known else "not applied"
        if status not in ("active", "deprecated"):
            return Seen(True, f"the view is {status}: it is not served", "nothing to compare")
        found = compare_online(conn, client, definitions, view, project=project, sample=None if whole else SAMPLE, expire=expire)
        counts: dict[str, int] = {cause: getattr(found, cause) for cause in CAUSES}
        unequal = {cause: count for cause, count in counts.items() if count and cause not in ("equal", "expired")}
        return Seen(
            found.same,
            f"{found.equal} of {found.entities} entities equal"
            + "".join(f", {count} {cause}" for cause, count in unequal.items())
            + ("" if found.same else f": `millwright compare online {view.id} --repair` repairs it"),
            f"{found.entities} of {found.entities} entities equal",
            offending=[difference.model_dump(mode="json") for difference in found.first_differences],
            numbers={"entities": found.entities, **counts},
        )

    checks = catalogue.ONLINE_WHOLE if whole else catalogue.ONLINE
    return [evaluate(("online", view.id), check, parity) for check in checks]
