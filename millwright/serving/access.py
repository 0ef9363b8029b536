"""Who may call a route: the key in a request's header, its scopes, and how often.

Belongs here: header → key → 401, 403, 429 or the key's id. Does not: keys (keys.py, keyring.py), counting (rates.py), routes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from millwright.serving.problems import Problem, Refused
from millwright.serving.state import State
from millwright.serving.watched import KEY_ID

_bearer = HTTPBearer(auto_error=False, description="A key from `millwright keys create`.", bearerFormat="mw_…")
Check = Callable[..., Awaitable[str]]


def scope(name: str) -> Any:
    """A dependency that lets only keys with this scope pass: 401 without a valid key, 403 with one that may not, 429 too often.

    It gives the key's id.
    """

    async def allowed(request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> str:
        return await admitted(request, name)

    allowed.__dict__["needs"] = name
    return Depends(allowed)


async def admitted(request: Request, name: str) -> str:
    """The id of the request's key, which has the scope `name`. Raises Refused, psycopg.Error."""
    state: State = request.scope["app"].state.platform
    presented = _presented(request.scope["headers"])
    if presented is None:
        raise Refused(401, "no_key", "send a key as `Authorization: Bearer mw_…`; `millwright keys create` makes one")
    key = await state.keyring.find(presented)
    if key is None:
        raise Refused(401, "bad_key", "this is not a key of this platform")
    request.scope[KEY_ID] = key.key_id
    if why := key.gone():
        raise Refused(401, "bad_key", why)
    if wait := await state.rates.admit(key.key_id):
        what = f"this key has made more than {state.settings.api_requests_per_minute} requests in a minute: try again in {wait} s"
        raise Refused(429, "too_many_requests", what, {"Retry-After": str(wait)})
    if why := key.refusal(name):
        raise Refused(403, "wrong_scope", why)
    return key.key_id


def _presented(headers: list[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"authorization":
            kind, _, key = value.partition(b" ")
            return key.strip().decode("latin-1") if kind.lower() == b"bearer" and key.strip() else None
    return None


_MEANINGS = {
    400: "The body ended before its end.",
    401: "No key, or one that is unknown, revoked or expired.",
    403: "The key lacks the scope that this route needs.",
    404: "What was asked for does not exist; the message says what does.",
    408: "The body did not come.",
    410: "It was there, and its bytes are gone.",
    413: "The body is larger than is taken.",
    415: "The body is not declared as JSON.",
    422: "The request cannot be met as it is; the message says which part.",
    429: "The key has made too many requests; Retry-After says when to come again.",
    503: "A store does not answer; the message says which. Try again.",
    507: "There is no room for it.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer, for its documentation; where a key is needed, too many requests are among them."""
    told = {*statuses, 429} if 401 in statuses else set(statuses)
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in sorted(told)}
