"""ASGI middleware that sees every request and its answer: counted, and kept when it was refused.

Belongs here: what a request was, from the outside. Does not: the numbers (metrics.py), the table (audit.py).
"""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millwright.serving import audit
from millwright.serving.metrics import Metrics

KEY_ID, ERROR = "millwright.key_id", "millwright.error"
"""Where access.py and problems.py leave in the scope whose key it was and why it was refused."""


class Watched:
    """The outermost layer. A client's mistakes and refusals (4xx) go to the audit."""

    def __init__(self, app: ASGIApp, metrics: Metrics, refusals: audit.Refusals) -> None:
        self.app = app
        self.metrics = metrics
        self.refusals = refusals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            route, error = template(scope), scope.get(ERROR)
            self.metrics.answered(scope["method"], route, status, time.perf_counter() - began, error)
            if 400 <= status < 500:
                self.refusals.add(seen(scope, status, error))


def template(scope: Scope) -> str:
    """The route that a request met, as it is written in the code; empty when none did."""
    return getattr(scope.get("route"), "path", "")


def seen(scope: Scope, status: int, error: str | None = None, subject: str | None = None) -> audit.Request:
    """A request as the audit keeps it."""
    client = scope.get("client")
    method = scope["method"] if scope["method"].isalpha() else "other"
    return audit.Request(scope.get(KEY_ID), client[0] if client else None, method[:16], template(scope), status, error, subject)
