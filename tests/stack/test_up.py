"""The life of a stack with real processes: up, up again, a killed supervisor, a killed server, broken definitions, down."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis

from millwright.settings import Settings
from millwright.stack.dagster import graphql
from millwright.stack.state import State
from tests.stack.project import Project, project

pytestmark = [pytest.mark.xdist_group("stack"), pytest.mark.kafka]


@pytest.fixture
def place() -> Iterator[Project]:
    """A project below a folder with a space and a percent sign, longer than a Unix socket's path may be."""
    top = Path(tempfile.mkdtemp(prefix="millwright-test-"))
    with project(top / ("100% real " + "x" * 90)) as made:
        yield made
    shutil.rmtree(top)


def until(true: Callable[[], Any], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def states(report: dict[str, Any]) -> dict[str, str]:
    return {server["name"]: server["state"] for server in report["servers"]}


def test_life_of_a_stack(place: Project) -> None:
    report = place.json("up", "--detach")
    assert states(report) == dict.fromkeys(
        ["postgres", "redis", "kafka", "code-server", "runner", "webserver", "daemon", "api"], "healthy"
    )
    assert report["ok"]
    assert report["postgres_connection_limit"] >= 200
    assert 0 < report["redis_memory_bytes"] < report["redis_memory_limit_bytes"]
    settings = Settings(project=place.folder)
    runtime = State(settings).run
    assert place.home not in runtime.parents, "the path was to be too long for a socket"
    nothing_secret_is_public(place, settings)
    for role in ("app", "owner", "reader"):
        url = settings.require("postgres_url" if role == "app" else f"postgres_{role}_url")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (f"millwright_{role}",)

    again = place.call("up")
    assert "up already" in again.stderr

    with psycopg.connect(settings.require("postgres_owner_url"), autocommit=True) as connection:
        connection.execute("CREATE TABLE public.kept AS SELECT 42 AS answer")
    with redis.Redis.from_url(settings.require("redis_url")) as client:
        client.set("kept", 42)

    a_killed_server_comes_back(place, settings)
    broken_definitions_are_told(place)

    supervisor = next(process for process in place.processes() if "supervisor.supervisord" in process.cmdline())
    before = {process.pid for process in place.processes()}
    supervisor.kill()
    supervisor.wait(10)
    assert not place.json("status", code=1)["up"]
    taken_over = place.json("up", "--detach")
    assert taken_over["ok"]
    assert before.isdisjoint(process.pid for process in place.processes())
    assert [server["address"] for server in taken_over["servers"]] == [server["address"] for server in report["servers"]]
    with psycopg.connect(settings.require("postgres_owner_url")) as connection:
        assert connection.execute("SELECT answer FROM public.kept").fetchone() == (42,)
    with redis.Redis.from_url(settings.require("redis_url")) as client:
        assert client.get("kept") == b"42"

    assert place.json("down")["seconds"] < 15
    assert place.processes() == []
    assert not (place.home / "stack.env").exists()
    assert not runtime.exists()
    assert not place.json("down")["was_up"]


def nothing_secret_is_public(place: Project, settings: Settings) -> None:
    secrets = [
        settings.require("redis_url").split(":")[2].split("@")[0],
        settings.require("postgres_url").split(":")[2].split("@")[0],
    ]
    processes = place.processes()
    assert len(processes) > 10
    assert not [process for process in processes for secret in secrets if secret in " ".join(process.cmdline())]
    for path in place.home.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".env", ".conf", ".yaml", ".log") and "data" not in path.parts:
            text = path.read_text(errors="replace")
            assert path.stat().st_mode & 0o077 == 0 or not any(secret in text for secret in secrets), path


def a_killed_server_comes_back(place: Project, settings: Settings) -> None:
    def server() -> psutil.Process | None:
        return next((process for process in place.processes() if process.name() == "valkey-server"), None)

    killed = server()
    assert killed is not None
    with redis.Redis.from_url(settings.require("redis_url")) as client:
        client.waitaof(1, 0, 5000)
    killed.kill()
    until(lambda: (now := server()) is not None and now.pid != killed.pid, "Valkey is started again")
    until(lambda: place.start("status").wait(60) == 0, "all is healthy again")


def broken_definitions_are_told(place: Project) -> None:
    url = f"http://127.0.0.1:{place.environment['MILLWRIGHT_WEBSERVER_PORT']}"
    reload = 'mutation { reloadRepositoryLocation(repositoryLocationName: "millwright") { __typename } }'
    kept = place.definitions.read_text()
    place.definitions.write_text("raise ValueError('a mistake of mine')\n")
    graphql(url, reload)

    def problem() -> str:
        report = place.json("status", code=1)
        return next(server["problem"] or "" for server in report["servers"] if server["name"] == "webserver")

    until(lambda: "a mistake of mine" in problem(), "the mistake is told")
    assert str(place.definitions) in problem()
    place.definitions.write_text(kept)
    graphql(url, reload)
    assert place.json("status")["ok"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_foreground(place: Project, number: signal.Signals) -> None:
    process = place.start("up", "--only", "redis")
    assert process.stderr is not None
    until(lambda: "Ctrl-C stops it" in (process.stderr.readline() if process.stderr else ""), "redis is up")
    assert place.json("status")["up"]
    process.send_signal(number)
    process.communicate(timeout=15)
    assert process.returncode == 0
    assert place.processes() == []


def test_a_taken_port_is_named(place: Project) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        place.environment["MILLWRIGHT_WEBSERVER_PORT"] = str(other.getsockname()[1])
        failed = place.call("up", "--only", "dagster", code=1)
    assert f"Port {place.environment['MILLWRIGHT_WEBSERVER_PORT']} of webserver" in failed.stderr
    assert f"process {os.getpid()}" in failed.stderr
    assert "set MILLWRIGHT_WEBSERVER_PORT to another" in failed.stderr
    assert place.processes() == []


def test_what_cannot_start_says_why_and_leaves_nothing_running(place: Project) -> None:
    (place.home / "redis").mkdir(parents=True)
    (place.home / "redis" / "appendonlydir").write_text("a file where Valkey wants a folder")
    failed = place.call("up", "--only", "redis", code=1)
    assert "redis did not start" in failed.stderr
    assert "append-only" in failed.stderr, failed.stderr
    assert "redis.log" in failed.stderr
    assert "millwright doctor" in failed.stderr
    assert place.processes() == []


def test_an_unknown_name_is_wrong_usage(place: Project) -> None:
    failed = place.call("up", "--only", "postgers", code=2)
    assert "postgers" in failed.stderr
    assert "postgres" in failed.stderr
