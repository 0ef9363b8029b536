"""ASGI middleware that bounds a request's body, in bytes and seconds, before anything reads it.

Belongs here: the cap. Does not: authentication, routes (api.py).
"""

from __future__ import annotations

import asyncio
import re

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from millwright.serving.watched import ERROR

BODY_SECONDS = 10.0


class BodyCap:
    """Answers 413 to a body above `limit` bytes, by its Content-Length or, when that is missing or wrong, as it comes in; 408 to
    one that does not come within BODY_SECONDS.

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
            await self._refuse(scope, send)
            return
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._whole(receive)
        except TimeoutError:
            what = f"the body did not come within {BODY_SECONDS:g} s"
            await _answer(scope, send, 408, "too_slow", what)
            return
        if body is None:
            return  # the client is gone
        if len(body) > self.limit:
            await self._refuse(scope, send)
            return
        replies: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return replies.pop() if replies else await receive()

        await self.app(scope, replay, send)

    async def _whole(self, receive: Receive) -> bytes | None:
        """The body, or as much of it as shows that it is too large; None when the client has gone."""
        body = bytearray()
        while len(body) <= self.limit:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        return bytes(body)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        await _answer(scope, send, 413, "too_large", f"the body is larger than {self.limit} bytes")


async def _answer(scope: Scope, send: Send, status: int, error: str, message: str) -> None:
    scope[ERROR] = error
    body = orjson.dumps({"error": error, "message": message})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
