"""Why a value is what it is, over HTTP. Does not: finding it out (why.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, Field

from millwright.definitions import load
from millwright.registry import resolve_view
from millwright.serving.access import problems, scope
from millwright.serving.problems import Refused
from millwright.serving.state import State
from millwright.why import Why, why

router = APIRouter(prefix="/v1", tags=["features"])
_FEATURE = "view:feature; a view is a version, or a name, which means its active version."
_FITS: dict[str, Any] = {"pattern": "^[^:]+:.+$"}  # said to clients; the sentence of a refusal is our own
_Pair = Annotated[str, Field(json_schema_extra={"pattern": "^[^=]+="})]


@router.get("/why", response_model=Why, responses=problems(401, 403, 404, 422, 503), dependencies=[scope("admin")])
def explain(
    request: Request,
    feature: Annotated[str, Query(description=_FEATURE, json_schema_extra=_FITS, examples=["press_vitals:temperature_mean_1h"])],
    key: Annotated[list[_Pair], Query(description="Each join key, such as machine_id=press-07.", max_length=8)],
    at: Annotated[AwareDatetime | None, Query(description="The row at this time or the last before it; else the newest.")] = None,
    rows: Annotated[int, Query(description="How many rows to trace to their lines.", ge=0, le=100)] = 10,
) -> Why:
    """Where a feature's value comes from: its row, the rows of its window, their deliveries, the lines as they came.

    Lines may hold more than features do: the scope is admin.
    """
    state: State = request.app.state.platform
    view, colon, name = feature.partition(":")
    if not colon:
        raise Refused(422, "no_feature", f"{feature[:100]!r} names no feature: write view:feature")
    definitions = load(state.settings.feature_repo)
    with state.connection() as conn:
        view_id = resolve_view(conn, view)
        if view_id not in definitions.feature_views:
            raise Refused(404, "unknown_view", f"{view_id} has no definition file any more")
        found = definitions.feature_views[view_id]
        entity = _entity(key, definitions.entity_of(found).join_keys)
        return why(conn, state.redis, state.settings, definitions, found, name, entity, at=at, shown=rows)


def _entity(pairs: Sequence[str], types: Mapping[str, str]) -> dict[str, Any]:
    """Value by join key. Raises Refused for what is missing, unknown or of another type."""
    given = dict(pair.partition("=")[::2] for pair in pairs)
    if given.keys() != types.keys():
        raise Refused(422, "bad_entity", f"name the entity by {' and '.join(f'key={name}=…' for name in types)}")
    try:
        return {name: int(text) if types[name] == "int64" else text for name, text in given.items()}
    except ValueError:
        raise Refused(422, "bad_entity", f"a key of {', '.join(types)} is a whole number, and another was given") from None
