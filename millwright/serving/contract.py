"""Feast's feature-server contract: what is asked and answered, as models.

Belongs here: shapes. Does not: routes (api.py).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from millwright.serving.problems import Refused


class OnlineFeaturesRequest(BaseModel):
    """Feast's request: columns of join keys, and either references `view:feature` or a feature service.

    A view is a version (`machine_vitals_v1`) or a name, which means its active version; a feature service is a view's name.
    """

    model_config = ConfigDict(extra="ignore", strict=True)

    entities: dict[str, list[Any]] = Field(min_length=1)
    features: list[str] = []
    feature_service: str | None = None
    full_feature_names: bool = False


class Metadata(BaseModel):
    """Names of the results, in their order."""

    feature_names: list[str]


class Vector(BaseModel):
    """One feature over all entities. Statuses: PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE; times are RFC 3339."""

    values: list[Any]
    statuses: list[str]
    event_timestamps: list[str]


class OnlineFeaturesAnswer(BaseModel):
    """Feast's response: the join keys come first among the results."""

    metadata: Metadata
    results: list[Vector]


def entity_rows(entities: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns → rows. Raises Refused when they differ in length or are empty."""
    lengths = {name: len(values) for name, values in entities.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        counts = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise Refused(422, "bad_entities", f"every join key needs the same number of values, at least one: {counts}")
    return [dict(zip(entities, values, strict=True)) for values in zip(*entities.values(), strict=True)]
