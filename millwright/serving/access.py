"""Who may call a route: the key in a request's header and its scopes.

Belongs here: header → key → 401, 403 or the key's id. Does not: keys (keys.py), routes (api.py, uploads.py).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from millwright.serving.problems import Problem, Refused

_bearer = HTTPBearer(auto_error=False, description="A key from `millwright keys create`.")


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


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer, for its documentation."""
    return {status: {"model": Problem} for status in statuses}
