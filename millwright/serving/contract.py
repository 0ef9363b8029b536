"""Feast's feature-server contract: what is asked and answered, as models.

Belongs here: shapes. Does not: routes (api.py).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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
