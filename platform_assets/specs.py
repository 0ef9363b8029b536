"""Asset specs, made from the definitions: one factory a layer, one rule for what all of them carry.

Belongs here: what the UI says of an asset before it was ever materialized. Does not: computing it (refresh.py, registration.py).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from millwright.definitions import Definitions, FeatureView, Model
from millwright.definitions.base import Definition
from millwright.definitions.deployed import view_ids
from millwright.definitions.durations import format_duration
from millwright.settings import Settings
from platform_assets import columns, keys, partitions

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_TEAM = re.compile(r"[A-Za-z0-9_]+")
_TAG = re.compile(r"[A-Za-z0-9_.-]{1,63}")


def landing(definitions: Definitions) -> list[dg.AssetSpec]:
    """External assets: what arrives. Observed by the run that lands it."""
    specs = [
        _spec(
            keys.landing_csv(name),
            dataset.description,
            grain=f"one line per {_key(definitions, dataset.entity)} and event timestamp",
            source=f"files in inbox/{name}/ and `millwright upload --dataset {name}`",
            refresh="observed by the run that lands the file",
            of=[dataset],
            kinds={"csv", "file"},
            schema=columns.of_dataset(definitions, dataset),
            tags={"entity": dataset.entity},
            table=f"inbox/{name}",
            uri=f"file://inbox/{name}",
        )
        for name, dataset in sorted(definitions.datasets.items())
    ]
    for name, topic in sorted(definitions.topics.items()):
        dataset = definitions.datasets[topic.dataset]
        specs.append(
            _spec(
                keys.landing_kafka(name),
                topic.description,
                grain=f"one message per {_key(definitions, dataset.entity)} and event timestamp",
                source=f"Kafka topic {name}, JSON objects with the columns of {topic.dataset}",
                refresh="observed by the run that lands the offsets",
                of=[topic, dataset],
                kinds={"kafka", "json"},
                schema=columns.of_dataset(definitions, dataset),
                tags={"entity": dataset.entity},
                table=name,
                uri=f"kafka://{name}",
            )
        )
    return specs


def warehouse(settings: Settings, definitions: Definitions) -> list[dg.AssetSpec]:
    """The tables that deliveries land in."""
    schemas = {
        "measurements": columns.of_measurements(definitions),
        "events": columns.of_events(),
        "feature_sets": columns.of_feature_sets(definitions),
    }
    texts = {
        "measurements": (
            "Every row that machines delivered, compared reading by reading.",
            "one row per series and event timestamp",
        ),
        "events": ("Labelled moments, such as failures.", "one row per entity, event timestamp and kind"),
        "feature_sets": (
            "Features that were computed elsewhere and uploaded.",
            "one row per entity, event timestamp and dataset",
        ),
    }
    every = list(definitions.datasets.values())
    specs = []
    for target in keys.TARGETS:
        datasets = {name: dataset for name, dataset in sorted(definitions.datasets.items()) if dataset.relation == target}
        topics = [name for name, topic in sorted(definitions.topics.items()) if topic.dataset in datasets]
        description, grain = texts[target]
        specs.append(
            _spec(
                keys.warehouse(target),
                description,
                grain=grain,
                source=", ".join([*datasets, *(f"topic {name}" for name in topics)]) or "no dataset yet",
                refresh="by the sensor `planner`, as soon as something arrives",
                of=list(datasets.values()) or every,
                kinds={"postgres", "table"},
                schema=schemas[target],
                deps=[*map(keys.landing_csv, datasets), *map(keys.landing_kafka, topics)],
                table=f"warehouse.{target}",
                uri=f"postgresql:///warehouse.{target}",
                daily=settings,
            )
        )
    return specs


def features(settings: Settings, definitions: Definitions) -> list[dg.AssetSpec]:
    """A table a feature view version."""
    return [
        _spec(
            keys.features(view.id),
            view.description,
            grain=f"one row per {_key(definitions, view.entity)} and event timestamp",
            source="; ".join([f"warehouse/{view.relations[0]}{_of_type(view)}: {', '.join(view.readings)}", *_of_kinds(view)]),
            refresh="by the sensor `planner`, for the entities and times that a delivery changed",
            of=[view],
            kinds={"postgres", "duckdb", "table"},
            schema=columns.of_view(definitions, view, clocks=True),
            lineage=columns.lineage_of_view(definitions, view),
            tags=_view_tags(view),
            deps=[keys.warehouse(relation) for relation in view.relations],
            table=f"features.{view.id}",
            uri=f"postgresql:///features.{view.id}",
            daily=settings,
        )
        for view in definitions.feature_views.values()
    ]


def feast(definitions: Definitions) -> list[dg.AssetSpec]:
    """A feature view in Feast's registry; follows its definition by itself, see automation.py."""
    return [
        _spec(
            keys.feast(view.id),
            f"{view.description} As Feast knows it.",
            grain=f"one feature view, {len(view.features)} features",
            source=f"feature_repo/feature_views/{view.id}.yaml",
            refresh="when the definition changes, and by `millwright apply`",
            of=[view],
            kinds={"feast", "postgres"},
            schema=columns.of_view(definitions, view, clocks=False),
            tags=_view_tags(view),
            deps=[keys.features(view.id)],
            table=f"feast.{view.id}",
            uri=f"feast://{view.id}",
        )
        for view in definitions.feature_views.values()
    ]


