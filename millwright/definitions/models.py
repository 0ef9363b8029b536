"""Models of the definition files: entity, topic, feature view, and all of them together.

Belongs here: what one file may say. Does not: datasets (datasets.py), one feature (features.py), deployed models (deployed.py),
file access (load.py), SQL, Feast objects.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from millwright.definitions.base import Definition, KeyType, Name, ReadingType
from millwright.definitions.datasets import Dataset, Reading
from millwright.definitions.deployed import Model
from millwright.definitions.durations import MICROSECOND, Duration
from millwright.definitions.expression_types import type_of, unit_of
from millwright.definitions.expressions import Node, parse
from millwright.definitions.features import LONGEST, Feature, Windowed

RESERVED = frozenset({"event_timestamp", "created_timestamp", "superseded_timestamp", "known_timestamp", "sensor_type", "kind"})
TAKEN_FEATURES = RESERVED | {"entity_id", "t"}
"""Names that no feature can have: the engine's rows have columns of these."""
TAKEN_KEYS = RESERVED | {"segment", "first_event", "end_event", "tile_us", "first_tile", "end_tile"}
"""Names that no join key can have: they stand beside the keys in a refresh."""


class Entity(Definition):
    """A thing that has features, and the join keys that name one."""

    entity: Name
    join_keys: dict[Name, KeyType] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _free_names(self) -> Self:
        if taken := sorted(TAKEN_KEYS & self.join_keys.keys()):
            raise ValueError(f"reserved names: {', '.join(taken)}")
        return self

    @property
    def keys(self) -> tuple[str, ...]:
        """Join key names, sorted: the order of every key array."""
        return tuple(sorted(self.join_keys))


class Topic(Definition):
    """A Kafka topic of JSON objects, each one row of a dataset."""

    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    dataset: Name


class Source(BaseModel):
    """Which rows are a view's events: measurements of the entity, or the rows of an uploaded feature set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensor_type: Name | None = Field(default=None, description="Only rows of this sensor type; unset: all of the entity.")
    feature_set: Name | None = Field(default=None, description="A dataset of that target: its columns are the features.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.sensor_type and self.feature_set:
            raise ValueError("a view's rows are measurements of a sensor type or a feature set, not both")
        return self

    @property
    def word(self) -> str | None:
        """What series of the rows are called in the warehouse; None: anything."""
        return self.sensor_type or self.feature_set


class FeatureView(Definition):
    """Features of one entity, one version a file.

    `every`: of each bucket of that length (of the clock of 1970, UTC) only its last row is kept, once the entity has a row at or
    after the bucket's end.
    """

    feature_view: Name
    version: int = Field(ge=1, le=9999)
    entity: Name
    source: Source = Source()
    ttl: Duration
    every: Duration | None = None
    features: list[Feature] = Field(
        default=[], max_length=500, description="At least one; of a feature set, unset: all of its columns."
    )

    @property
    def id(self) -> str:
        """`<view>_v<n>`: asset, table, Feast view and Redis all use it."""
        return f"{self.feature_view}_v{self.version}"

    @property
    def every_us(self) -> int | None:
        """Length of the buckets in microseconds."""
        return self.every // MICROSECOND if self.every else None

    @property
    def windowed(self) -> tuple[Windowed, ...]:
        """The features that are aggregates over windows."""
        return tuple(found for feature in self.features if (found := feature.windowed))

    @property
    def expressions(self) -> dict[str, Node]:
        """Features that are expressions of others, those that others need before them. Raises ExpressionError."""
        trees = {feature.name: parse(feature.expression) for feature in self.features if feature.expression is not None}
        needs = {name: trees.keys() & tree.features.keys() for name, tree in trees.items()}
        return {name: trees[name] for name in TopologicalSorter(needs).static_order()}

    @property
    def readings(self) -> tuple[str, ...]:
        """Names of the readings, or of the columns of the feature set, that are used, sorted."""
        return tuple(sorted(set(self.columns.values()) | {f.of for f in self.windowed if f.relation == "measurements"}))

    @property
    def columns(self) -> dict[str, str]:
        """Features that are columns of a feature set: feature → column."""
        return {feature.name: feature.column for feature in self.features if feature.column}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of event used, sorted."""
        return tuple(sorted({feature.of for feature in self.windowed if feature.relation == "events"}))

    @property
    def relations(self) -> tuple[str, ...]:
        """The warehouse's relations that it reads: the one of its rows first."""
        return ("feature_sets" if self.source.feature_set else "measurements", *(["events"] if self.kinds else []))

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [feature.name for feature in self.features]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"feature names must be unique: {', '.join(doubled)}")
        if taken := sorted(TAKEN_FEATURES & set(names)):
            raise ValueError(f"reserved names: {', '.join(taken)}")
        if self.every and self.every > LONGEST:
            raise ValueError(f"every must be at most {LONGEST.days}d")
        return self


class Definitions(BaseModel):
    """Everything in one feature repository, keyed by name (feature views by `<view>_v<n>`, models by `<model>_v<n>`)."""

    model_config = ConfigDict(frozen=True)

    entities: dict[str, Entity] = {}
    datasets: dict[str, Dataset] = {}
    topics: dict[str, Topic] = {}
    feature_views: dict[str, FeatureView] = {}
    models: dict[str, Model] = {}

    def reading(self, entity: str, name: str) -> Reading | None:
        """The declaration of a reading of an entity: the first of the entity's datasets (by name) that has it."""
        for _, dataset in sorted(self.datasets.items()):
            if dataset.entity == entity and dataset.target == "measurements" and name in dataset.readings:
                return dataset.readings[name]
        return None

    def value(self, view: FeatureView, name: str) -> Reading | None:
        """The declaration of a value of the view's rows: a reading, or a column of its feature set."""
        if view.source.feature_set is None:
            return self.reading(view.entity, name)
        dataset = self.datasets.get(view.source.feature_set)
        return dataset.features.get(name) if dataset else None

    def entity_of(self, view: FeatureView) -> Entity:
        """The entity of a view (load() has checked that it exists)."""
        return self.entities[view.entity]

    def feature_type(self, view: FeatureView, feature: Feature) -> ReadingType:
        """Value type of a feature: int64 for count; the reading's for min, max, first and last, a column's own; what an
        expression's features make it; else double."""
        if feature.expression is not None:
            named = {each.name: each for each in view.features}
            return type_of(parse(feature.expression), lambda name: self.feature_type(view, named[name]))
        if feature.aggregate == "count":
            return "int64"
        reading = self._reading_of(view, feature)
        same = feature.aggregate in {None, "min", "max", "first", "last"}
        return reading.type if same and reading is not None else "double"

    def feature_unit(self, view: FeatureView, feature: Feature) -> str:
        """Unit of a feature: none for count, seconds for age, per second for slope, declared or derived of an
        expression, else the reading's or column's."""
        if feature.expression is not None:
            named = {each.name: each for each in view.features}
            return feature.unit or unit_of(parse(feature.expression), lambda name: self.feature_unit(view, named[name]))
        reading = self._reading_of(view, feature)
        unit = "" if reading is None else reading.unit
        return {"count": "", "age": "s", "slope": f"{unit}/s" if unit else ""}.get(feature.aggregate or "", unit)

    def _reading_of(self, view: FeatureView, feature: Feature) -> Reading | None:
        name = feature.of or feature.name
        return self.value(view, name) if feature.relation == "measurements" else None
