"""`upload --wait` follows a batch through received, checked, landed, features, online, and says where one stands still (I7)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from millwright import flow
from millwright.cli import cli
from millwright.landing.batches import waiting
from millwright.landing.load import land
from millwright.platform import open_platform
from millwright.progress import Follower
from millwright.registry import apply
from millwright.settings import Settings
from tests import platforms

ROWS = "timestamp,machine_id,sensor_type,temperature\n" + "".join(
    f"2026-03-01T00:{n:02}:00Z,press-1,press,{n}\n" for n in range(9)
)


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(made, by="test")
    for name in ("postgres_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", made.require(name))
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(tmp_path))
    (tmp_path / "a.csv").write_text(ROWS)
    return made


@contextmanager
def planner(settings: Settings, *, only_land: bool = False) -> Iterator[None]:
    """Runs what waits, in this process."""
    stop = threading.Event()

    def work() -> None:
        with open_platform(settings) as platform:
            while not stop.wait(0.02):
                for batch in waiting(platform.conn, 10):
                    if only_land:
                        land(platform.conn, settings, platform.definitions, batch.batch_id)
                    else:
                        list(flow.run(platform, batches=[batch.batch_id]))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def upload(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["upload", *arguments, "--wait"])


def test_it_waits_until_the_features_are_served(settings: Settings, tmp_path: Path) -> None:
    with planner(settings):
        done = upload(str(tmp_path / "a.csv"), "--json")
    assert (done.exit_code, json.loads(done.stdout)["loaded"]) == (0, 9), done.output
    assert [line.removeprefix("batch 1: ") for line in done.stderr.splitlines()] == [
        "received", "checked", "landed", "features", "online",
    ]  # fmt: skip
    with open_platform(settings) as platform:
        assert list(flow.catch_up(platform)) == []
    again = upload(str(tmp_path / "a.csv"))
    assert (again.exit_code, "delivered before" in again.stderr) == (0, True)


def test_each_stage_is_seen_as_it_is_passed(settings: Settings, tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["upload", str(tmp_path / "a.csv")]).exit_code == 0
    with open_platform(settings) as platform:
        follower = Follower(platform.definitions, 1, client=lambda: platform.redis, project="millwright")
        seen = [follower.look(platform.conn).passed]
        for _ in flow.run(platform, batches=[1]):
            last = follower.look(platform.conn)
            seen += [last.passed] if last.passed != seen[-1] else []
        assert (seen, last.ended, last.waits_for) == ([1, 3, 4, 5], True, [])
        # Rows that come later do not move the goal of one who waits for this batch.
        (tmp_path / "b.csv").write_text(ROWS.replace("2026-03-01", "2026-03-02"))
        CliRunner().invoke(cli, ["upload", str(tmp_path / "b.csv")])
        land(platform.conn, settings, platform.definitions, 2)
        assert follower.look(platform.conn).passed == 5


def test_a_batch_that_stands_still_is_no_success(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millwright.commands.follow.STILL_SECONDS", 0.5)
    with planner(settings, only_land=True):
        done = upload(str(tmp_path / "a.csv"))
    assert done.exit_code == 3
    assert "has landed, but is not in the features of machine_vitals_v1" in done.stderr
    assert "landed" in done.stdout


def test_several_files_are_followed_together(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(ROWS.replace("2026-03-01", "2026-03-02") + "2026-03-02T01:00:00Z,press-1,press,hot\n")
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with planner(settings):
        done = upload(str(tmp_path / "[ab].csv"))
        refused = upload(str(tmp_path / "[abc].csv"), "--json")
    assert (done.exit_code, [line.split()[:5] for line in done.stdout.splitlines()[1:]]) == (
        3,
        [["a.csv", "1", "landed", "9", "9"], ["b.csv", "2", "landed", "10", "9"]],
    )
    assert refused.exit_code == 1
    assert [each["state"] for each in json.loads(refused.stdout)["files"]] == ["landed", "landed", "refused"]
