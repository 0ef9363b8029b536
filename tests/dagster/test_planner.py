"""The planner by real ticks, on real Postgres and Redis."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from millwright.definitions import load
from millwright.settings import Settings
from platform_assets.definitions import build_definitions
from sensors.planner import planner
from tests import platforms
from tests.dagster.conftest import NOON, Place, evaluate, rows, with_folders_only


def batches(request: Any) -> list[int]:
    return request.run_config["ops"]["land_refresh_publish"]["config"]["batches"]


def wait_for(found: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_nothing_to_do_is_a_skip_that_informs(place: Place):
    answer = place.tick()
    assert not answer.run_requests
    assert "Nothing new in the inbox and 1 topics; 1 feature views are refreshed and published." in answer.skip_message


def test_a_file_is_one_run_and_then_nothing_is_left(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (request,) = place.tick().run_requests
    assert request.job_name == "refresh" or request.job_name is None
    assert batches(request) == [1]
    assert place.run(request).success
    assert not place.tick().run_requests


def test_two_files_at_once_are_one_run(place: Place):
    place.drop("b.csv", *rows("press-02", NOON, 3))
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (request,) = place.tick().run_requests
    assert len(batches(request)) == 2


def test_a_burst_of_500_files_is_one_run(place: Place):
    for number in range(500):
        place.drop(f"{number:03}.csv", *rows(f"press-{number:03}", NOON, 1))
    (request,) = place.tick().run_requests
    assert len(batches(request)) == 500
    assert list((place.settings.inbox / "fleet").iterdir()) == []


def test_i2_a_file_that_is_delivered_again_asks_for_no_run(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    assert place.run(place.tick().run_requests[0]).success
    place.drop("again.csv", *rows("press-01", NOON, 3))
    answer = place.tick()
    assert not answer.run_requests
    assert place.one("select count(*) from warehouse.measurements") == 3
    assert list((place.settings.inbox / "fleet").iterdir()) == []


def test_a_crash_between_plan_and_run_is_asked_for_again_under_the_same_key(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (first,) = place.tick().run_requests  # the daemon dies before it makes the run
    place.drop("b.csv", *rows("press-02", NOON, 3))
    (again,) = place.tick().run_requests
    assert again.run_key == first.run_key
    assert batches(again) == batches(first) == [1]
    assert place.run(again).success
    assert batches(place.tick().run_requests[0]) == [2]


def test_a_lost_cursor_changes_nothing(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (first,) = place.tick(cursor="something").run_requests
    answer = place.tick(cursor=None)
    assert [request.run_key for request in answer.run_requests] == [first.run_key]
    assert answer.cursor is None


def test_while_a_run_is_under_way_files_gather(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (first,) = place.tick().run_requests
    place.record(first, dg.DagsterRunStatus.STARTED)
    place.drop("b.csv", *rows("press-02", NOON, 3))
    answer = place.tick()
    assert not answer.run_requests
    assert f"Run {first.run_key} is under way; 2 batches wait for the next." in answer.skip_message


def test_a_run_that_died_is_asked_for_again_as_the_next_attempt(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (first,) = place.tick().run_requests
    place.record(first, dg.DagsterRunStatus.FAILURE)
    paused = place.tick()
    assert not paused.run_requests
    assert "1 batch waits again in" in paused.skip_message
    monkeypatch.setattr("sensors.planning.FIRST_PAUSE", timedelta(0))
    (again,) = place.tick().run_requests
    assert again.run_key == first.run_key.replace(":1", ":2")
    assert place.run(again).success


def test_what_a_killed_run_left_unrefreshed_is_caught_up(place: Place):
    from millwright.landing.load import land

    place.drop("a.csv", *rows("press-01", NOON, 3))
    place.tick()
    land(place.conn, place.settings, load(place.settings.feature_repo), 1)
    (request,) = place.tick().run_requests
    assert request.run_key.startswith("catch-up-")
    assert batches(request) == []
    assert place.run(request).success
    assert place.days("online", "machine_vitals_v1") == {NOON.date()}
    assert not place.tick().run_requests


def test_while_redis_is_away_files_are_planned_all_the_same(place: Place):
    environment = place.settings.home / "stack.env"
    environment.write_text(environment.read_text().replace(place.settings.require("redis_url"), "redis://127.0.0.1:1/0"))
    assert "Redis does not answer" in place.tick().skip_message
    place.drop("a.csv", *rows("press-01", NOON, 3))
    assert len(place.tick().run_requests) == 1


def test_without_postgres_a_tick_is_skipped_with_the_reason(place: Place, tmp_path: Path):
    environment = place.settings.home / "stack.env"
    environment.write_text(
        "MILLWRIGHT_POSTGRES_URL='postgresql://app@127.0.0.1:1/x'\nMILLWRIGHT_REDIS_URL='redis://127.0.0.1:1/0'\n"
    )
    assert "PostgreSQL does not answer" in place.tick().skip_message
    environment.unlink()
    assert "`millwright up`" in place.tick().skip_message


def test_before_the_first_apply_a_tick_says_so(tmp_path: Path, empty_database: str, redis_url: str):
    settings = with_folders_only(platforms.settings(tmp_path, empty_database, redis_url, feast=False))
    definitions = build_definitions(settings, sensors=[planner(load(settings.feature_repo), tick_seconds=0)])
    answer = evaluate(definitions, dg.DagsterInstance.ephemeral())
    assert answer.skip_message is not None and "millwright apply" in answer.skip_message


def test_a_folder_of_no_dataset_is_told(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3), dataset="fleat")
    answer = place.tick()
    assert not answer.run_requests
    assert "did you mean fleet?" in answer.skip_message


class Patient:
    """A tick that waits, in a thread."""

    def __init__(self, place: Place, seconds: float = 30) -> None:
        self.place = place
        self.answer: Any = None
        definitions = load(place.settings.feature_repo)
        self.definitions = build_definitions(place.settings, sensors=[planner(definitions, tick_seconds=seconds)])
        self.thread = threading.Thread(target=self._tick)
        self.thread.start()
        connected = "select count(*) from pg_stat_activity where application_name = 'millwright dagster' and state = 'idle'"
        wait_for(lambda: place.one(connected))

    def _tick(self) -> None:
        self.answer = evaluate(self.definitions, self.place.instance)

    def result(self) -> Any:
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.answer


def test_a_waiting_tick_notices_a_file(place: Place):
    waiting = Patient(place)
    place.drop("a.csv", *rows("press-01", NOON, 3))
    assert len(waiting.result().run_requests) == 1


def test_a_waiting_tick_notices_an_upload(place: Place):
    from millwright.landing.receive import Delivery, receive

    waiting = Patient(place)
    path = place.settings.home / "a.csv"
    path.write_text("\n".join(["timestamp,machine_id,sensor_type,temperature", *rows("press-01", NOON, 3), ""]))
    definitions = load(place.settings.feature_repo)
    receive(
        place.conn,
        place.settings,
        definitions,
        path,
        dataset="fleet",
        file_name="a.csv",
        delivery=Delivery(),
        channel="upload",
        by="test",
    )
    assert len(waiting.result().run_requests) == 1


def test_a_file_that_is_still_written_is_taken_when_it_is_whole(place: Place):
    waiting = Patient(place)
    folder = place.settings.inbox / "fleet"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "a.csv").open("w") as file:
        for line in ["timestamp,machine_id,sensor_type,temperature", *rows("press-01", NOON, 12)]:
            print(line, file=file, flush=True)
            time.sleep(0.05)
    (request,) = waiting.result().run_requests
    assert place.run(request).success
    assert place.one("select count(*) from warehouse.measurements") == 12


def test_an_apply_ends_the_wait(place: Place):
    waiting = Patient(place)
    wait_for(lambda: place.conn.execute("select pg_notify('millwright', 'applied')") and not waiting.thread.is_alive())
    assert "Definitions were applied" in waiting.result().skip_message


def test_settings_of_another_project_are_not_mixed_in(place: Place, tmp_path: Path):
    resources = place.definitions.resources or {}
    assert resources["postgres"].settings().postgres_url == Settings(project=place.settings.project).postgres_url
