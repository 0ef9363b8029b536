"""A deployed model: an ONNX file, the features that it reads in their order, and what is done where one is missing or stale.

Belongs here: the definition, what it must agree on with the feature views, its inputs. Does not: the ONNX file's contents
(prediction/), the other definitions (models.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator

from millwright.definitions.base import Definition, Name, ReadingType
from millwright.definitions.words import nearest

if TYPE_CHECKING:
    from millwright.definitions.models import Definitions

FOLDER = "models"
"""Folder of the feature repository with the definitions of models and their ONNX files."""
Reference = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}_v[1-9][0-9]{0,3}(:[a-z][a-z0-9_]{0,39})?$")]
Value = StrictBool | StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | StrictStr
_FITS: dict[ReadingType, tuple[type, ...]] = {"double": (float, int), "int64": (int,), "string": (str,), "bool": (bool,)}


class Onnx(BaseModel):
    """The file in feature_repo/models and its SHA-256: a file with other bytes is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}\.onnx$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Model(Definition):
    """One version of a model.

    `features`: the inputs in their order, `machine_vitals_v1:temperature_last` for one, `machine_vitals_v1` for all of a view.
    """

    model: Name
    version: int = Field(ge=1, le=9999)
    onnx: Onnx
    features: list[Reference] = Field(min_length=1, max_length=500)
    on_missing: Literal["refuse", "impute"] = Field(
        default="refuse", description="Where a feature has no value: refuse the entity, or take the declared one."
    )
    on_stale: Literal["refuse", "impute", "use"] = Field(
        default="refuse",
        description="Where a value is older than its view's TTL: refuse the entity, take the declared value, or use the old one; "
        "use also lets answers be made of the values read last while Redis is away. The answer says so.",
    )
    impute: dict[Name, Value] = Field(default={}, description="Value by feature; a feature that is not named is refused.")

    @property
    def id(self) -> str:
        """`<model>_v<n>`: the version's name in the catalog, in Feast (its feature service) and in requests."""
        return f"{self.model}_v{self.version}"

    @model_validator(mode="after")
    def _policies(self) -> Self:
        imputes = "impute" in (self.on_missing, self.on_stale)
        if imputes and not self.impute:
            raise ValueError("impute needs values: impute: {feature: value}")
        if self.impute and not imputes:
            raise ValueError("values to impute, but neither on_missing nor on_stale is impute")
        return self


@dataclass(frozen=True)
class Input:
    """A feature that a model reads; `place`: which entry of `features` names it."""

    view_id: str
    feature: str
    type: ReadingType
    place: int

    @property
    def reference(self) -> str:
        """`<view id>:<feature>`."""
        return f"{self.view_id}:{self.feature}"


def inputs(model: Model, definitions: Definitions) -> list[Input]:
    """The features that a model reads, in order; load() has checked that they exist."""
    return [each for each in _resolved(model, definitions) if isinstance(each, Input)]


def view_ids(model: Model) -> list[str]:
    """The feature views that a model reads, each once."""
    return list(dict.fromkeys(reference.partition(":")[0] for reference in model.features))


def model_mistakes(model: Model, definitions: Definitions) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every disagreement of a model with the feature views: where in the file, and what."""
    if model.model in {view.feature_view for view in definitions.feature_views.values()}:
        yield ("model",), f"a feature view is called {model.model}: Feast has one name for both"
    found: dict[str, Input] = {}
    keys: dict[str, tuple[str, str]] = {}
    for each in _resolved(model, definitions):
        if not isinstance(each, Input):
            yield each
        elif each.feature in found:
            other = found[each.feature].reference
            yield ("features", each.place), f"{each.reference} and {other} have one name: inputs are told apart by it"
        else:
            found[each.feature] = each
    for view_id in view_ids(model):
        view = definitions.feature_views.get(view_id)
        entity = definitions.entities.get(view.entity) if view else None
        for key, kind in entity.join_keys.items() if entity else ():
            if keys.setdefault(key, (kind, view_id))[0] != kind:
                yield ("features",), f"{key} is {kind} in {view_id}, but {keys[key][0]} in {keys[key][1]}"
    for name, value in model.impute.items():
        if name not in found:
            yield ("impute", name), f"the model reads no feature {name}{nearest(name, found)}"
        elif not _fits(value, found[name].type):
            yield ("impute", name), f"{found[name].reference} is {found[name].type}, got {value!r}"


def _resolved(model: Model, definitions: Definitions) -> Iterator[Input | tuple[tuple[str | int, ...], str]]:
    for place, reference in enumerate(model.features):
        view_id, _, name = reference.partition(":")
        view = definitions.feature_views.get(view_id)
        if view is None:
            yield ("features", place), f"no feature view {view_id}{nearest(view_id, definitions.feature_views)}"
            continue
        named = {feature.name: feature for feature in view.features}
        if name and name not in named:
            yield ("features", place), f"{view_id} has no feature {name}{nearest(name, named)}"
            continue
        for feature in [named[name]] if name else view.features:
            yield Input(view_id, feature.name, definitions.feature_type(view, feature), place)


def _fits(value: Any, kind: ReadingType) -> bool:
    return isinstance(value, _FITS[kind]) and (kind == "bool" or not isinstance(value, bool))
