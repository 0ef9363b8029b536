"""`apply`: migrate, validate, write the catalog, make tables, register with Feast, reload the code location.

Belongs here: the order of these and what stops them. Does not: each of them.
"""

from __future__ import annotations

import getpass
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import sql
from pydantic import BaseModel, ConfigDict, ValidationError

from millwright.definitions import Definitions, FeatureView, load
from millwright.registry import catalog, feast, models
from millwright.registry.catalog import AppliedView, Status
from millwright.registry.feast_objects import registered, statuses
from millwright.registry.models import ModelChange
from millwright.registry.reload import reload_code_locations
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from millwright.warehouse.migrate import migrate
from millwright.warehouse.plain_feast import REGISTRY_SCHEMA

_FEAST_SCHEMA: tuple[LiteralString, ...] = (
    "create schema if not exists {}",
    "grant usage on schema {} to millwright_app, millwright_reader",
    "alter default privileges in schema {} grant select on tables to millwright_app, millwright_reader",
)
_LOCK = "select pg_advisory_lock(hashtextextended('millwright.apply', 0))"


class ViewChange(BaseModel):
    """What apply did (or would do) about one view version. `missing`: applied, but its file is gone; nothing was deleted."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    action: Literal["created", "updated", "unchanged", "missing"]
    status: Status
    features: int


class ApplyReport(BaseModel):
    """What apply did, or with `plan` would do."""

    model_config = ConfigDict(frozen=True)

    plan: bool
    revision: str | None
    entities: list[str]
    views: list[ViewChange]
    models: list[ModelChange] = []
    feast: list[str]
    reload: str

    @property
    def changed(self) -> bool:
        """Whether any view, model or Feast object differed."""
        return any(action in {"created", "updated"} for action in self._actions) or bool(self.feast)

    @property
    def _actions(self) -> list[str]:
        return [*(view.action for view in self.views), *(model.action for model in self.models)]


def apply(settings: Settings, *, plan: bool = False, by: str = "", drafts: Collection[str] = ()) -> ApplyReport:
    """Make what the definition files say true. Applying again changes nothing.

    `plan`: only say what would be done. `by`: who, for the catalog (the login name when empty). `drafts`: new versions that are
    computed, but not served before they are activated, though they are the first of their name.
    Raises DefinitionErrors (all of them) and VersionChanged before anything is changed, NotConfigured, psycopg.Error.
    """
    definitions = load(settings.feature_repo)
    owner_url = settings.require("postgres_owner_url")
    with connect(owner_url, autocommit=True, name="millwright apply") as conn:
        known = _known(conn)
        catalog.refuse_changed(definitions, known)
        deployed = models.applied_models(conn)
        models.refuse_changed_models(definitions, deployed)
        models.check_models(settings.feature_repo, definitions, deployed)
        if plan:
            changes = _changes(conn, definitions, known, drafts)
            return ApplyReport(
                plan=True,
                revision=None,
                entities=sorted(definitions.entities),
                views=changes,
                models=models.model_changes(conn, definitions, deployed, _published(changes)),
                feast=[],
                reload="nothing: a plan",
            )
        with serialized(conn):
            revision = migrate(owner_url)
            known = _known(conn)
            catalog.refuse_changed(definitions, known)
            deployed = models.applied_models(conn)
            models.refuse_changed_models(definitions, deployed)
            changes = _changes(conn, definitions, known, drafts)
            model_changes = models.model_changes(conn, definitions, deployed, _published(changes))
            compiled = _compiled(conn, definitions)
            with conn.transaction():
                who = by or getpass.getuser()
                _write(conn, definitions, known, compiled, who, drafts)
                for model, status in models.model_statuses(definitions, deployed, _published(changes)):
                    models.write_model(conn, model, status, who)
            words = register(conn, settings, definitions)
            conn.execute("select pg_notify('millwright', 'applied')")
    return ApplyReport(
        plan=False,
        revision=revision,
        entities=sorted(definitions.entities),
        views=changes,
        models=model_changes,
        feast=words,
        reload=reload_code_locations(settings),
    )


@contextmanager
def serialized(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """One apply or change of status at a time: Feast's registry loses updates of concurrent ones."""
    conn.execute(_LOCK)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(hashtextextended('millwright.apply', 0))")


def register(conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions) -> list[str]:
    """Bring Feast's registry to the catalog; the caller holds the lock."""
    if not feast.configured(settings):
        return [f"not registered with Feast: {settings.feature_repo} has no {feast.CONFIGURATION}"]
    with conn.transaction():
        for statement in _FEAST_SCHEMA:
            conn.execute(sql.SQL(statement).format(sql.Identifier(REGISTRY_SCHEMA)))
    retired = [view.view_id for view in catalog.applied(conn).values() if view.status == "retired"]
    return feast.register(settings, registered(definitions, conn), models.served_models(conn), retired)


def _known(conn: psycopg.Connection[Any]) -> dict[str, AppliedView]:
    there = conn.execute("select to_regclass('catalog.feature_views')").fetchone()
    return catalog.applied(conn) if there and there[0] else {}


def _published(changes: list[ViewChange]) -> frozenset[str]:
    return frozenset(change.view_id for change in changes if change.status in {"active", "deprecated"})


def _changes(
    conn: psycopg.Connection[Any], definitions: Definitions, known: dict[str, AppliedView], drafts: Collection[str]
) -> list[ViewChange]:
    stored = dict(conn.execute("select view_id, definition from catalog.feature_views").fetchall()) if known else {}
    changes = []
    for view, status in statuses(definitions, known, drafts):
        action: Literal["created", "updated", "unchanged"]
        action = "created" if view.id not in stored else "unchanged" if _same(stored[view.id], view) else "updated"
        changes.append(ViewChange(view_id=view.id, action=action, status=status, features=len(view.features)))
    for view_id in known.keys() - definitions.feature_views.keys():
        features = len(stored[view_id]["features"])
        changes.append(ViewChange(view_id=view_id, action="missing", status=known[view_id].status, features=features))
    return sorted(changes, key=lambda change: change.view_id)


def _same(stored: Any, view: FeatureView) -> bool:
    """Whether the catalog has the view as it is. What an older release stored has none of the fields that came since."""
    try:
        return FeatureView.model_validate(stored) == view
    except ValidationError:
        return False


def _compiled(conn: psycopg.Connection[Any], definitions: Definitions) -> dict[str, dict[str, str]]:
    from millwright.features.compiled import compiled

    kept = catalog.compiled(conn)
    return {view.id: compiled(definitions, view, kept.get(view.id, {})) for view in definitions.feature_views.values()}


def _write(
    conn: psycopg.Connection[Any],
    definitions: Definitions,
    known: dict[str, AppliedView],
    compiled: dict[str, dict[str, str]],
    by: str,
    drafts: Collection[str],
) -> None:
    from millwright.warehouse.tables import create_view_tables

    for entity in definitions.entities.values():
        catalog.write_entity(conn, entity, by)
    for view, status in statuses(definitions, known, drafts):
        catalog.write_view(conn, view, status, by)
        catalog.write_features(conn, definitions, view)
        catalog.write_compiled(conn, view, compiled[view.id])
        create_view_tables(conn, definitions, view)
