"""A server that ends, or changes its workers, breaks no request: clients that go on lose none."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from millwright.registry import apply
from millwright.settings import Settings
from millwright.stack.server import free_port
from tests import platforms

CLIENTS = 8


@dataclass
class Clients:
    """Each asks again and again on a connection that it keeps; one that is told to close makes a new one.

    `failed`: requests that were sent and got no whole answer, or one that is not 200. A connection that is refused was no request.
    """

    port: int
    path: str = "/healthz"
    answered: int = 0
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.stop.is_set():
            if connection is None or connection.sock is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused += 1
                    return
            try:
                connection.request("GET", self.path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200 or not body:
                    self.failed.append(f"{answer.status} {body!r}")
                self.answered += 1
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()

    def start(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str) -> Settings:
    found = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(found)
    return found


class Running:
    """`python -m millwright.serving` with two workers."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self.port = free_port()
        values = {f"MILLWRIGHT_{name.upper()}": settings.require(name) for name in ("postgres_url", "redis_url")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "millwright.serving", "--port", str(self.port), "--workers", str(workers)],
            env={**os.environ, **values, "MILLWRIGHT_PROJECT": str(settings.project)},
        )
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline and self.process.poll() is None, "it did not start"
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def workers(self) -> set[int]:
        found = set()
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "spawn_main" in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    def ends(self, clients: Clients, threads: list[threading.Thread]) -> None:
        """SIGTERM under load: what was sent is answered, then connections are refused, then the process ends."""
        self.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        clients.stop.set()
        assert (clients.failed, clients.refused) == ([], CLIENTS)
        assert self.process.wait(20) in (0, -signal.SIGTERM)  # uvicorn raises the signal again when all is done


@pytest.fixture
def running(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Running]:
    made = Running(settings, getattr(request, "param", 2))
    yield made
    made.process.terminate()
    made.process.wait(30)


def _soon(holds: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize("running", [1], indirect=True, ids=["one worker"])
def test_sigterm_under_load_breaks_no_request(running: Running) -> None:
    clients = Clients(running.port)
    threads = clients.start()
    _soon(lambda: clients.answered > 200)
    running.ends(clients, threads)


def test_workers_are_replaced_and_end_under_load_and_nobody_notices(running: Running) -> None:
    """SIGHUP to the parent, then SIGTERM to one worker, then SIGTERM to all."""
    before = running.workers()
    assert len(before) == 2
    clients = Clients(running.port)
    threads = clients.start()
    _soon(lambda: clients.answered > 100)
    running.process.send_signal(signal.SIGHUP)
    _soon(lambda: len(now := running.workers()) == 2 and not now & before, 60)
    ended = running.workers().pop()
    os.kill(ended, signal.SIGTERM)
    _soon(lambda: len(now := running.workers()) == 2 and ended not in now, 60)
    asked = clients.answered
    _soon(lambda: clients.answered > asked + 200)
    assert (clients.failed, clients.refused) == ([], 0)
    running.ends(clients, threads)
