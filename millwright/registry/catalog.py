"""The catalog: what was applied, for SQL and people; files stay the truth.

Belongs here: every statement that writes entities and views, and reading them as models. Does not: deployed models (models.py),
deciding what to apply (apply.py).
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Literal

import psycopg
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions, Entity, FeatureView

Status = Literal["draft", "active", "deprecated", "retired"]


class VersionChanged(ValueError):
    """A file changed what a version means that is applied already."""


class AppliedView(BaseModel):
    """A view version as applied."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    feature_view: str
    version: int
    status: Status
    definition_hash: str

    @property
    def published(self) -> bool:
        """Whether its rows are in the online store."""
        return self.status in {"active", "deprecated"}


class CatalogFeature(BaseModel):
    """A feature: name, type, unit and what it means."""

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    unit: str
    description: str


class CatalogView(BaseModel):
    """A view version as people look it up."""

    model_config = ConfigDict(frozen=True)

    view_id: str
    status: Status
    entity: str
    join_keys: dict[str, str]
    ttl: timedelta
    description: str
    owner: str
    tags: dict[str, str]
    applied_at: datetime
    applied_by: str
    features: list[CatalogFeature]


class CatalogReport(BaseModel):
    """The catalog, or one view of it."""

    model_config = ConfigDict(frozen=True)

    views: list[CatalogView]


def applied(conn: psycopg.Connection[Any]) -> dict[str, AppliedView]:
    """Every applied version by id, in order of name and version; any role that may read the catalog."""
    rows = conn.execute(
        "select view_id, feature_view, version, status, definition_hash from catalog.feature_views order by feature_view, version"
    ).fetchall()
    names = ("view_id", "feature_view", "version", "status", "definition_hash")
    return {row[0]: AppliedView(**dict(zip(names, row, strict=True))) for row in rows}


def resolve_view(conn: psycopg.Connection[Any], name: str) -> str:
    """Id of a version, or of the active version of a view's name. Raises UnknownView."""
    known = applied(conn)
    active = [view.view_id for view in known.values() if view.feature_view == name and view.status == "active"]
    if name in known or active:
        return name if name in known else active[0]
    raise UnknownView(
        f"{name} is neither an applied version nor a view with an active one; applied are {', '.join(known) or 'none'}"
    )


def read_catalog(conn: psycopg.Connection[Any], name: str | None = None) -> CatalogReport:
    """Views and their features; `name`: a view with all its versions, or one version. Raises LookupError."""
    rows = conn.execute(
        "select v.view_id, v.status, v.entity, e.join_keys, v.ttl, v.description, v.owner, v.tags, v.applied_at, v.applied_by, "
        "(select coalesce(json_agg(json_build_object('name', name, 'type', type, 'unit', unit, 'description', description) "
        "order by position), '[]') from catalog.features f where f.view_id = v.view_id) "
        "from catalog.feature_views v join catalog.entities e using (entity) "
        "where %(name)s::text is null or %(name)s in (v.view_id, v.feature_view) order by v.feature_view, v.version",
        {"name": name},
    ).fetchall()
    if name is not None and not rows:
        raise UnknownView(f"{name} is not in the catalog: `millwright features` lists it, `millwright apply` fills it")
    return CatalogReport(views=[CatalogView(**dict(zip(CatalogView.model_fields, row, strict=True))) for row in rows])


class UnknownView(LookupError):
    """No view of that name was applied."""


def refuse_changed(definitions: Definitions, known: dict[str, AppliedView]) -> None:
    """Raise VersionChanged, naming every file, when a version's content differs from what was applied."""
    changed = [
        f"feature_views/{view.id}.yaml: {view.id} is applied with other contents. A version's meaning never changes: "
        f"restore the file and make {view.feature_view}_v{next_version(view, definitions, known)}.yaml with the change"
        for view in definitions.feature_views.values()
        if view.id in known and known[view.id].definition_hash != view.content_hash()
    ]
    if changed:
        raise VersionChanged("\n".join(changed) + "\nNothing was applied.")


