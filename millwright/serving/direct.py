"""Routes whose requests come by the thousand: documented by FastAPI, run without its solving of dependencies.

Belongs here: header → key, bytes → model, model → endpoint. Does not: what the endpoint does.

Each step of FastAPI that asks which parameter comes from where costs as much as the read from Redis; here the answer is always
the same: a key with the scope of the route's `scope(…)`, and one JSON object that is the endpoint's first parameter.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from millwright.serving.access import admitted
from millwright.serving.problems import Refused, told

Model = TypeVar("Model", bound=BaseModel)


class Direct(APIRoute):
    """A POST route: `async def endpoint(body: Model, request: Request, …) -> Response`; others of its parameters are in the path.

    Use it as `APIRouter(route_class=Direct)`, with `dependencies=[scope(…)]` on each route.
    """

    def __init__(self, path: str, endpoint: Any, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        first = next(iter(inspect.signature(endpoint, eval_str=True).parameters.values()))
        self._body: type[BaseModel] = first.annotation
        needed = [depends.dependency.__dict__["needs"] for depends in self.dependencies if depends.dependency is not None]
        self._scope: str = needed[0]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise what problems.py answers."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        await admitted(request, self._scope)
        _check_type(scope["headers"])
        body = parsed(self._body, await request.body())
        response: Response = await self.endpoint(body, request, **scope.get("path_params", {}))
        await response(scope, receive, send)


def _check_type(headers: list[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind != b"application/json" and not kind.endswith(b"+json"):
                raise Refused(415, "not_json", "send the body as Content-Type: application/json")


def parsed(kind: type[Model], body: bytes) -> Model:
    """A body as its model. Raises Refused for what is no JSON, has a name twice, or does not fit."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(422, "not_json", f"the body is no JSON: {error}") from None
    if isinstance(value, dict) and _looks_doubled(value, body):
        _check_doubled(body)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise Refused(422, "invalid", f"body: {told(error.errors(include_url=False))}") from None


def _looks_doubled(value: Mapping[str, Any], body: bytes) -> bool:
    """Whether a name may occur twice in one object: cheap, and never wrong when it says no.

    orjson keeps the last of equal names, so each name that is kept occurs once in the text, or there is more to look at.
    """
    if b"\\" in body:
        return True
    names = [*value]
    for inner in value.values():
        if isinstance(inner, dict):
            names += inner
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return True
    return any(body.count(b'"%b"' % name.encode()) > 1 for name in names)


def _check_doubled(body: bytes) -> None:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            names = [name for name, _ in found]
            doubled = next(name for name in names if names.count(name) > 1)
            raise Refused(422, "doubled_name", f"{doubled[:100]!r} stands twice in one object: which of the two is meant?")
        return made

    try:
        json.loads(body, object_pairs_hook=pairs)
    except RecursionError:
        raise Refused(422, "too_deep", "the body is nested too deeply") from None
