"""The API: `uvicorn --factory millwright.serving.api:create_app`.

Belongs here: routes, and every error as a status with a body that says what and where.
Does not: reading Redis (online/read.py), keys (keys.py), Feast: its feature server's contract is spoken without it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
import redis
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from millwright.online.codec import Undecodable
from millwright.online.read import BadEntity, FeatureValue, read
from millwright.online.served import UnknownFeature, Wanted
from millwright.serving.limits import BodyCap
from millwright.serving.state import State
from millwright.settings import Settings

MAX_BODY_BYTES = 1024**2
MAX_VALUES = 100_000


class OnlineFeaturesRequest(BaseModel):
    """Feast's request: columns of join keys, and either references `view:feature` or a feature service.

    A view is a version (`machine_vitals_v1`) or a name, which means its active version; a feature service is a view's name.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    entities: dict[str, list[Any]] = Field(min_length=1)
    features: list[str] = []
    feature_service: str | None = None
    full_feature_names: bool = False


class Metadata(BaseModel):
    """Names of the results, in their order."""

    feature_names: list[str]


class Vector(BaseModel):
    """One feature over all entities. Statuses: PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE; times are RFC 3339."""

    values: list[Any]
    statuses: list[str]
    event_timestamps: list[str]


class OnlineFeaturesAnswer(BaseModel):
    """Feast's response: the join keys come first among the results."""

    metadata: Metadata
    results: list[Vector]


class Problem(BaseModel):
    """What was wrong and where."""

    error: str
    message: str


class Refused(Exception):
    """A request that is answered with `status` and a Problem."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error = status, error


_bearer = HTTPBearer(auto_error=False, description="A key from `millwright keys create`.")
router = APIRouter()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; connections are opened when it starts and closed when it stops."""
    state = State(settings or Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.open()
        yield
        state.close()

    app = FastAPI(title="Millwright", summary="Features of machines, as they are now.", lifespan=lifespan)
    app.state.platform = state
    app.include_router(router)
    app.add_middleware(BodyCap, limit=MAX_BODY_BYTES)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnknownFeature, _unknown)
    app.add_exception_handler(BadEntity, _entity)
    app.add_exception_handler(Undecodable, _undecodable)
    app.add_exception_handler(redis.RedisError, _redis)
    app.add_exception_handler(psycopg.Error, _postgres)
    return app


def scope(name: str) -> Any:
    """A dependency that lets only keys with this scope pass: 401 without a valid key, 403 with one that may not."""

    def allowed(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
        if given is None:
            raise Refused(401, "no_key", "send a key as `Authorization: Bearer mw_…`; `millwright keys create` makes one")
        key = request.app.state.platform.key(given.credentials)
        if key is None or key.refusal(name) in {"the key is revoked", "the key has expired"}:
            why = "this is not a key of this platform" if key is None else key.refusal(name)
            raise Refused(401, "bad_key", str(why))
        if why := key.refusal(name):
            raise Refused(403, "wrong_scope", why)
        return str(key.key_id)

    return Depends(allowed)


_PROBLEMS: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (401, 403, 404, 413, 422, 503)}


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "A store does not answer."}})
def readyz(request: Request) -> Response:
    """Both stores answer and definitions are applied; else 503 with the trouble of each."""
    found = request.app.state.platform.check()
    return JSONResponse(found, 200 if set(found.values()) == {"ok"} else 503)


@router.post("/get-online-features", response_model=OnlineFeaturesAnswer, responses=_PROBLEMS, dependencies=[scope("read")])
def get_online_features(body: OnlineFeaturesRequest, request: Request) -> Response:
    """Features of entities, as Feast's feature server answers them, with honest statuses and the views' TTL."""
    state: State = request.app.state.platform
    if bool(body.features) == (body.feature_service is not None):
        raise Refused(422, "no_features", "give either features or feature_service")
    rows = entity_rows(body.entities)
    wanted = state.served().wanted(body.features or [str(body.feature_service)])
    if len(rows) * len(wanted) > MAX_VALUES:
        raise Refused(
            422, "too_many", f"{len(rows)} entities × {len(wanted)} features are more than {MAX_VALUES} values: ask in parts"
        )
    names = feature_names(wanted, full=body.full_feature_names)
    columns = read(state.redis, wanted, rows, project=state.project)
    results = [_keys_vector(values) for values in body.entities.values()] + [_vector(column) for column in columns]
    answer = {"metadata": {"feature_names": [*body.entities, *names]}, "results": results}
    return JSONResponse(answer)


def entity_rows(entities: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns → rows. Raises Refused when they differ in length or are empty."""
    lengths = {name: len(values) for name, values in entities.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise Refused(422, "bad_entities", f"every join key needs the same number of values, at least one: {counts}")
    return [dict(zip(entities, values, strict=True)) for values in zip(*entities.values(), strict=True)]


def feature_names(wanted: list[Wanted], *, full: bool) -> list[str]:
    """Names as Feast gives them: `feature`, or `view__feature` if full; two equal ones are refused."""
    names = [f"{want.view_name}__{want.feature}" if full else want.feature for want in wanted]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise Refused(422, "ambiguous", f"{', '.join(doubled)} would occur twice: ask once, or set full_feature_names")
    return names


def _vector(column: list[FeatureValue]) -> dict[str, Any]:
    epoch = "1970-01-01T00:00:00Z"
    return {
        "values": [_plain(value.value) for value in column],
        "statuses": [value.status for value in column],
        "event_timestamps": [
            value.event_timestamp.isoformat().replace("+00:00", "Z") if value.event_timestamp else epoch for value in column
        ],
    }


def _keys_vector(values: list[Any]) -> dict[str, Any]:
    return {"values": values, "statuses": ["PRESENT"] * len(values), "event_timestamps": ["1970-01-01T00:00:00Z"] * len(values)}


def _plain(value: Any) -> Any:
    """Numbers that JSON does not have as protobuf writes them."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


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
