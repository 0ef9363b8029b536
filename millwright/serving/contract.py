"""What is asked and answered about features, as models: Feast's feature-server contract, and ours by rows.

Belongs here: shapes, columns to rows. Does not: routes (features.py).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from millwright.serving.problems import Refused

Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"]
_REFERENCES = ["press_vitals:temperature_mean_1h", "press_vitals:vibration_max_15m"]
_EITHER: dict[str, Any] = {
    "oneOf": [
        {"required": ["features"], "properties": {"features": {"minItems": 1}, "feature_service": {"type": "null"}}},
        {
            "required": ["feature_service"],
            "properties": {"features": {"maxItems": 0}, "feature_service": {"type": "string"}},
        },
    ]
}


class OnlineFeaturesRequest(BaseModel):
    """Feast's request: columns of join keys, and either references `view:feature` or a feature service.

    A view is a version (`machine_vitals_v1`) or a name, which means its active version; a feature service is
    a view's name, or a version of a model (`press_failures_v1`): what it reads.
    """

    model_config = ConfigDict(extra="ignore", strict=True, json_schema_extra=_EITHER)

    entities: dict[str, Annotated[list[Any], Field(json_schema_extra={"minItems": 1})]] = Field(
        min_length=1, description="Values of each join key, one an entity.", examples=[{"machine_id": ["press-07", "press-08"]}]
    )
    features: list[str] = Field(default=[], description="References `view:feature`.", examples=[_REFERENCES])
    feature_service: str | None = Field(default=None, description="In place of features: all of a view's.")
    full_feature_names: bool = Field(default=False, description="Name results `view__feature`.")
    include_feature_view_version_metadata: bool = Field(default=False, description="Say which versions were read.")


class ViewVersion(BaseModel):
    """A version that was read."""

    name: str
    version: int


class Metadata(BaseModel):
    """Names of the results, in their order."""

    feature_names: list[str]
    feature_view_metadata: list[ViewVersion] | None = None


class Vector(BaseModel):
    """One feature over all entities; times are RFC 3339, 1970 where there is no row."""

    values: list[Any]
    statuses: list[Status]
    event_timestamps: list[str]


class OnlineFeaturesAnswer(BaseModel):
    """Feast's response: the join keys come first among the results."""

    metadata: Metadata
    results: list[Vector]
    status: bool = True


class RowsRequest(BaseModel):
    """Features of entities, by rows. A bare view in `features` means all that it has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    entities: list[Annotated[dict[str, str | int], Field(min_length=1)]] = Field(
        min_length=1, description="Join key values of each entity.", examples=[[{"machine_id": "press-07"}]]
    )
    features: list[str] = Field(min_length=1, description="References `view:feature`, or views.", examples=[["press_vitals"]])


def entity_rows(entities: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Columns → rows. Raises Refused when they differ in length or are empty."""
    lengths = {name: len(values) for name, values in entities.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        counts = ", ".join(f"{name[:100]} has {count}" for name, count in lengths.items())
        raise Refused(422, "bad_entities", f"every join key needs the same number of values, at least one: {counts[:500]}")
    names = list(entities)
    return [dict(zip(names, values, strict=True)) for values in zip(*entities.values(), strict=True)]
