"""Our API as a supervised process. Does not: the API itself (serving/)."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from importlib.metadata import version

from millwright.stack.server import LOOPBACK, ServerError

FACTORY = "millwright.serving.api:create_app"


class Api:
    """uvicorn with the platform's FastAPI application, on loopback."""

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
        """One uvicorn process."""
        return [
            *(sys.executable, "-m", "uvicorn", "--factory", FACTORY, "--host", LOOPBACK, "--port", str(self.port)),
            *("--no-access-log", "--timeout-graceful-shutdown", "5"),
        ]

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
