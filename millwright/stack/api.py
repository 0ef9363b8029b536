"""Our API as a supervised process. Does not: the API itself (serving/)."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from importlib.metadata import version

from millwright.stack.server import LOOPBACK, ServerError

MODULE = "millwright.serving"


class Api:
    """The platform's HTTP API, on loopback."""

    name = "api"
    user = None
    stop_signal = "TERM"

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def command(self) -> list[str]:
        """The API's own server; its workers are a setting."""
        return [sys.executable, "-m", MODULE, "--host", LOOPBACK, "--port", str(self.port)]

    @property
    def environment(self) -> dict[str, str]:
        """Lines reach the log when they are written."""
        return {"PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Nothing: its connections come from the stack."""

    def check(self) -> str:
        """GET /healthz; the version of the platform."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:
                json.load(answer)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise ServerError(f"The API at {self.url} does not answer: {error}") from error
        return version("millwright")
