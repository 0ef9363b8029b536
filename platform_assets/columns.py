"""Column schemas and column lineage, made from the definitions.

Belongs here: definitions → dg.TableSchema, dg.TableColumnLineage. Does not: the tables (millwright/warehouse/).
"""

from __future__ import annotations

import dagster as dg

from millwright.definitions import Dataset, Definitions, Feature, FeatureView, Model, Reading
from millwright.definitions.deployed import inputs
from platform_assets import keys

TYPES = {"double": "double precision", "int64": "bigint", "string": "text", "bool": "boolean"}
TIMESTAMP = "timestamptz"
REQUIRED = dg.TableColumnConstraints(nullable=False)
PREFIX = "readings."
SET_PREFIX = "features."
_WORDS = {"sensor_type": "Kind of device that made the row.", "kind": "What happened, such as failure."}


def of_dataset(definitions: Definitions, dataset: Dataset) -> dg.TableSchema:
    """Fields that a delivery of the dataset has, after its mapping."""
    entity = definitions.entities[dataset.entity]
    return dg.TableSchema(
        columns=[
            *(dg.TableColumn(key, TYPES[entity.join_keys[key]], _join_key(dataset.entity), REQUIRED) for key in entity.keys),
            dg.TableColumn("event_timestamp", TIMESTAMP, "When it happened, as the machine says.", REQUIRED),
            *([dg.TableColumn(dataset.word, "text", _WORDS[dataset.word], REQUIRED)] if dataset.word else []),
            *(_reading(name, reading) for name, reading in dataset.values.items()),
        ]
    )


def of_measurements(definitions: Definitions) -> dg.TableSchema:
    """`warehouse.measurements`; every declared reading is a line of its own below `readings`."""
    readings = {
        name: reading
        for _, dataset in sorted(definitions.datasets.items())
        if dataset.target == "measurements"
        for name, reading in dataset.readings.items()
    }
    return dg.TableSchema(
        columns=[
            dg.TableColumn("series_id", "int", "Series: an entity's join keys and sensor type, in warehouse.series.", REQUIRED),
            dg.TableColumn("event_timestamp", TIMESTAMP, "When it happened, as the machine says.", REQUIRED),
            dg.TableColumn("readings", "jsonb", "Values by reading name; a new name needs no migration.", REQUIRED),
            *(_reading(name, reading, PREFIX) for name, reading in sorted(readings.items())),
            dg.TableColumn("batch_id", "bigint", "Batch that delivered the row (millwright batches).", REQUIRED),
            dg.TableColumn("position", "bigint", "Line of the file or Kafka offset.", REQUIRED),
            dg.TableColumn("sources", "jsonb", "Readings that other batches delivered: name → [batch, position]."),
        ],
        constraints=dg.TableConstraints(other=["primary key (series_id, event_timestamp)"]),
    )


