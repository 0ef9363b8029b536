"""ASGI middleware that bounds a request's body before anything reads it.

Belongs here: the cap. Does not: authentication, routes (api.py).
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyCap:
    """Answers 413 to a body above `limit` bytes, by its Content-Length or, when that is missing or wrong, as it comes in.

    A PUT to a path that is wholly the pattern `streamed` passes untouched: its route counts the body itself.
    """

    def __init__(self, app: ASGIApp, limit: int, streamed: str) -> None:
        self.app = app
        self.limit = limit
        self.streamed = re.compile(streamed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its body read, or refuse it."""
        if scope["type"] != "http" or (scope["method"] == "PUT" and self.streamed.fullmatch(scope["path"])):
            await self.app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self.limit:
            await self._refuse(send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client is gone
            body += message.get("body", b"")
            if len(body) > self.limit:
                await self._refuse(send)
                return
            if not message.get("more_body"):
                break
        replies: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return replies.pop() if replies else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, send: Send) -> None:
        error: dict[str, Any] = {"error": "too_large", "message": f"the body is larger than {self.limit} bytes"}
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": orjson.dumps(error)})
