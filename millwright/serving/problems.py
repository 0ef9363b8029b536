"""Every error of the API as a status with a body that says what and where.

Belongs here: exceptions → answers. Does not: routes (api.py), what is an error (the domain).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import psycopg
import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
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
from millwright.why import NothingToExplain


class Problem(BaseModel):
    """What was wrong and where."""

    error: str
    message: str


class Refused(Exception):
    """A request that is answered with `status` and a Problem."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error = status, error


_TOLD: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownDataset, 404, "unknown_dataset"),
    (UnknownBatch, 404, "unknown_batch"),
    (BadOptions, 422, "bad_options"),
    (BadName, 422, "bad_name"),
    (TooLarge, 413, "too_large"),
    (UnknownModel, 404, "unknown_model"),
    (UnknownView, 404, "unknown_view"),
    (NothingToExplain, 404, "nothing_to_explain"),
)


def install(app: FastAPI) -> None:
    """Answer each known exception with its Problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnknownFeature, _unknown)
    app.add_exception_handler(BadEntity, _entity)
    app.add_exception_handler(Undecodable, _undecodable)
    for kind, status, word in _TOLD:
        app.add_exception_handler(kind, _told(status, word))
    app.add_exception_handler(DefinitionErrors, _definitions)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(psycopg.Error, _postgres)


def _problem(status: int, error: str, message: str) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 408: {"Connection": "close"}, 413: {"Connection": "close"}}.get(status)
    return JSONResponse({"error": error, "message": message}, status, headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _problem(error.status, error.error, str(error))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail).lower().replace(" ", "_"), f"{request.method} {request.url.path}")


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()[:10]]
    return _problem(422, "invalid", "; ".join(found))


def _told(status: int, word: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """A handler that answers with the error's own sentence."""

    async def answer(request: Request, error: Exception) -> Response:
        return _problem(status, word, str(error))

    return answer


async def _definitions(request: Request, error: Exception) -> Response:
    return _problem(503, "bad_definitions", "the definition files have mistakes: `millwright apply --plan` lists them")


async def _redis(request: Request, error: Exception) -> Response:
    return _problem(503, "redis_unavailable", f"the online store does not answer ({type(error).__name__}); try again")


async def _postgres(request: Request, error: Exception) -> Response:
    return _problem(503, "postgres_unavailable", f"the database does not answer ({type(error).__name__}); try again")


async def _unknown(request: Request, error: Exception) -> Response:
    return _problem(404, "unknown_feature", str(error))


async def _entity(request: Request, error: Exception) -> Response:
    return _problem(422, "bad_entity", str(error))


async def _undecodable(request: Request, error: Exception) -> Response:
    return _problem(503, "undecodable", f"the online store holds bytes that are no feature ({error}); publish the view again")
