"""Planning is a pure function: what it asks for, when it waits, what it gives up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sensors.planning import CATCH_UP, LONGEST_PAUSE, MAX_ATTEMPTS, Decision, Request, Run, catch_up_plan, decide

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)


@dataclass(frozen=True)
class Batch:
    batch_id: int
    plan: str | None = None
    plan_attempt: int = 0


def plan(waiting: list[Batch], due: list[str] | None = None, runs: list[Run] | None = None, **changes: Any) -> Decision:
    arguments = {"now": NOW, "new_plan": "new", "max_batches": 500} | changes
    return decide(waiting, due or [], runs or [], **arguments)


def test_nothing_to_do_asks_for_nothing():
    assert plan([]) == Decision()


def test_a_burst_is_one_run_in_the_order_of_the_ledger():
    request = plan([Batch(n) for n in range(500, 0, -1)]).request
    assert request == Request("new", 1, tuple(range(1, 501)))
    assert request.run_key == "new:1"


def test_no_more_batches_than_allowed_the_oldest_first():
    assert plan([Batch(n) for n in range(10)], max_batches=3).request == Request("new", 1, (0, 1, 2))


def test_a_plan_that_dagster_does_not_know_is_asked_for_again_under_the_same_key():
    decision = plan([Batch(1, "p", 1), Batch(2, "p", 1), Batch(3)])
    assert decision.request == Request("p", 1, (1, 2), assign=False)


def test_a_plan_under_way_is_left_alone_and_new_batches_gather():
    decision = plan([Batch(1, "p", 1), Batch(3)], runs=[Run("p", 1, "active")])
    assert decision.request is None
    assert "p:1 is under way; 2 batches wait" in decision.reason


def test_a_run_that_ended_without_its_batches_is_followed_by_the_next_attempt_after_a_pause():
    runs = [Run("p", 1, "failed", NOW - timedelta(seconds=2))]
    held = plan([Batch(1, "p", 1)], runs=runs)
    assert held.request is None
    assert held.retry_at == NOW + timedelta(seconds=3)
    assert plan([Batch(1, "p", 1)], runs=runs, now=NOW + timedelta(seconds=3)).request == Request("p", 2, (1,))


def test_a_run_that_succeeded_without_landing_a_batch_counts_as_an_attempt():
    assert plan([Batch(1, "p", 1)], runs=[Run("p", 1, "succeeded", LONG_AGO)]).request == Request("p", 2, (1,))


def test_only_what_still_waits_is_asked_for_again():
    assert plan([Batch(2, "p", 1)], runs=[Run("p", 1, "failed", LONG_AGO)]).request == Request("p", 2, (2,))


def test_pauses_double_up_to_the_longest():
    def pause(attempt: int) -> timedelta:
        decision = plan([Batch(1, "p", attempt)], runs=[Run("p", attempt, "failed", NOW)])
        assert decision.retry_at is not None
        return decision.retry_at - NOW

    assert [pause(n).total_seconds() for n in range(1, MAX_ATTEMPTS)] == [5, 10, 20, 40]
    assert max(pause(n) for n in range(1, MAX_ATTEMPTS)) <= LONGEST_PAUSE


def test_a_poisoned_plan_is_given_up_and_told_and_holds_up_nothing():
    runs = [Run("p", MAX_ATTEMPTS, "failed", LONG_AGO)]
    decision = plan([Batch(1, "p", MAX_ATTEMPTS), Batch(2)], runs=runs)
    assert decision.request == Request("new", 1, (2,))
    assert "batches 1: 5 runs of plan p" in decision.given_up[0]
    assert plan([Batch(1, "p", MAX_ATTEMPTS)], runs=runs).request is None


def test_a_pausing_plan_does_not_hold_up_new_batches():
    decision = plan([Batch(1, "p", 1), Batch(2)], runs=[Run("p", 1, "failed", NOW)])
    assert decision.request == Request("new", 1, (2,))


def test_unread_changes_are_caught_up_without_batches():
    due = ["refresh a_v1", "publish b_v1"]
    request = plan([], due).request
    assert request == Request(catch_up_plan(due), 1, (), assign=False)
    assert request.plan.startswith(CATCH_UP)
    assert catch_up_plan(due) == catch_up_plan(due[::-1]) != catch_up_plan(due[:1])


def test_waiting_batches_come_before_catching_up_for_their_run_catches_up_too():
    assert plan([Batch(1)], ["refresh a_v1"]).request == Request("new", 1, (1,))


def test_catching_up_pauses_longer_each_time_and_ends_after_failures_in_a_row():
    due = ["refresh a_v1"]
    name = catch_up_plan(due)
    for failures in range(1, MAX_ATTEMPTS):
        runs = [Run(name, n, "failed", NOW) for n in range(1, failures + 1)]
        held = plan([], due, runs)
        assert held.retry_at == NOW + timedelta(seconds=5 * 2 ** (failures - 1))
        assert plan([], due, runs, now=held.retry_at).request == Request(name, failures + 1, (), assign=False)
    runs = [Run(name, n, "failed", LONG_AGO) for n in range(1, MAX_ATTEMPTS + 1)]
    decision = plan([], due, runs)
    assert decision.request is None
    assert decision.given_up == ("refresh a_v1: 5 runs in a row failed",)


def test_catch_ups_that_succeed_and_do_not_help_are_bounded_in_rate():
    due = ["refresh a_v1"]
    name = catch_up_plan(due)
    runs = [Run(name, n, "succeeded", NOW - timedelta(minutes=20 - n)) for n in range(1, 13)]
    assert plan([], due, runs).retry_at == NOW - timedelta(minutes=8) + LONGEST_PAUSE
    assert plan([], due, [Run(name, 12, "succeeded", LONG_AGO)]).request == Request(name, 13, (), assign=False)


def test_other_work_is_another_plan_with_a_fresh_count():
    runs = [Run(catch_up_plan(["refresh a_v1"]), n, "failed", LONG_AGO) for n in range(1, MAX_ATTEMPTS + 1)]
    assert plan([], ["refresh b_v1"], runs).request == Request(catch_up_plan(["refresh b_v1"]), 1, (), assign=False)


def test_a_pausing_plan_does_not_hold_up_catching_up():
    decision = plan([Batch(1, "p", 1)], ["refresh a_v1"], [Run("p", 1, "failed", NOW)])
    assert decision.request == Request(catch_up_plan(["refresh a_v1"]), 1, (), assign=False)