def online(settings: Settings, definitions: Definitions) -> list[dg.AssetSpec]:
    """The latest row of each entity, in Redis."""
    return [
        _spec(
            keys.online(view.id),
            f"{view.description} The latest row, for serving.",
            grain=f"one hash per {_key(definitions, view.entity)}: its latest feature row; a day holds the rows sent of that day",
            source=f"features.{view.id}",
            refresh=f"after each refresh of features/{view.id}; served for {format_duration(view.ttl)} after the event",
            of=[view],
            kinds={"redis", "feast"},
            schema=columns.of_view(definitions, view, clocks=False),
            lineage=columns.lineage_of_online(definitions, view),
            tags=_view_tags(view),
            deps=[keys.features(view.id), keys.feast(view.id)],
            table=f"{settings.feast_project}.{view.id}",
            uri=f"redis:///{settings.feast_project}/{view.id}",
            daily=settings,
        )
        for view in definitions.feature_views.values()
    ]


def models(definitions: Definitions) -> list[dg.AssetSpec]:
    """A model with all its versions: what they read, and nothing of how they were trained."""
    found = []
    for name, versions in model_versions(definitions).items():
        newest = versions[-1]
        found.append(
            _spec(
                keys.models(name),
                newest.description,
                grain=f"one model, {len(versions)} version{'s' if len(versions) > 1 else ''}",
                source=", ".join(f"feature_repo/models/{model.id}.yaml" for model in versions),
                refresh="when a definition changes; a publish does not run it again",
                of=versions,
                kinds={"onnx"},
                schema=columns.of_model(definitions, newest),
                tags={"model": name, "version": str(newest.version)},
                deps=[keys.online(view_id) for view_id in dict.fromkeys(each for model in versions for each in view_ids(model))],
                table=f"models.{name}",
                uri=f"onnx://{name}",
            ).replace_attributes(skippable=True)
        )
    return found


def model_versions(definitions: Definitions) -> dict[str, list[Model]]:
    """Model → its versions, the newest last."""
    found: dict[str, list[Model]] = {}
    for model in sorted(definitions.models.values(), key=lambda model: (model.model, model.version)):
        found.setdefault(model.model, []).append(model)
    return found


def owners(definitions: Iterable[Definition]) -> list[str]:
    """Owners as Dagster takes them: an e-mail address, or `team:name`; anything else is left out."""
    found = dict.fromkeys(definition.owner.strip() for definition in definitions if definition.owner.strip())
    named = (owner if _EMAIL.fullmatch(owner) else f"team:{owner.removeprefix('team:')}" for owner in found)
    return [owner for owner in named if _EMAIL.fullmatch(owner) or _TEAM.fullmatch(owner.removeprefix("team:"))]


def code_version(definitions: Sequence[Definition]) -> str:
    """Short hash of everything in the definitions that changes a value."""
    hashes = sorted(definition.content_hash() for definition in definitions)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()[:12]


def _spec(
    key: dg.AssetKey,
    description: str,
    *,
    grain: str,
    source: str,
    refresh: str,
    of: Sequence[Definition],
    kinds: set[str],
    schema: dg.TableSchema,
    table: str,
    uri: str,
    lineage: dg.TableColumnLineage | None = None,
    tags: Mapping[str, str] | None = None,
    deps: Sequence[dg.AssetKey] = (),
    daily: Settings | None = None,
) -> dg.AssetSpec:
    """The one rule: every asset has group, description, owners, kinds, tags, code version, column schema, table name and URI."""
    lines = [
        description.strip() or key.path[-1],
        "",
        f"- **grain** {grain}",
        f"- **source** {source}",
        f"- **refresh** {refresh}",
    ]
    metadata: dict[str, Any] = {"dagster/column_schema": schema, "dagster/table_name": table, "dagster/uri": uri}
    if lineage is not None:
        metadata["dagster/column_lineage"] = lineage
    own = {name: value for one in of for name, value in one.tags.items()} | {"layer": key.path[0], **(tags or {})}
    return dg.AssetSpec(
        key=key,
        description="\n".join(lines),
        group_name=key.path[0],
        owners=owners(of),
        kinds=kinds,
        tags={name: value for name, value in own.items() if _TAG.fullmatch(name) and (not value or _TAG.fullmatch(value))},
        code_version=code_version(of),
        metadata=metadata,
        deps=deps,
        skippable=daily is not None,
        partitions_def=partitions.days(daily.first_day) if daily else None,
    )


def _key(definitions: Definitions, entity: str) -> str:
    return " and ".join(definitions.entities[entity].keys)


def _of_type(view: FeatureView) -> str:
    if view.source.feature_set:
        return f" of {view.source.feature_set}"
    return f" of sensor type {view.source.sensor_type}" if view.source.sensor_type else ""


def _of_kinds(view: FeatureView) -> list[str]:
    return [f"warehouse/events of kind {', '.join(view.kinds)}"] if view.kinds else []


def _view_tags(view: FeatureView) -> dict[str, str]:
    return {"entity": view.entity, "feature_view": view.feature_view, "version": str(view.version)}
