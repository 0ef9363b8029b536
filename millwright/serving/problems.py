"""Every error of the API as a status with a body that says what and where.

Belongs here: exceptions → answers. Does not: routes (api.py), what is an error (the domain).
"""

from __future__ import annotations

import psycopg
import redis
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from millwright.online.codec import Undecodable
from millwright.online.read import BadEntity
from millwright.online.served import UnknownFeature


class Problem(BaseModel):
    """What was wrong and where."""

    error: str
    message: str


class Refused(Exception):
    """A request that is answered with `status` and a Problem."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error = status, error


def install(app: FastAPI) -> None:
    """Answer each known exception with its Problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnknownFeature, _unknown)
    app.add_exception_handler(BadEntity, _entity)
    app.add_exception_handler(Undecodable, _undecodable)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(psycopg.Error, _postgres)


def _problem(status: int, error: str, message: str) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
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


async def _redis(request: Request, error: Exception) -> Response:
    return _problem(503, "redis_unavailable", f"the online store does not answer ({type(error).__name__}); try again")


async def _postgres(request: Request, error: Exception) -> Response:
    return _problem(503, "postgres_unavailable", f"keys or the catalog cannot be read ({type(error).__name__}); try again")


async def _unknown(request: Request, error: Exception) -> Response:
    return _problem(404, "unknown_feature", str(error))


async def _entity(request: Request, error: Exception) -> Response:
    return _problem(422, "bad_entity", str(error))


async def _undecodable(request: Request, error: Exception) -> Response:
    return _problem(503, "undecodable", f"the online store holds bytes that are no feature ({error}); publish the view again")