def of_events() -> dg.TableSchema:
    """`warehouse.events`."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn("entity", "text", "Name of the entity.", REQUIRED),
            dg.TableColumn("keys", "text[]", "Join key values, in the order of the sorted join key names.", REQUIRED),
            dg.TableColumn("event_timestamp", TIMESTAMP, "When it happened.", REQUIRED),
            dg.TableColumn("kind", "text", "What happened, such as failure.", REQUIRED),
            dg.TableColumn("attributes", "jsonb", "What else is known of it.", REQUIRED),
            dg.TableColumn("batch_id", "bigint", "Batch that delivered the row (millwright batches).", REQUIRED),
            dg.TableColumn("position", "bigint", "Line of the file or Kafka offset.", REQUIRED),
        ],
        constraints=dg.TableConstraints(other=["unique (entity, keys, event_timestamp, kind)"]),
    )


def of_feature_sets(definitions: Definitions) -> dg.TableSchema:
    """`warehouse.feature_sets`; every declared feature is a line of its own below `features`."""
    declared = {name: reading for _, one in sorted(definitions.datasets.items()) for name, reading in one.features.items()}
    return dg.TableSchema(
        columns=[
            dg.TableColumn("entity", "text", "Name of the entity.", REQUIRED),
            dg.TableColumn("keys", "text[]", "Join key values, in the order of the sorted join key names.", REQUIRED),
            dg.TableColumn("event_timestamp", TIMESTAMP, "Time that the features are as of.", REQUIRED),
            dg.TableColumn("dataset", "text", "The dataset that they were uploaded to.", REQUIRED),
            dg.TableColumn("features", "jsonb", "Values by feature name.", REQUIRED),
            *(_reading(name, reading, SET_PREFIX) for name, reading in sorted(declared.items())),
            dg.TableColumn("batch_id", "bigint", "Batch that delivered the row (millwright batches).", REQUIRED),
            dg.TableColumn("position", "bigint", "Line of the file or Kafka offset.", REQUIRED),
        ],
        constraints=dg.TableConstraints(other=["unique (entity, keys, event_timestamp, dataset)"]),
    )


def of_view(definitions: Definitions, view: FeatureView, *, clocks: bool) -> dg.TableSchema:
    """Join keys, event timestamp and features; with `clocks` the two that only Postgres has."""
    entity = definitions.entity_of(view)
    columns = [
        *(dg.TableColumn(key, TYPES[entity.join_keys[key]], _join_key(view.entity), REQUIRED) for key in entity.keys),
        dg.TableColumn("event_timestamp", TIMESTAMP, "Time of the event that the features are as of.", REQUIRED),
    ]
    if clocks:
        columns += [
            dg.TableColumn("created_timestamp", TIMESTAMP, "When this version of the row was committed.", REQUIRED),
            dg.TableColumn("known_timestamp", TIMESTAMP, "When the newest delivery in it was committed.", REQUIRED),
        ]
    columns += [_feature(definitions, view, feature) for feature in view.features]
    key = ", ".join([*entity.keys, *(["event_timestamp"] if clocks else [])])
    return dg.TableSchema(columns=columns, constraints=dg.TableConstraints(other=[f"unique ({key})"]))


def of_model(definitions: Definitions, model: Model) -> dg.TableSchema:
    """The features that a model reads, in their order."""
    views = definitions.feature_views
    named = {(view.id, feature.name): (view, feature) for view in views.values() for feature in view.features}
    return dg.TableSchema(
        columns=[_feature(definitions, *named[each.view_id, each.feature]) for each in inputs(model, definitions)]
    )


def lineage_of_view(definitions: Definitions, view: FeatureView) -> dg.TableColumnLineage:
    """Each feature comes from one reading, from the times of one kind of event, or from one column of a feature set."""
    rows = keys.warehouse(view.relations[0])
    return dg.TableColumnLineage(
        {feature.name: _comes_from(view, feature) for feature in view.features}
        | {"event_timestamp": [dg.TableColumnDep(asset_key=rows, column_name="event_timestamp")]}
    )


def _comes_from(view: FeatureView, feature: Feature) -> list[dg.TableColumnDep]:
    if feature.expression is not None:
        # Past the view's own columns, which no lineage of one asset can show, to what these come from.
        of = [each for each in view.features if each.name in view.expressions[feature.name].features]
        found = {(dep.asset_key, dep.column_name): dep for each in of for dep in _comes_from(view, each)}
        return list(found.values())
    if feature.relation == "events":
        table, names = keys.warehouse("events"), ["kind", "event_timestamp"]
    else:
        table = keys.warehouse(view.relations[0])
        names = [f"{SET_PREFIX if view.source.feature_set else PREFIX}{feature.of or feature.name}"]
    return [dg.TableColumnDep(asset_key=table, column_name=name) for name in names]


def lineage_of_online(definitions: Definitions, view: FeatureView) -> dg.TableColumnLineage:
    """Each online column is the same column of the view's table."""
    names = [*definitions.entity_of(view).keys, "event_timestamp", *(feature.name for feature in view.features)]
    table = keys.features(view.id)
    return dg.TableColumnLineage({name: [dg.TableColumnDep(asset_key=table, column_name=name)] for name in names})


def _join_key(entity: str) -> str:
    return f"Join key of {entity}."


def _reading(name: str, reading: Reading, prefix: str = "") -> dg.TableColumn:
    limits = [f"≥ {reading.min:g}"] if reading.min is not None else []
    limits += [f"≤ {reading.max:g}"] if reading.max is not None else []
    unit = [f"unit {reading.unit}"] if reading.unit else []
    return dg.TableColumn(
        prefix + name,
        TYPES[reading.type],
        _with_unit(reading.description or f"Reading {name}.", reading.unit),
        dg.TableColumnConstraints(nullable=not reading.required, other=[*unit, *limits]),
    )


def _feature(definitions: Definitions, view: FeatureView, feature: Feature) -> dg.TableColumn:
    unit = definitions.feature_unit(view, feature)
    return dg.TableColumn(
        feature.name,
        TYPES[definitions.feature_type(view, feature)],
        _with_unit(feature.description or (_meaning(feature) if feature.expression else f"The {_meaning(feature)}."), unit),
        dg.TableColumnConstraints(other=[*([f"unit {unit}"] if unit else []), _meaning(feature)]),
    )


def _meaning(feature: Feature) -> str:
    if feature.expression is not None:
        return feature.expression
    if feature.aggregate is None:
        return f"uploaded {feature.of or feature.name}"
    return f"{feature.aggregate} of {feature.of}{' events' if feature.relation == 'events' else ''}"


def _with_unit(text: str, unit: str) -> str:
    return f"{text} [{unit}]" if unit else text
