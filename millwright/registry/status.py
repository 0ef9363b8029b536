"""The life of a version: draft → active → deprecated → retired.

Belongs here: which moves are allowed and what follows from them. Does not: computing or publishing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from millwright.definitions import load
from millwright.registry import catalog
from millwright.registry.apply import register, serialized
from millwright.registry.catalog import AppliedView, Status
from millwright.registry.reload import reload_code_locations
from millwright.settings import Settings
from millwright.warehouse.connect import connect


class StatusRefused(ValueError):
    """A move that would leave readers without what they use."""


class StatusReport(BaseModel):
    """A version's new status; `also`: the version that lost the active status to it."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    before: Status
    status: Status
    also: str | None = None
    feast: list[str] = []
    reload: str = ""


def set_status(settings: Settings, view_id: str, status: Literal["active", "deprecated", "retired"]) -> StatusReport:
    """Give an applied version a status, in the catalog and in Feast.

    Activating makes the version that was active deprecated: still computed and served, but no longer what the bare name means.
    Retiring stops computing and serving. Raises UnknownView, StatusRefused.
    """
    definitions = load(settings.feature_repo)
    with connect(settings.require("postgres_owner_url"), autocommit=True, name="millwright apply") as conn, serialized(conn):
        known = catalog.applied(conn)
        if view_id not in known:
            raise catalog.UnknownView(f"{view_id} is not applied; applied are {', '.join(known) or 'none'}")
        view = known[view_id]
        also = _active(known, view) if status == "active" else None
        _refuse(known, view, status)
        with conn.transaction():
            if also:
                catalog.write_status(conn, also, "deprecated")
            catalog.write_status(conn, view_id, status)
        words = register(conn, settings, definitions)
        conn.execute("select pg_notify('millwright', 'applied')")
    return StatusReport(
        view_id=view_id, before=view.status, status=status, also=also, feast=words, reload=reload_code_locations(settings)
    )


def _active(known: dict[str, AppliedView], view: AppliedView) -> str | None:
    same = [each.view_id for each in known.values() if each.feature_view == view.feature_view and each.status == "active"]
    return same[0] if same and same[0] != view.view_id else None


def _refuse(known: dict[str, AppliedView], view: AppliedView, status: Status) -> None:
    if view.status == "retired" and status != "retired":
        raise StatusRefused(f"{view.view_id} is retired: its rows are no longer kept up. Make a new version instead")
    if view.status == "draft" and status == "deprecated":
        raise StatusRefused(f"{view.view_id} is a draft and was never served: activate or retire it")
    if view.status == "active" and status == "retired":
        others = [each.view_id for each in known.values() if each.feature_view == view.feature_view and each.status != "retired"]
        others.remove(view.view_id)
        what = f"activate another version first ({', '.join(others)})" if others else "deprecate it first"
        raise StatusRefused(f"{view.view_id} is what {view.feature_view} means to its readers: {what}")
