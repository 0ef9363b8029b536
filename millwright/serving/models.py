"""Predictions over HTTP: `/v1/models`, `/v1/models/{model}/predict`.

Belongs here: routes, the models that this process has loaded. Does not: predicting (prediction/), which models there are
(catalog.py), the log (predictions.py).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import redis
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from millwright.online.read import Column, Plan, plan_of
from millwright.prediction.predict import Loaded, Memory, Predictions, answer
from millwright.prediction.served import ServedModel, ServedModels
from millwright.prediction.session import BadModel, ChangedFile, Session, load_session
from millwright.registry import ModelsReport, read_models
from millwright.serving.access import problems, scope
from millwright.serving.contract import entity_rows
from millwright.serving.direct import Direct
from millwright.serving.predictions import PredictionLog
from millwright.serving.problems import Problem, Refused
from millwright.serving.state import State
from millwright.serving.watched import KEY_ID

MAX_VALUES = 100_000
log = logging.getLogger(__name__)
SLOW_SECONDS, MANY = 0.002, 100
router = APIRouter(prefix="/v1/models", tags=["models"])
direct = APIRouter(route_class=Direct)


class PredictRequest(BaseModel):
    """The entities to predict for: columns of join keys, as Feast's requests have them, `{"machine_id": ["press-07"]}`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    entities: dict[str, Annotated[list[Any], Field(json_schema_extra={"minItems": 1})]] = Field(min_length=1, max_length=8)


class NothingPredicted(Problem):
    """Every entity was refused by the model's policy; `predictions` tells of each which features are missing or stale."""

    predictions: list[Any]


class Predictor:
    """The models that a process has loaded, what it remembers for those that may answer while Redis is away, and the log."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.log = PredictionLog(state.connection, told=self._count)
        self._memory = Memory()
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def open(self) -> None:
        """Start the log."""
        self.log.start()

    def close(self) -> None:
        """Write what the log still has."""
        self.log.close()

    async def predict(self, name: str, columns: dict[str, list[Any]], by: str) -> dict[str, Any]:
        """The fields of a Predictions for entities, given as columns of join keys; logged.

        Raises Refused, UnknownModel, UnknownFeature, BadEntity, Undecodable, ChangedFile, BadModel, redis.RedisError,
        psycopg.Error.
        """
        known = await self._state.catalog.known()
        model = known.models.model(name)
        entities = entity_rows(columns)
        plan = plan_of(known.views, tuple(model.definition.features), self._state.project)
        wanted = plan.wanted
        if len(entities) * len(wanted) > MAX_VALUES:
            what = f"{len(entities)} entities × {len(wanted)} features are more than {MAX_VALUES} values: ask in parts"
            raise Refused(422, "too_many", what)
        session = self._sessions.get(model.definition.onnx.sha256)
        if session is None:
            session = await asyncio.to_thread(self._load, model, known.models)
        found, read_at = await self._features(model, plan, entities)
        arguments = Loaded(model, session), wanted, entities, found, datetime.now(UTC), read_at
        # What takes long would keep every other request waiting; a thread costs more than what takes none.
        if session.seconds > SLOW_SECONDS or len(entities) > MANY:
            told = await asyncio.to_thread(answer, *arguments)
        else:
            told = answer(*arguments)
        self.log.take(told, by)
        return told

    async def _features(
        self, model: ServedModel, plan: Plan, entities: Sequence[dict[str, Any]]
    ) -> tuple[list[Column], datetime | None]:
        """The features now, or as they were read last where Redis is away and the model allows it."""
        try:
            columns = await self._state.read(plan, entities, keep_old=model.uses_stale)
        except redis.RedisError:
            recalled = self._memory.recall(model.definition.id, entities) if model.uses_stale else None
            if recalled is None:
                raise
            return recalled
        if model.uses_stale:
            self._memory.keep(model.definition.id, entities, columns, datetime.now(UTC))
        return columns, None

    def _load(self, model: ServedModel, there: ServedModels) -> Session:
        """Load a model's file, once; those that are served no more are let go."""
        sha256 = model.definition.onnx.sha256
        with self._lock:
            if sha256 not in self._sessions:
                session = load_session(self._state.settings.feature_repo, model.definition)
                served = {each.definition.onnx.sha256 for each in there.models.values() if each.status != "retired"}
                self._sessions = {key: one for key, one in self._sessions.items() if key in served} | {sha256: session}
            return self._sessions[sha256]

    def _count(self, waiting: int, dropped: int) -> None:
        self._state.metrics.predictions_waiting.set(waiting)
        if dropped:
            self._state.metrics.predictions_dropped.inc(dropped)


@router.get("", response_model=ModelsReport, responses=problems(401, 403, 503), dependencies=[scope("predict")])
def models(request: Request) -> ModelsReport:
    """The deployed models, every version of each."""
    with request.app.state.platform.connection() as conn:
        return read_models(conn)


@direct.post(
    "/{model}/predict",
    response_model=Predictions,
    responses={**problems(401, 403, 404, 413, 415, 503), 422: {"model": NothingPredicted | Problem}},
    dependencies=[scope("predict")],
)
async def predict(body: PredictRequest, request: Request, model: str) -> Response:
    """Predictions of a model for entities, from their features as they are online.

    `model` is a version, `press_failures_v1`, or a name, which means its active version. Each answer has the features that were
    given to the model with their event times and statuses. An entity with missing or stale features is refused or given the
    declared values, as the model's definition says; where every entity was refused, the answer is 422.
    """
    predictor: Predictor = request.scope["app"].state.predictor
    try:
        found = await predictor.predict(model, body.entities, f"key {request.scope[KEY_ID]}")
    except (ChangedFile, BadModel) as error:
        log.error("model %s: %s", model, error)
        raise Refused(503, "model_unavailable", f"the model {model} cannot be used: {_public(error)}") from error
    if all(one["status"] == "refused" for one in found["predictions"]):
        first = found["predictions"][0]
        named = " ".join(f"{name}={value}" for name, value in first["entity"].items())
        problem = {"error": "refused", "message": f"nothing was predicted; {named}: {first['reason']}", **found}
        return Response(orjson.dumps(problem), 422, media_type="application/json")
    return Response(orjson.dumps(found), media_type="application/json")


router.include_router(direct)


def _public(error: Exception) -> str:
    """Without the server's paths."""
    return "its file is not the one that was deployed" if isinstance(error, ChangedFile) else str(error)
