"""Every error of the API as a status with a body that says what and where.

Belongs here: exceptions → answers. Does not: routes (api.py), what is an error (the domain).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import psycopg
import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from millwright.definitions.load import DefinitionErrors
from millwright.landing.batches import UnknownBatch
from millwright.landing.mapping import BadOptions, UnknownDataset
from millwright.landing.names import BadName
from millwright.landing.receive import TooLarge
from millwright.online.codec import Undecodable
from millwright.online.read import BadEntity
from millwright.online.served import UnknownFeature
from millwright.prediction.served import UnknownModel
from millwright.registry.catalog import UnknownView
from millwright.registry.on_demand import NotComputed
from millwright.serving.watched import ERROR
from millwright.why import NothingToExplain


class Problem(BaseModel):
    """What was wrong and where."""

    error: str = Field(description="One word for programs.", examples=["unknown_feature"])
    message: str = Field(description="A sentence for people: what and where.", examples=["no feature view machine_vital"])


class Refused(Exception):
    """A request that is answered with `status` and a Problem."""

    def __init__(self, status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.error, self.headers = status, error, headers or {}


_TOLD: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownDataset, 404, "unknown_dataset"),
    (UnknownBatch, 404, "unknown_batch"),
    (BadOptions, 422, "bad_options"),
    (BadName, 422, "bad_name"),
    (TooLarge, 413, "too_large"),
    (UnknownModel, 404, "unknown_model"),
    (UnknownView, 404, "unknown_view"),
    (UnknownFeature, 404, "unknown_feature"),
    (BadEntity, 422, "bad_entity"),
    (NotComputed, 422, "not_computed"),
    (NothingToExplain, 404, "nothing_to_explain"),
)


def install(app: FastAPI) -> None:
    """Answer each known exception with its Problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Undecodable, _undecodable)
    for kind, status, word in _TOLD:
        app.add_exception_handler(kind, _told(status, word))
    app.add_exception_handler(DefinitionErrors, _definitions)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(psycopg.Error, _postgres)
    app.add_exception_handler(Exception, _unexpected)


def _problem(request: Request, status: int, error: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    request.scope[ERROR] = error
    always = {401: {"WWW-Authenticate": "Bearer"}, 408: {"Connection": "close"}, 413: {"Connection": "close"}}.get(status, {})
    return JSONResponse({"error": error, "message": message}, status, headers={**always, **(headers or {})})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _problem(request, error.status, error.error, str(error), error.headers)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    word = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _problem(request, error.status_code, word, f"{request.method} {request.url.path}", error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(request, 422, "invalid", told(error.errors()))


def told(errors: Sequence[Any]) -> str:
    """Errors of pydantic as one sentence each: where, what."""
    return "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in errors[:10])


def _told(status: int, word: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler that answers with the error's own sentence."""

    async def answer(request: Request, error: Exception) -> Response:
        return _problem(request, status, word, str(error))

    return answer


async def _definitions(request: Request, error: Exception) -> Response:
    message = "the definition files have mistakes: `millwright apply --plan` lists them"
    return _problem(request, 503, "bad_definitions", message)


async def _redis(request: Request, error: Exception) -> Response:
    request.app.state.platform.metrics.redis_failures.labels(type(error).__name__).inc()
    message = f"the online store does not answer ({type(error).__name__}); try again"
    return _problem(request, 503, "redis_unavailable", message, {"Retry-After": "1"})


async def _postgres(request: Request, error: Exception) -> Response:
    message = f"the database does not answer ({type(error).__name__}); try again"
    return _problem(request, 503, "postgres_unavailable", message, {"Retry-After": "1"})


async def _undecodable(request: Request, error: Exception) -> Response:
    message = f"the online store holds bytes that are no feature ({error}); publish the view again"
    return _problem(request, 503, "undecodable", message)


async def _unexpected(request: Request, error: Exception) -> Response:
    return _problem(request, 500, "internal", "this is a mistake of the platform; its log has the reason")
