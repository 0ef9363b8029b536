"""Whether the API lives and can serve, and its metrics.

Belongs here: /healthz, /readyz, /metrics. Does not: what is counted (metrics.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from millwright.online import connect
from millwright.serving.access import problems, scope
from millwright.serving.metrics import CONTENT_TYPE
from millwright.serving.state import State

CHECK_SECONDS = 1.0
router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One thing that requests need."""

    status: Literal["ok", "failed"]
    seconds: float = Field(description="How long the check took; it is given up after a second.")
    reason: str | None = Field(default=None, description="What kind of failure.")


class Readiness(BaseModel):
    """Whether requests can be served, and each thing that they need."""

    status: Literal["ready", "not ready"]
    checks: dict[str, Check]


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers; asks nothing else."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness, "description": "Something is missing."}})
async def readyz(request: Request) -> Response:
    """Whether Redis answers, Postgres answers and the catalog of features is loaded: 200, or 503 with what failed."""
    state: State = request.app.state.platform
    asked: dict[str, Callable[[], Any]] = {
        "redis": lambda: _redis(state),
        "postgres": lambda: _postgres(state),
        "catalog": lambda: _catalog(state),
    }
    found = dict(zip(asked, await asyncio.gather(*map(_checked, asked.values())), strict=True))
    ready = all(check.status == "ok" for check in found.values())
    answer = Readiness(status="ready" if ready else "not ready", checks=found)
    return JSONResponse(answer.model_dump(mode="json"), 200 if ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(401, 403, 503)},
    dependencies=[scope("read")],
)
async def metrics(request: Request) -> Response:
    """Counters and latencies of all workers, in Prometheus's text format."""
    state: State = request.app.state.platform
    return Response(await asyncio.to_thread(state.metrics.text), headers={"content-type": CONTENT_TYPE})


async def _checked(ask: Callable[[], Any]) -> Check:
    began = time.perf_counter()
    reason = None
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await asyncio.to_thread(ask)
    except TimeoutError:
        reason = f"no answer in {CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 whatever it is, this is not ready
        reason = type(error).__name__
    return Check(status="failed" if reason else "ok", seconds=round(time.perf_counter() - began, 4), reason=reason)


def _redis(state: State) -> None:
    for server in connect.primaries(state.redis):
        server.ping()


def _postgres(state: State) -> None:
    with state.connection() as conn:
        conn.execute("select 1")


def _catalog(state: State) -> None:
    if not state.catalog.loaded:
        state.catalog.look_again()
