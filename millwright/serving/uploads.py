"""Deliveries over HTTP: a file's bytes in, its receipt and its bytes back out.

Belongs here: routes under /v1 that upload. Does not: keeping bytes and planning (landing/receive.py), what options mean.

The body is streamed into the landing zone by worker threads, counted and capped as it comes; the event loop never writes.
A body that ends early leaves nothing and plans nothing.
"""

from __future__ import annotations

import asyncio
import errno
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, Response

from millwright.definitions import Dataset, load
from millwright.landing.batches import Receipt, UnknownBatch, receipt
from millwright.landing.mapping import Delivery, check_options, dataset_of
from millwright.landing.names import label
from millwright.landing.options import OPTIONS, delivery
from millwright.landing.receive import Incoming, Received, plan, too_large, zone_path
from millwright.serving import audit
from millwright.serving.access import problems, scope
from millwright.serving.problems import Refused
from millwright.serving.state import State
from millwright.serving.watched import seen
from millwright.settings import Settings
from millwright.warehouse import ledger

STREAMED = r"/v1/datasets/[^/]+/uploads"
"""Paths whose PUT has a body that is a file: they are not bound by the cap of requests, but by max_file_bytes."""
IDLE_SECONDS = 60.0
_PIECE = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
router = APIRouter(prefix="/v1", tags=["deliveries"])

_PARAMETERS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    "parameters": [
        {
            "name": option.name.replace("-", "_"),
            "in": "query",
            "description": f"{option.help} {option.metavar}".strip(),
            "schema": {"type": "array", "items": {"type": "string"}} if option.repeatable else {"type": "string"},
        }
        for option in OPTIONS
    ],
}


_LINKS = {
    "batch": {"operationId": "batch", "parameters": {"batch_id": "$response.body#/batch_id"}},
    "bytes": {"operationId": "landed_bytes", "parameters": {"sha256": "$response.body#/sha256"}},
}


@router.put(
    "/datasets/{dataset}/uploads",
    status_code=201,
    response_model=Received,
    responses={
        200: {"model": Received, "links": _LINKS},
        201: {"links": _LINKS},
        **problems(400, 401, 403, 404, 408, 413, 422, 503, 507),
    },
    openapi_extra=_PARAMETERS,
)
async def upload(
    dataset: str,
    request: Request,
    key: Annotated[str, scope("upload")],
    filename: Annotated[str, Query(description="What to call the file in receipts.", min_length=1)],
) -> Response:
    """Receive a file as the raw body of the request and plan a batch: 201, or 200 when this very delivery was known.

    The same bytes under the same options are one batch, however often they are sent. `GET /v1/batches/{batch_id}` tells what
    became of it. The options of `millwright upload` are query parameters: `map=column=field&timezone=Europe/Berlin`.
    """
    state: State = request.app.state.platform
    definition, options = await run_in_threadpool(_admitted, state.settings, dataset, filename, request)
    sha256, size = await _kept(request, state.settings)
    received = await run_in_threadpool(_planned, state, definition, sha256, size, filename, options, key, request)
    headers = {"location": f"/v1/batches/{received.batch_id}"}
    return JSONResponse(received.model_dump(mode="json"), _status(received), headers)


@router.get(
    "/batches/{batch_id}",
    operation_id="batch",
    response_model=Receipt,
    responses=problems(401, 403, 404, 503),
    dependencies=[scope("upload")],
)
def batch(batch_id: int, request: Request) -> Receipt:
    """The receipt of a batch: its state, counts, errors by kind, and what to do next."""
    if not 0 < batch_id < 2**63:
        raise UnknownBatch(f"There is no batch {batch_id}.")
    with request.app.state.platform.connection() as conn:
        return receipt(conn, batch_id)


@router.get(
    "/uploads/{sha256}",
    operation_id="landed_bytes",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **problems(401, 403, 404, 410, 503)},
    dependencies=[scope("admin")],
)
def landed_bytes(sha256: str, request: Request) -> Response:
    """The bytes of a delivery as they were received, for download only. They may hold anything: the scope is admin."""
    state: State = request.app.state.platform
    with state.connection() as conn:
        found = ledger.file_name(conn, sha256)
    if found is None:
        raise Refused(404, "unknown_upload", "no delivery has this SHA-256; receipts name it")
    path = zone_path(state.settings, sha256)
    if not path.is_file():
        raise Refused(410, "bytes_gone", "the landing zone does not have these bytes any more; `millwright doctor` tells more")
    return FileResponse(
        path,
        media_type="application/octet-stream",
        headers={
            "content-disposition": f"attachment; filename*=UTF-8''{quote(found, safe='')}",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'; sandbox",
            "cache-control": "private, no-store",
        },
    )


def _admitted(settings: Settings, dataset: str, filename: str, request: Request) -> tuple[Dataset, Delivery]:
    """Refuse what can be refused before a byte of the body is read."""
    definitions = load(settings.feature_repo)
    definition = dataset_of(definitions, dataset)
    label(filename)
    names = [name for name in dict.fromkeys(request.query_params) if name != "filename"]
    options = delivery({name: request.query_params.getlist(name) for name in names})
    check_options(definitions, definition, options)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > settings.max_file_bytes:
        raise too_large(settings.max_file_bytes)
    return definition, options


async def _kept(request: Request, settings: Settings) -> tuple[str, int]:
    """The body in the landing zone: (sha256, bytes). Raises Refused, TooLarge."""
    incoming: Incoming | None = None
    try:
        incoming = await run_in_threadpool(Incoming, settings)
        waiting = bytearray()
        body = aiter(request.stream())
        while (piece := await asyncio.wait_for(anext(body, None), IDLE_SECONDS)) is not None:
            waiting += piece
            if len(waiting) >= _PIECE:
                await run_in_threadpool(incoming.write, waiting)
                waiting = bytearray()
        await run_in_threadpool(incoming.write, waiting)
        return await run_in_threadpool(incoming.keep)
    except TimeoutError as error:
        what = f"nothing of the body came for {IDLE_SECONDS:.0f} s; nothing was kept: send it again"
        raise Refused(408, "stood_still", what) from error
    except ClientDisconnect as error:
        raise Refused(400, "cut_off", "the body ended before its end; nothing was kept: send it again") from error
    except OSError as error:
        if error.errno in _FULL:
            raise Refused(507, "landing_zone_full", "the landing zone is full; nothing was kept: try again later") from error
        what = f"the landing zone cannot be written ({error.strerror}); nothing was kept: try again later"
        raise Refused(503, "landing_zone_unavailable", what) from error
    finally:
        if incoming is not None:
            await run_in_threadpool(incoming.close)


def _status(received: Received) -> int:
    return 200 if received.already else 201


def _planned(
    state: State, dataset: Dataset, sha256: str, size: int, filename: str, options: Delivery, key: str, request: Request
) -> Received:
    """The batch, committed with its entry in the audit."""
    with state.connection() as conn, conn.transaction():
        received = plan(conn, dataset, sha256, size, file_name=filename, delivery=options, channel="upload", by=f"key {key}")
        audit.write(conn, seen(request.scope, _status(received), subject=f"batch {received.batch_id}"))
    return received
