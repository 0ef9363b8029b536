"""The API under its real server. Does not: stores, keys, what is tested."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx

from millwright.serving.metrics import FOLDER
from millwright.settings import Settings
from millwright.stack.api import MODULE
from millwright.stack.server import free_port


class uvicorn:
    """A process of its own over these settings; `with` gives its URL."""

    def __init__(self, settings: Settings, *, workers: int = 1, **variables: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        values = {name: settings.require(name) for name in ("postgres_url", "redis_url")}
        kept = {name: value for name, value in os.environ.items() if name != FOLDER}  # Feast sets it in the test's process
        environment = {**kept, **{f"MILLWRIGHT_{name.upper()}": value for name, value in values.items()}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", MODULE, "--port", str(port), "--workers", str(workers)],
            env={**environment, "MILLWRIGHT_PROJECT": str(settings.project), **variables},
        )

    def __enter__(self) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"{self.url}/healthz")
                return self.url
            except httpx.TransportError:
                time.sleep(0.05)
        self.__exit__()
        raise AssertionError("uvicorn did not start")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
