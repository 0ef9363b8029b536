"""The life of a version, of a feature view or a model: draft → active → deprecated → retired.

Belongs here: which moves are allowed and what follows from them. Does not: computing, publishing, predicting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import load
from millwright.definitions.words import nearest
from millwright.registry import catalog, models
from millwright.registry.apply import register, serialized
from millwright.registry.catalog import Status
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


@dataclass(frozen=True)
class _Version:
    """A version of a view or of a model; `needs`: the views that a model reads."""

    id: str
    name: str
    status: Status
    write: Callable[[psycopg.Connection[Any], str, Status], None]
    needs: tuple[str, ...] = ()


def set_status(settings: Settings, version_id: str, status: Literal["active", "deprecated", "retired"]) -> StatusReport:
    """Give an applied version of a feature view or a model a status, in the catalog and in Feast.

    Activating makes the version that was active deprecated: still computed and served, but no longer what the bare name means.
    Retiring stops computing and serving. Raises UnknownView, StatusRefused.
    """
    definitions = load(settings.feature_repo)
    with connect(settings.require("postgres_owner_url"), autocommit=True, name="millwright apply") as conn, serialized(conn):
        known = _known(conn)
        if version_id not in known:
            applied = ", ".join(known) or "none"
            raise catalog.UnknownView(f"{version_id} is not applied{nearest(version_id, known)}; applied are {applied}")
        version = known[version_id]
        also = _active(known, version) if status == "active" else None
        _refuse(known, version, status)
        with conn.transaction():
            if also:
                version.write(conn, also, "deprecated")
            version.write(conn, version_id, status)
        words = register(conn, settings, definitions)
        conn.execute("select pg_notify('millwright', 'applied')")
    return StatusReport(
        view_id=version_id, before=version.status, status=status, also=also, feast=words, reload=reload_code_locations(settings)
    )


def _known(conn: psycopg.Connection[Any]) -> dict[str, _Version]:
    views = catalog.applied(conn).values()
    deployed = models.applied_models(conn).values()
    return {each.view_id: _Version(each.view_id, each.feature_view, each.status, catalog.write_status) for each in views} | {
        each.model_id: _Version(each.model_id, each.model, each.status, models.write_model_status, tuple(each.views))
        for each in deployed
    }


def _active(known: Mapping[str, _Version], version: _Version) -> str | None:
    same = [each.id for each in known.values() if each.name == version.name and each.status == "active"]
    return same[0] if same and same[0] != version.id else None


def _refuse(known: Mapping[str, _Version], version: _Version, status: Status) -> None:
    if version.status == "retired" and status != "retired":
        raise StatusRefused(f"{version.id} is retired: it is no longer kept up. Make a new version instead")
    if version.status == "draft" and status == "deprecated":
        raise StatusRefused(f"{version.id} is a draft and was never served: activate or retire it")
    if version.status == "active" and status == "retired":
        others = [each.id for each in known.values() if each.name == version.name and each.status != "retired"]
        others.remove(version.id)
        what = f"activate another version first ({', '.join(others)})" if others else "deprecate it first"
        raise StatusRefused(f"{version.id} is what {version.name} means to its readers: {what}")
    if status == "retired":
        readers = [each.id for each in known.values() if version.id in each.needs and each.status != "retired"]
        if readers:
            raise StatusRefused(f"{version.id} is read by the model {' and '.join(readers)}: retire the model first")
    if status == "active":
        away = [name for name in version.needs if known[name].status not in ("active", "deprecated")]
        if away:
            raise StatusRefused(f"{version.id} reads {' and '.join(away)}, which is not served: activate it first")
