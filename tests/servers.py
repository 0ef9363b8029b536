"""Real servers for tests: the embedded ones of `millwright.stack`, each with a folder of its own and a guard.

Belongs here: starting and ending a server around a block. Does not: fixtures (conftest).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import pytest

from millwright.stack import bootstrap
from millwright.stack.kafka import Kafka
from millwright.stack.postgres import Postgres
from millwright.stack.redis import Valkey
from millwright.stack.server import Server, free_port

S = TypeVar("S", bound=Server)
PASSWORD = "test"
ROLES = (bootstrap.OWNER, bootstrap.APP, bootstrap.READER, bootstrap.DAGSTER)
# Durability is what tests of a crash of the *process* do not need: the operating system keeps what was written.
FAST_POSTGRES = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "128MB", "synchronous_commit": "off"}


class DebianRedis(Valkey):
    """The machine's own redis-server with the same configuration."""

    name = "debian-redis"

    @property
    def command(self) -> list[str]:
        return [shutil.which("redis-server") or "redis-server", str(self.configuration)]


@contextmanager
def running(make: Callable[[Path], S], seconds: float = 60) -> Iterator[S]:
    """Start `make(folder)` in a new folder, wait until its check passes, end it and remove the folder."""
    folder = Path(tempfile.mkdtemp(prefix="millwright-test-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when the tests run as root
    log = folder / "server.log"
    try:
        server = make(folder / "server")
        server.prepare()
        with log.open("wb") as out:
            guard_py = str(Path(__file__).with_name("guard.py"))
            guard = subprocess.Popen(
                [sys.executable, "-S", "-E", guard_py, server.user or "", server.stop_signal, str(folder), *server.command],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **server.environment},
                start_new_session=True,  # a Ctrl-C in the terminal ends the tests first, then this
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        _wait(server, guard, log, seconds)
        yield server
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(server: Server, guard: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.check()
            return
        except Exception as error:
            if guard.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{server.name} did not start: {error}\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)


def postgres(folder: Path) -> Postgres:
    return Postgres(folder, free_port(), PASSWORD, FAST_POSTGRES)


def valkey(folder: Path) -> Valkey:
    return Valkey(folder, free_port(), PASSWORD, max_memory="512mb")


def debian_redis(folder: Path) -> DebianRedis:
    return DebianRedis(folder, free_port(), PASSWORD, max_memory="512mb")


def kafka(folder: Path) -> Kafka:
    return Kafka(folder, free_port(), free_port())


def as_role(url: str, role: str) -> str:
    """The same server and database as `url`, for one of ROLES."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}"))
