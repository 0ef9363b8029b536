"""Feast's objects from definitions and the catalog: one builder for `millwright apply` and for feature_repo/feast_objects.py.

Belongs here: Entities, FeatureViews `<view>_v<n>`, FeatureServices `<view>` (the active version) and `<model>_v<n>` (its
inputs).
Does not: registering them (feast.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from millwright.definitions import Definitions, Entity, FeatureView, Model, load
from millwright.registry.catalog import AppliedView, Status, applied
from millwright.registry.models import served_models
from millwright.warehouse.connect import connect
from millwright.warehouse.plain_feast import nearest_settings


@dataclass(frozen=True)
class Registered:
    """A view with all that Feast wants to know of it."""

    view: FeatureView
    entity: Entity
    types: Mapping[str, str]
    units: Mapping[str, str]
    status: Status


def repository_objects(feature_repo: Path) -> list[Any]:
    """Feast's objects for a repository, as `apply` registers them; statuses come from the nearest project's catalog."""
    settings = nearest_settings()
    definitions = load(feature_repo)
    roles = ("postgres_url", "postgres_owner_url", "postgres_reader_url")
    role = next((field for field in roles if getattr(settings, field)), roles[0])
    with connect(settings.require(role), autocommit=True) as conn:
        return build(registered(definitions, conn), served_models(conn))


def registered(definitions: Definitions, conn: psycopg.Connection[Any]) -> list[Registered]:
    """Views of files and of the catalog (whose file is gone), without the retired; statuses as applied or as apply would give."""
    known = applied(conn) if conn.execute("select to_regclass('catalog.feature_views')").fetchone() != (None,) else {}
    found = [
        Registered(
            view,
            definitions.entity_of(view),
            {feature.name: definitions.feature_type(view, feature) for feature in view.features},
            {feature.name: definitions.feature_unit(view, feature) for feature in view.features},
            status,
        )
        for view, status in statuses(definitions, known)
    ]
    found.extend(_without_file(conn, [view_id for view_id in known if view_id not in definitions.feature_views]))
    return sorted((each for each in found if each.status != "retired"), key=lambda each: each.view.id)


def statuses(
    definitions: Definitions, known: Mapping[str, AppliedView], drafts: Collection[str] = ()
) -> Iterator[tuple[FeatureView, Status]]:
    """Views with their status: as applied, else draft for those of `drafts` and for a later version of a name, else active."""
    names = {view.feature_view for view in known.values()}
    for view in sorted(definitions.feature_views.values(), key=lambda view: (view.feature_view, view.version)):
        if view.id in known:
            yield view, known[view.id].status
        else:
            yield view, "draft" if view.feature_view in names or view.id in drafts else "active"
            names.add(view.feature_view)


def build(views: list[Registered], models: Sequence[Model] = ()) -> list[Any]:
    """Feast's Entities, FeatureViews and FeatureServices; equal input gives equal objects."""
    from feast import FeatureService

    entities = {name: made for each in views for name, made in _entities(each.entity).items()}
    feature_views = {each.view.id: _feature_view(each, entities) for each in views}
    services = [
        FeatureService(
            name=each.view.feature_view,
            features=[feature_views[each.view.id]],
            description=f"The active version of {each.view.feature_view}: {each.view.id}.",
            owner=each.view.owner,
            tags={"feature_view": each.view.feature_view, "version": str(each.view.version)},
        )
        for each in views
        if each.status == "active"
    ]
    services += [_model_service(model, feature_views) for model in models]
    return [*entities.values(), *feature_views.values(), *services]


def _model_service(model: Model, feature_views: Mapping[str, Any]) -> Any:
    from feast import FeatureService

    wanted: dict[str, list[str] | None] = {}
    for reference in model.features:
        view_id, _, name = reference.partition(":")
        names = wanted.setdefault(view_id, [])
        if not name or names is None:
            wanted[view_id] = None  # all of the view
        else:
            names.append(name)
    return FeatureService(
        name=model.id,
        features=[feature_views[view_id][names] if names else feature_views[view_id] for view_id, names in wanted.items()],
        description=f"What the model {model.id} reads.",
        owner=model.owner,
        tags={"model": model.model, "version": str(model.version)},
    )


def _entities(entity: Entity) -> dict[str, Any]:
    """Feast's entity has one join key: one with several becomes several, `<entity>_<join key>`."""
    from feast import Entity as FeastEntity
    from feast import ValueType

    types = {"string": ValueType.STRING, "int64": ValueType.INT64}
    return {
        name: FeastEntity(
            name=name,
            join_keys=[key],
            value_type=types[entity.join_keys[key]],
            description=entity.description,
            owner=entity.owner,
        )
        for key in entity.keys
        for name in [entity.entity if len(entity.keys) == 1 else f"{entity.entity}_{key}"]
    }


def _feature_view(each: Registered, entities: Mapping[str, Any]) -> Any:
    from feast import FeatureView as FeastView
    from feast import Field
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
    from feast.types import Bool, Float64, Int64, String

    types = {"double": Float64, "int64": Int64, "string": String, "bool": Bool}
    view = each.view
    source = PostgreSQLSource(
        name=view.id,
        table=f"features.{view.id}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        description=view.description,
        owner=view.owner,
    )
    fields = [
        Field(
            name=feature.name,
            dtype=types[each.types[feature.name]],
            description=feature.description,
            tags={"unit": unit} if (unit := each.units[feature.name]) else {},
        )
        for feature in view.features
    ]
    keys = [Field(name=key, dtype=types[each.entity.join_keys[key]]) for key in each.entity.keys]
    return FeastView(
        name=view.id,
        entities=[entities[name] for name in _entities(each.entity)],
        ttl=view.ttl,
        schema=[*keys, *fields],
        source=source,
        online=each.status in {"active", "deprecated"},
        description=view.description,
        owner=view.owner,
        tags={**view.tags, "definition_hash": view.content_hash(), "status": each.status},
    )


def _without_file(conn: psycopg.Connection[Any], view_ids: list[str]) -> Iterator[Registered]:
    rows = conn.execute(
        "select v.definition, v.status, e.entity, e.join_keys, e.description, e.owner, "
        "(select json_object_agg(name, json_build_array(type, unit)) from catalog.features f where f.view_id = v.view_id) "
        "from catalog.feature_views v join catalog.entities e using (entity) where v.view_id = any(%s)",
        [view_ids],
    ).fetchall()
    for definition, status, entity, join_keys, description, owner, features in rows:
        yield Registered(
            FeatureView.model_validate(definition),
            Entity(entity=entity, join_keys=join_keys, description=description, owner=owner),
            {name: kind for name, (kind, _) in features.items()},
            {name: unit for name, (_, unit) in features.items()},
            status,
        )
