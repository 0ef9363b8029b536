"""The API: `uvicorn --factory millwright.serving.api:create_app`.

Belongs here: the application, health, features. Does not: deliveries (uploads.py), predictions (models.py), why a value is what
it is (explain.py), keys (access.py), errors (problems.py).
Feast is not imported: its feature server's contract (contract.py) is spoken without it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import JSONResponse, Response

from millwright.online.read import Column, read
from millwright.online.served import Wanted
from millwright.online.stores import from_micros
from millwright.serving import explain, models, problems, uploads
from millwright.serving.access import problems as problems_of
from millwright.serving.access import scope
from millwright.serving.contract import OnlineFeaturesAnswer, OnlineFeaturesRequest, entity_rows
from millwright.serving.limits import BodyCap
from millwright.serving.problems import Refused
from millwright.serving.state import State
from millwright.settings import Settings

MAX_BODY_BYTES = 1024**2
MAX_VALUES = 100_000

_EPOCH = "1970-01-01T00:00:00Z"

router = APIRouter()


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; connections are opened when it starts and closed when it stops."""
    state = State(settings or Settings())
    predictor = models.Predictor(state)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.open()
        predictor.open()
        yield
        predictor.close()
        state.close()

    app = FastAPI(
        title="Millwright",
        summary="Features of machines, as they are now, predictions from them, and deliveries of data.",
        lifespan=lifespan,
    )
    app.state.platform = state
    app.state.predictor = predictor
    app.include_router(router)
    app.include_router(models.router)
    app.include_router(uploads.router)
    app.include_router(explain.router)
    app.add_middleware(BodyCap, limit=MAX_BODY_BYTES, streamed=uploads.STREAMED)
    problems.install(app)
    return app


_PROBLEMS = problems_of(401, 403, 404, 413, 422, 503)


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
    times = {id(column.events): _times(column.events) for column in columns}  # columns of one view share them
    results = [_keys_vector(values) for values in body.entities.values()]
    results += [_vector(column, times[id(column.events)]) for column in columns]
    answer = {"metadata": {"feature_names": [*body.entities, *names]}, "results": results}
    return JSONResponse(answer)


def feature_names(wanted: list[Wanted], *, full: bool) -> list[str]:
    """Names as Feast gives them: `feature`, or `view__feature` if full; two equal ones are refused."""
    names = [f"{want.view_name}__{want.feature}" if full else want.feature for want in wanted]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise Refused(422, "ambiguous", f"{', '.join(doubled)} would occur twice: ask once, or set full_feature_names")
    return names


def _vector(column: Column, times: list[str]) -> dict[str, Any]:
    return {"values": [_plain(value) for value in column.values], "statuses": column.statuses, "event_timestamps": times}


def _times(events: Sequence[int | None]) -> list[str]:
    return [_EPOCH if event is None else from_micros(event).isoformat().replace("+00:00", "Z") for event in events]


def _keys_vector(values: list[Any]) -> dict[str, Any]:
    return {"values": values, "statuses": ["PRESENT"] * len(values), "event_timestamps": [_EPOCH] * len(values)}


def _plain(value: Any) -> Any:
    """Numbers that JSON does not have as protobuf writes them."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
