"""The only order of calls: land → refresh → publish.

Belongs here: which step follows which and what stops what. Does not: the steps themselves, Dagster, schedules.
The Dagster job, tests and notebooks all iterate `run` and report each step as it has been committed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import date

import psycopg
import redis
from pydantic import BaseModel, ConfigDict

from millwright.checks import CheckResult, check_published, check_view, check_warehouse
from millwright.definitions import FeatureView
from millwright.features.refresh import EngineName, RefreshReport, refresh, stale_views
from millwright.landing.batches import Receipt
from millwright.landing.load import land
from millwright.online.publish import PublishReport, publish, unpublished_views
from millwright.platform import Platform
from millwright.registry import applied, keys_expire

Days = tuple[date, date]
log = logging.getLogger(__name__)


class Checked(BaseModel):
    """Checks that were evaluated after a step."""

    model_config = ConfigDict(frozen=True)
    results: list[CheckResult]


class Failed(BaseModel):
    """A step that failed: what, why, and what to do. Its transaction was rolled back; other views went on."""

    model_config = ConfigDict(frozen=True)
    step: str
    view_id: str
    error: str


Step = Receipt | RefreshReport | PublishReport | Checked | Failed


def run(platform: Platform, *, batches: Sequence[int] = (), run_id: str | None = None) -> Iterator[Step]:
    """Land `batches` in order, then refresh every view with unread changes, then publish what is unpublished.

    Yields each step's report once it is committed. A batch that is refused or fails does not stop the others;
    a view that fails or whose blocking check fails is not published, the others are. Raises only when a store is unreachable.
    """
    receipts = []
    for batch_id in batches:
        receipt = land(platform.conn, platform.settings, platform.definitions, batch_id, run_id=run_id)
        receipts.append(receipt)
        yield receipt
    if receipts:
        yield Checked(results=check_warehouse(platform.conn, platform.definitions, receipts))
    yield from catch_up(platform)


def catch_up(platform: Platform) -> Iterator[Step]:
    """Refresh and publish whatever the change log and the histories say is due; nothing when nothing is."""
    held: set[str] = set()
    for view_id in stale_views(platform.conn, platform.definitions):
        yield from _refreshed(platform, platform.definitions.feature_views[view_id], None, held)
    project = platform.settings.feast_project
    for view_id in unpublished_views(platform.conn, platform.redis, platform.definitions, project=project):
        if view_id not in held:
            yield from _published(platform, platform.definitions.feature_views[view_id], None)


def rebuild(
    platform: Platform, view_ids: Sequence[str], days: Days, *, features: bool, online: bool, on: EngineName = "duckdb"
) -> Iterator[Step]:
    """Recompute (`features`, on the engine `on`) and republish (`online`) the given views for the inclusive UTC `days`."""
    held: set[str] = set()
    for view_id in view_ids:
        view = platform.definitions.feature_views[view_id]
        if features:
            yield from _refreshed(platform, view, days, held, on)
        if online and view_id not in held and applied(platform.conn)[view_id].published:
            yield from _published(platform, view, days)


def _refreshed(
    platform: Platform, view: FeatureView, days: Days | None, held: set[str], on: EngineName = "duckdb"
) -> Iterator[Step]:
    more = True
    while more:
        try:
            report = refresh(platform.conn, platform.settings, platform.definitions, view, days=days, on=on)
        except Exception as error:  # noqa: BLE001 - reported as a failed step; the other views go on
            held.add(view.id)
            yield _failed("refresh", view, error)
            return
        yield report
        more = report.more
    results = check_view(platform.conn, platform.definitions, view)
    yield Checked(results=results)
    if blocked := [result.name for result in results if result.blocking and not result.passed]:
        held.add(view.id)
        yield Failed(
            step="checks",
            view_id=view.id,
            error=f"{view.id} was not published, because a blocking check failed: {', '.join(blocked)}. Redis keeps what it had; "
            "the new rows are in Postgres. Correct the data or the definition; the next run publishes.",
        )


def _published(platform: Platform, view: FeatureView, days: Days | None) -> Iterator[Step]:
    project = platform.settings.feast_project
    try:
        report = publish(platform.conn, platform.redis, platform.definitions, view, project=project, days=days)
    except Exception as error:  # noqa: BLE001 - reported as a failed step; the other views go on
        yield _failed("publish", view, error)
        return
    yield report
    expire = keys_expire(platform.settings)
    results = check_published(platform.conn, platform.redis, platform.definitions, view, project=project, expire=expire)
    yield Checked(results=results)


def _failed(step: str, view: FeatureView, error: Exception) -> Failed:
    """One view's failure, for the report; a store that is away fails every view alike, so it is raised instead."""
    if isinstance(error, psycopg.OperationalError | redis.ConnectionError | redis.TimeoutError):
        raise error
    log.exception("%s of %s failed", step, view.id, exc_info=error)
    return Failed(step=step, view_id=view.id, error=f"{type(error).__name__}: {error}")
