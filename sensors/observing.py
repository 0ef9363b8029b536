"""Looks at the inbox, the topics and the stores: everything that planning needs to know.

Belongs here: calls to the domain that only insert planned batches or only read. Does not: deciding (planning.py), waiting.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import redis

from millwright.definitions import Definitions
from millwright.settings import Settings
from sensors.planning import Run, State, WaitingBatch

log = logging.getLogger(__name__)
PLAN_TAG, ATTEMPT_TAG = "millwright/plan", "millwright/attempt"
RUNS_LOOKED_AT = 50
SETTLING_SECONDS = 5.0
_STATES: dict[dg.DagsterRunStatus, State] = {
    dg.DagsterRunStatus.SUCCESS: "succeeded",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}
# A run that was made but never queued is not under way: asking for its key again queues it.
_ACTIVE = [status for status in dg.DagsterRunStatus if status not in _STATES and status is not dg.DagsterRunStatus.NOT_STARTED]


@dataclass
class Arrivals:
    """What the observers did. `problems`: what could not be looked at, and why; planning goes on without it."""

    batches: int = 0
    problems: list[str] = field(default_factory=list)


def observe_inbox(conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions) -> Arrivals:
    """Receive what lies in the inbox; a file that no dataset takes stays, and is a problem to tell."""
    from millwright.landing.inbox import problems, receive_inbox

    found = _guarded("The inbox", lambda: len(receive_inbox(conn, settings, definitions)))
    found.problems += problems(settings, definitions)
    return found


def observe_topics(conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions) -> Arrivals:
    """Plan new offsets of every defined topic."""
    if not definitions.topics or settings.kafka_bootstrap is None:
        return Arrivals()
    from millwright.landing.kafka import observe

    return _guarded("Kafka", lambda: len(observe(conn, settings, definitions)))


def settling(settings: Settings, definitions: Definitions) -> bool:
    """Whether a file lies in the inbox that was written to just now, and so was left for the next look."""
    since = time.time() - SETTLING_SECONDS
    return any(_changed(path) >= since for name in definitions.datasets for path in (settings.inbox / name).glob("[!.]*"))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # taken meanwhile


def waiting_batches(conn: psycopg.Connection[Any], settings: Settings) -> list[WaitingBatch]:
    """Batches to land."""
    from millwright.landing.batches import waiting

    return list(waiting(conn, settings.max_batches_per_run))


def given_up(conn: psycopg.Connection[Any]) -> list[str]:
    """Batches that wait for a person."""
    from millwright.landing.batches import given_up

    return given_up(conn)


def due_work(
    conn: psycopg.Connection[Any], client: redis.Redis, settings: Settings, definitions: Definitions
) -> tuple[list[str], list[str]]:
    """What is to be refreshed or published, and problems. Without Redis nothing is due: a run could not end well."""
    from millwright.features.refresh import stale_views
    from millwright.online.publish import unpublished_views

    try:
        unpublished = unpublished_views(conn, client, definitions, project=settings.feast_project)
    except redis.RedisError as error:
        return [], [f"Redis does not answer ({error}): features are published once it does."]
    stale = [f"refresh {view_id}" for view_id in stale_views(conn, definitions)]
    return [*stale, *(f"publish {view_id}" for view_id in unpublished)], []


def runs_of(instance: dg.DagsterInstance, job: str, plans: set[str]) -> list[Run]:
    """The planner's runs that are under way, and the newest ones of `plans`."""
    records = list(instance.get_run_records(dg.RunsFilter(job_name=job, statuses=_ACTIVE)))
    if plans:
        records += instance.get_run_records(
            dg.RunsFilter(job_name=job, statuses=list(_STATES), tags={PLAN_TAG: sorted(plans)}), limit=RUNS_LOOKED_AT
        )
    found = []
    for record in records:
        run = record.dagster_run
        if plan := run.tags.get(PLAN_TAG):
            state = _STATES.get(run.status, "active")
            ended = None if state == "active" else record.update_timestamp
            found.append(Run(plan, int(run.tags.get(ATTEMPT_TAG, "1")), state, ended))
    return found


def _guarded(what: str, look: Any) -> Arrivals:
    """A store that is away ends the tick; anything else is reported, and planning goes on: a sensor that raises plans nothing."""
    try:
        return Arrivals(batches=look())
    except psycopg.OperationalError:
        raise
    except Exception as error:
        log.exception("%s could not be observed", what, exc_info=error)
        return Arrivals(problems=[f"{what} could not be looked at: {type(error).__name__}: {error}"])
