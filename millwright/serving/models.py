"""Predictions over HTTP: `/v1/models`, `/v1/models/{model}/predict`.

Belongs here: routes, the models that this process has loaded, when they are looked at again. Does not: predicting (prediction/),
the log (predictions.py).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
import psycopg
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from millwright.prediction.predict import Loaded, Memory, Predictions, predict
from millwright.prediction.served import ServedModel, ServedModels
from millwright.prediction.session import BadModel, ChangedFile, load_session
from millwright.registry import ModelsReport, read_models
from millwright.serving.access import problems, scope
from millwright.serving.catalog import FRESH_SECONDS
from millwright.serving.contract import entity_rows
from millwright.serving.predictions import PredictionLog
from millwright.serving.problems import Problem, Refused
from millwright.serving.state import State

MAX_VALUES = 100_000
log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1/models", tags=["models"])


class PredictRequest(BaseModel):
    """The entities to predict for: columns of join keys, as Feast's requests have them, `{"machine_id": ["press-07"]}`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    entities: dict[str, list[Any]] = Field(min_length=1, max_length=8)


class NothingPredicted(Problem):
    """Every entity was refused by the model's policy; `predictions` tells of each which features are missing or stale."""

    predictions: list[Any]


class Predictor:
    """The models of a process: the catalog, looked at again every few seconds, a session for each that is asked for, the log."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.log = PredictionLog(state.connection)
        self._memory = Memory()
        self._lock = threading.Lock()
        self._known: tuple[float, ServedModels] | None = None
        self._sessions: dict[tuple[str, str], Loaded] = {}

    def open(self) -> None:
        """Start the log."""
        self.log.start()

    def close(self) -> None:
        """Write what the log still has."""
        self.log.close()

    def predict(self, name: str, entities: Sequence[dict[str, Any]], by: str) -> dict[str, Any]:
        """The fields of a Predictions; logged. Raises what predict() raises, UnknownModel, ChangedFile, psycopg.Error."""
        loaded = self._loaded(self._models().model(name))
        served = self._state.catalog.served_now()
        width = len(loaded.model.wanted(served))
        if len(entities) * width > MAX_VALUES:
            what = f"{len(entities)} entities × {width} features are more than {MAX_VALUES} values: ask in parts"
            raise Refused(422, "too_many", what)
        answer = predict(self._state.redis, served, loaded, entities, project=self._state.project, memory=self._memory)
        self.log.take(answer, by)
        return answer

    def _models(self) -> ServedModels:
        """The catalog; the last one known while Postgres is away."""
        known = self._known
        if known and time.monotonic() - known[0] < FRESH_SECONDS:
            return known[1]
        try:
            with self._state.connection() as conn:
                found = ServedModels.from_catalog(conn)
        except psycopg.OperationalError:
            if known is None:
                raise
            found = known[1]
        self._known = (time.monotonic(), found)
        return found

    def _loaded(self, model: ServedModel) -> Loaded:
        """The model with its session, loaded once; one that is served no more is let go."""
        key = model.definition.id, model.definition_hash
        loaded = self._sessions.get(key)
        if loaded is None:
            with self._lock:
                loaded = self._sessions.get(key)
                if loaded is None:
                    session = load_session(self._state.settings.feature_repo, model.definition)
                    loaded = Loaded(model, session)
                    there = {(each.definition.id, each.definition_hash) for each in self._models().models.values()}
                    self._sessions = {name: one for name, one in self._sessions.items() if name in there} | {key: loaded}
        return loaded if loaded.model is model else Loaded(model, loaded.session)


@router.get("", response_model=ModelsReport, responses=problems(401, 403, 503), dependencies=[scope("predict")])
def models(request: Request) -> ModelsReport:
    """The deployed models, every version of each."""
    with request.app.state.platform.connection() as conn:
        return read_models(conn)


@router.post(
    "/{model}/predict",
    response_model=Predictions,
    responses={**problems(401, 403, 404, 413, 503), 422: {"model": NothingPredicted | Problem}},
)
def predict_(model: str, body: PredictRequest, request: Request, key: Annotated[str, scope("predict")]) -> Response:
    """Predictions of a model for entities, from their features as they are online.

    `model` is a version, `press_failures_v1`, or a name, which means its active version. Each answer has the features that were
    given to the model with their event times and statuses. An entity with missing or stale features is refused or given the
    declared values, as the model's definition says; where every entity was refused, the answer is 422.
    """
    predictor: Predictor = request.app.state.predictor
    try:
        answer = predictor.predict(model, entity_rows(body.entities), f"key {key}")
    except (ChangedFile, BadModel) as error:
        log.error("model %s: %s", model, error)
        raise Refused(503, "model_unavailable", f"the model {model} cannot be used: {_public(error)}") from error
    if all(one["status"] == "refused" for one in answer["predictions"]):
        first = answer["predictions"][0]
        named = " ".join(f"{name}={value}" for name, value in first["entity"].items())
        problem = {"error": "refused", "message": f"nothing was predicted; {named}: {first['reason']}", **answer}
        return Response(orjson.dumps(problem), 422, media_type="application/json")
    return Response(orjson.dumps(answer), media_type="application/json")


def _public(error: Exception) -> str:
    """Without the server's paths."""
    return "its file is not the one that was deployed" if isinstance(error, ChangedFile) else str(error)