def next_version(view: FeatureView, definitions: Definitions, known: dict[str, AppliedView]) -> int:
    """The first version number of the view's name that is free."""
    versions = [each.version for each in definitions.feature_views.values() if each.feature_view == view.feature_view]
    versions += [each.version for each in known.values() if each.feature_view == view.feature_view]
    return max(versions) + 1


def write_entity(conn: psycopg.Connection[Any], entity: Entity, by: str) -> bool:
    """Insert or bring up to date; True when something differed."""
    return _changed(
        conn,
        "insert into catalog.entities as old (entity, join_keys, description, owner, applied_at, applied_by) "
        "values (%(entity)s, %(join_keys)s, %(description)s, %(owner)s, now(), %(by)s) "
        "on conflict (entity) do update set join_keys = excluded.join_keys, description = excluded.description, "
        "owner = excluded.owner, applied_at = excluded.applied_at, applied_by = excluded.applied_by "
        "where (old.join_keys, old.description, old.owner) is distinct from "
        "(excluded.join_keys, excluded.description, excluded.owner) returning 1",
        {
            "entity": entity.entity,
            "join_keys": json.dumps(entity.join_keys),
            "description": entity.description,
            "owner": entity.owner,
            "by": by,
        },
    )


def write_view(conn: psycopg.Connection[Any], view: FeatureView, status: Status, by: str) -> bool:
    """Insert with `status`, or bring the metadata of an applied version up to date; True when something differed."""
    return _changed(
        conn,
        "insert into catalog.feature_views as old (view_id, feature_view, version, entity, status, definition, definition_hash, "
        "ttl, description, owner, tags, applied_at, applied_by) values (%(view_id)s, %(feature_view)s, %(version)s, %(entity)s, "
        "%(status)s, %(definition)s, %(hash)s, %(ttl)s, %(description)s, %(owner)s, %(tags)s, now(), %(by)s) "
        "on conflict (view_id) do update set definition = excluded.definition, description = excluded.description, "
        "owner = excluded.owner, tags = excluded.tags, applied_at = excluded.applied_at, applied_by = excluded.applied_by "
        "where old.definition is distinct from excluded.definition returning 1",
        {
            "view_id": view.id,
            "feature_view": view.feature_view,
            "version": view.version,
            "entity": view.entity,
            "status": status,
            "definition": view.model_dump_json(),
            "hash": view.content_hash(),
            "ttl": view.ttl,
            "description": view.description,
            "owner": view.owner,
            "tags": json.dumps(view.tags),
            "by": by,
        },
    )


def write_features(conn: psycopg.Connection[Any], definitions: Definitions, view: FeatureView) -> None:
    """The view's features as they are defined now."""
    conn.execute("delete from catalog.features where view_id = %s", [view.id])
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into catalog.features (view_id, name, position, type, unit, description, definition) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    view.id,
                    feature.name,
                    position,
                    definitions.feature_type(view, feature),
                    definitions.feature_unit(view, feature),
                    feature.description,
                    feature.model_dump_json(),
                )
                for position, feature in enumerate(view.features)
            ],
        )


def compiled(conn: psycopg.Connection[Any]) -> dict[str, dict[str, str]]:
    """The computations that are kept: view → dialect → SQL."""
    found: dict[str, dict[str, str]] = {}
    for view_id, dialect, text in conn.execute("select view_id, dialect, sql from catalog.compiled"):
        found.setdefault(view_id, {})[dialect] = text
    return found


def write_compiled(conn: psycopg.Connection[Any], view: FeatureView, compiled: dict[str, str]) -> None:
    """The view's computation by dialect."""
    conn.execute("delete from catalog.compiled where view_id = %s", [view.id])
    with conn.cursor() as cursor:
        cursor.executemany(
            "insert into catalog.compiled (view_id, dialect, sql) values (%s, %s, %s)",
            [(view.id, dialect, text) for dialect, text in sorted(compiled.items())],
        )


def write_status(conn: psycopg.Connection[Any], view_id: str, status: Status) -> None:
    """The status of an applied version."""
    conn.execute("update catalog.feature_views set status = %s where view_id = %s", [status, view_id])


def _changed(conn: psycopg.Connection[Any], statement: Any, values: dict[str, Any]) -> bool:
    return conn.execute(statement, values).fetchone() is not None
