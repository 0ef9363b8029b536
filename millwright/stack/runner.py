"""The runner: a process with Dagster's and the engine's libraries imported, which forks runs (platform_assets/runner.py).

Belongs here: how it is started and checked. Does not: forking, the launcher that asks for it (platform_assets/launcher.py).
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from millwright.settings import Settings
from millwright.stack.dagster import dagster_home, dagster_version
from millwright.stack.server import ServerError
from millwright.stack.state import State

VARIABLE = "MILLWRIGHT_RUNNER"


class Runner:
    """Forks runs in milliseconds; without it the code server starts each as a fresh interpreter, which takes seconds."""

    name = "runner"
    user = None
    stop_signal = "TERM"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def socket(self) -> Path:
        """Where it listens for the same user alone."""
        return socket_of(self.settings)

    @property
    def command(self) -> list[str]:
        """Program and arguments."""
        return [sys.executable, "-m", "platform_assets.runner", str(self.socket)]

    @property
    def environment(self) -> dict[str, str]:
        """What runs need: where Dagster's instance is."""
        return {"DAGSTER_HOME": str(self.settings.home / "dagster"), "PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Make DAGSTER_HOME."""
        dagster_home(self.settings)

    def check(self) -> str:
        """Ask for its process id; returns Dagster's version."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(os.fspath(self.socket))
                connection.sendall(b"{}\n")
                with connection.makefile("rb") as lines:
                    json.loads(lines.readline())["pid"]
        except (OSError, ValueError) as error:
            raise ServerError(f"The runner does not answer on {self.socket}: {error}") from error
        return dagster_version()


def socket_of(settings: Settings) -> Path:
    """The runner's socket, in the folder of the supervisor's own."""
    return State(settings).run / "runner.sock"


def environment(settings: Settings) -> dict[str, str]:
    """What tells Dagster's processes where the runner is; empty where libraries do not survive a fork."""
    return {VARIABLE: str(socket_of(settings))} if sys.platform == "linux" else {}
