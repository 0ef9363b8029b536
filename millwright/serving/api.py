"""The API: `python -m millwright.serving`, or `uvicorn --factory millwright.serving.api:create_app`.

Belongs here: the application put together. Does not: routes (features.py, models.py, uploads.py, explain.py, health.py), keys
(access.py), errors (problems.py), the server (server.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from millwright.serving import explain, features, health, models, problems, uploads
from millwright.serving.limits import BodyCap
from millwright.serving.state import State
from millwright.serving.watched import Watched
from millwright.settings import Settings

MAX_BODY_BYTES = 1024**2
ROUTERS = (features.router, models.router, explain.router, uploads.router, health.router)


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
        version=version("millwright"),
        lifespan=lifespan,
        docs_url=None,  # their pages run scripts of other sites beside a person's key
        redoc_url=None,
    )
    app.state.platform = state
    app.state.predictor = predictor
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(BodyCap, limit=MAX_BODY_BYTES, streamed=uploads.STREAMED)
    app.add_middleware(Watched, metrics=state.metrics, refusals=state.refusals)
    problems.install(app)
    return app
