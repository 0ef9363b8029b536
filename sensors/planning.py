"""Which run to ask for: a pure function of the ledger, of what is due, and of what Dagster says of earlier runs.

Belongs here: plans, attempts, patience. Does not: any database, clock or Dagster.

A *plan* is a set of batches that one run lands; the ledger keeps a batch's plan and attempt. The run key is plan and attempt: to
ask twice for the same is one run. A run that ended without finishing its batches is asked for again under the next attempt.
At most one run is under way: what arrives meanwhile gathers and becomes the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby, takewhile
from typing import Literal, Protocol

MAX_ATTEMPTS = 5
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=10)
CATCH_UP = "catch-up"

State = Literal["active", "succeeded", "failed"]


class WaitingBatch(Protocol):
    """What planning needs to know of a batch that waits (millwright.landing.batches.Waiting)."""

    @property
    def batch_id(self) -> int: ...  # noqa: D102
    @property
    def plan(self) -> str | None: ...  # noqa: D102
    @property
    def plan_attempt(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Run:
    """A run of the job as Dagster knows it; `ended` is UTC, None while it is under way."""

    plan: str
    attempt: int
    state: State
    ended: datetime | None = None


@dataclass(frozen=True)
class Request:
    """A run to ask for. `assign`: the ledger must be told before Dagster is."""

    plan: str
    attempt: int
    batches: tuple[int, ...] = ()
    assign: bool = True

    @property
    def run_key(self) -> str:
        """Dagster makes one run of it, however often it is asked for."""
        return f"{self.plan}:{self.attempt}"


@dataclass(frozen=True)
class Decision:
    """At most one request; why there is none; what was given up; when to look again (None: only on news)."""

    request: Request | None = None
    reason: str = ""
    given_up: tuple[str, ...] = ()
    retry_at: datetime | None = None


def decide(
    waiting: Sequence[WaitingBatch],
    due: Sequence[str],
    runs: Sequence[Run],
    *,
    now: datetime,
    new_plan: str,
    max_batches: int,
) -> Decision:
    """The next run.

    `waiting`: batches to land; `due`: what else is to be done (`refresh machine_vitals_v1`, `publish …`); `runs`: those under
    way and those of the plans named in `waiting` and of `catch_up_plan(due)`, in any order; `new_plan`: a fresh id; times UTC.
    """
    if active := [run for run in runs if run.state == "active"]:
        held = f"; {_count(len(waiting))} for the next" if waiting else ""
        return Decision(reason=f"Run {active[0].plan}:{active[0].attempt} is under way{held}.")
    given_up: list[str] = []
    pauses: list[datetime] = []
    by_plan = sorted((batch for batch in waiting if batch.plan), key=lambda batch: str(batch.plan))
    for plan, group in groupby(by_plan, key=lambda batch: str(batch.plan)):
        batches = list(group)
        attempt = max(batch.plan_attempt for batch in batches)
        ids = tuple(sorted(batch.batch_id for batch in batches))[:max_batches]
        ended = _latest(runs, plan, attempt)
        if ended is None:
            # Planned, but Dagster knows no such run: the tick died in between, or it is about to appear. The key decides.
            return Decision(Request(plan, attempt, ids, assign=False), given_up=tuple(given_up))
        if attempt >= MAX_ATTEMPTS:
            given_up.append(f"batches {_ids(ids)}: {attempt} runs of plan {plan} ended without landing them")
            continue
        again = _after(ended, attempt)
        if again <= now:
            return Decision(Request(plan, attempt + 1, ids), given_up=tuple(given_up))
        pauses.append(again)
    if new := tuple(sorted(batch.batch_id for batch in waiting if not batch.plan))[:max_batches]:
        return Decision(Request(new_plan, 1, new), given_up=tuple(given_up))
    pause = Decision(given_up=tuple(given_up))
    if pauses:
        reason = f"{_count(len(waiting))} again in {_seconds(min(pauses) - now)} after a failed run."
        pause = Decision(reason=reason, given_up=tuple(given_up), retry_at=min(pauses))
    return _catch_up(due, runs, now, pause) if due else pause


def catch_up_plan(due: Sequence[str]) -> str:
    """The plan for work without batches: the same work has the same name, so that its failures are counted."""
    return f"{CATCH_UP}-{hashlib.sha256(chr(10).join(sorted(due)).encode()).hexdigest()[:8]}"


def _catch_up(due: Sequence[str], runs: Sequence[Run], now: datetime, pause: Decision) -> Decision:
    """Pauses grow with every run for the same work, whether it failed or only did not help, and shrink again after an hour."""
    plan = catch_up_plan(due)
    earlier = sorted((run for run in runs if run.plan == plan and run.ended), key=lambda run: run.attempt)
    failures = len(list(takewhile(lambda run: run.state == "failed", reversed(earlier))))
    if failures >= MAX_ATTEMPTS:
        return replace(pause, given_up=(*pause.given_up, f"{', '.join(due)}: {failures} runs in a row failed"))
    if recent := [run for run in earlier if run.ended and run.ended > now - timedelta(hours=1)]:
        again = _after(recent[-1], len(recent))
        if again > now:
            reason = f"{pause.reason} {', '.join(due)} again in {_seconds(again - now)}.".strip()
            return replace(pause, reason=reason, retry_at=min(filter(None, (pause.retry_at, again))))
    attempt = earlier[-1].attempt + 1 if earlier else 1
    return Decision(Request(plan, attempt, assign=False), given_up=pause.given_up)


def _latest(runs: Sequence[Run], plan: str, attempt: int) -> Run | None:
    return next((run for run in runs if (run.plan, run.attempt) == (plan, attempt)), None)


def _after(run: Run, attempts: int) -> datetime:
    assert run.ended is not None
    return run.ended + min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE)


def _count(batches: int) -> str:
    return "1 batch waits" if batches == 1 else f"{batches} batches wait"


def _seconds(pause: timedelta) -> str:
    return f"{max(pause.total_seconds(), 0):.0f} s"


def _ids(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:10])) + (" …" if len(ids) > 10 else "")
