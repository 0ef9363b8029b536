"""The sensor `planner`: waits for news, and asks for a run of the job `refresh` when there is work.

Belongs here: one tick from its start to its run request. Does not: observing, deciding, waiting (the modules beside it).

A tick waits well under the minute that Dagster gives it, so a file is noticed in a fraction of a second. What a delivery or an
absent store can cause is told as the reason of a skip; anything else raises, and is red in the UI. There is no cursor that such a
tick could lose: the ledger knows what was delivered and planned.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of its functions as they are.

import time
import uuid
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import redis

from millwright.definitions import Definitions
from millwright.settings import NotConfigured, Settings
from resources import PostgresResource, RedisResource
from sensors import observing
from sensors.planning import Decision, catch_up_plan, decide
from sensors.waiting import APPLIED, INBOX, News, listening

JOB, STEP = "refresh", "land_refresh_publish"
TICK_SECONDS = 45.0
TOPIC_SECONDS = 1.0  # between looks at Kafka's end offsets
HELD_SECONDS = 0.5  # between looks while something waits: for a run to end, for a file to be whole
IDLE_SECONDS = 10.0  # between looks when nothing tells: a lost notice costs so long at most
BURST_SECONDS = 2.0  # how long files that keep coming are gathered into one run


def planner(definitions: Definitions, tick_seconds: float = TICK_SECONDS) -> dg.SensorDefinition:
    """The sensor for one feature repository."""

    @dg.sensor(
        name="planner",
        job_name=JOB,
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Waits for files, uploads, Kafka messages and unread changes; asks for one run that takes them all.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, postgres: PostgresResource, online_store: RedisResource
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            with ExitStack() as stack:
                conn = stack.enter_context(postgres.connect())
                client = stack.enter_context(online_store.connect())
                settings = postgres.settings()
                news = stack.enter_context(listening(conn, settings.inbox))
                return Tick(context, conn, client, settings, definitions).run(news, tick_seconds)
        except NotConfigured as error:
            return dg.SkipReason(str(error))
        except psycopg.errors.UndefinedTable:
            return dg.SkipReason("The platform's tables are missing: run `millwright apply`.")
        except psycopg.OperationalError as error:
            return dg.SkipReason(f"PostgreSQL does not answer, so nothing is planned; nothing is lost: {error}")

    return sensor


class Tick:
    """One evaluation: look, decide, wait, until there is a run to ask for or the time is up."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        conn: psycopg.Connection[Any],
        client: redis.Redis,
        settings: Settings,
        definitions: Definitions,
    ) -> None:
        self._context, self._conn, self._client = context, conn, client
        self._settings, self._definitions = settings, definitions
        self._problems: dict[str, list[str]] = {}
        self._waiting = 0

    def run(self, news: News, seconds: float) -> dg.SensorResult | dg.SkipReason:
        """Ends at once when definitions were applied: the next tick has the new ones."""
        deadline = time.monotonic() + seconds
        heard = {INBOX}
        topics_at = look_at = 0.0
        while True:
            now = time.monotonic()
            arrived = self._gather() if INBOX in heard or self._settling() else 0
            if now >= topics_at:
                arrived += self._noted("topics", observing.observe_topics(self._conn, self._settings, self._definitions))
                topics_at = time.monotonic() + TOPIC_SECONDS
            if heard or arrived or now >= look_at:
                decision = self._decide()
                if decision.request:
                    return self._ask(decision)
                look_at = time.monotonic() + (HELD_SECONDS if self._waiting else IDLE_SECONDS)
            if APPLIED in heard:
                return dg.SkipReason("Definitions were applied: the next tick has them.")
            if time.monotonic() >= deadline:
                return dg.SkipReason(self._reason(decision))
            heard = news.wait(max(0.0, min(look_at, self._topics(topics_at), self._files(), deadline) - time.monotonic()))

    def _gather(self) -> int:
        """Receive files until none comes for a moment: a burst is one run."""
        arrived, until = 0, time.monotonic() + BURST_SECONDS
        while True:
            more = self._noted("inbox", observing.observe_inbox(self._conn, self._settings, self._definitions))
            arrived += more
            if not more or time.monotonic() > until:
                return arrived

    def _noted(self, what: str, found: observing.Arrivals) -> int:
        self._problems[what] = found.problems
        return found.batches

    def _decide(self) -> Decision:
        batches = observing.waiting_batches(self._conn, self._settings)
        self._problems["ledger"] = observing.given_up(self._conn)
        due, self._problems["stores"] = observing.due_work(self._conn, self._client, self._settings, self._definitions)
        plans = {batch.plan for batch in batches if batch.plan} | ({catch_up_plan(due)} if due else set())
        self._waiting = len(batches) + len(due)
        return decide(
            batches,
            due,
            observing.runs_of(self._context.instance, JOB, plans),
            now=datetime.now(UTC),
            new_plan=f"plan-{uuid.uuid4().hex[:12]}",
            max_batches=self._settings.max_batches_per_run,
        )

    def _ask(self, decision: Decision) -> dg.SensorResult:
        """The ledger first: a kill between the two is found by the next tick, which asks for the same key again."""
        from millwright.landing.batches import assign_plan

        request = decision.request
        assert request is not None
        if request.assign:
            assign_plan(self._conn, list(request.batches), request.plan, request.attempt)
        self._report(decision)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=request.run_key,
                    run_config={"ops": {STEP: {"config": {"batches": list(request.batches)}}}},
                    tags={observing.PLAN_TAG: request.plan, observing.ATTEMPT_TAG: str(request.attempt)},
                )
            ]
        )

    def _reason(self, decision: Decision) -> str:
        self._report(decision)
        given_up = [f"Given up, needs you: {what}. See its runs and `millwright batches`." for what in decision.given_up]
        told = [decision.reason, *given_up, *(problem for found in self._problems.values() for problem in found)]
        topics = f" and {len(self._definitions.topics)} topics" if self._definitions.topics else ""
        return " ".join(filter(None, told)) or (
            f"Nothing new in the inbox{topics}; {len(self._definitions.feature_views)} feature views are refreshed and published."
        )

    def _report(self, decision: Decision) -> None:
        for what in decision.given_up:
            self._context.log.error("Given up: %s", what)

    def _topics(self, at: float) -> float:
        return at if self._definitions.topics and self._settings.kafka_bootstrap else float("inf")

    def _files(self) -> float:
        return time.monotonic() + HELD_SECONDS if self._settling() else float("inf")

    def _settling(self) -> bool:
        return observing.settling(self._settings, self._definitions)
