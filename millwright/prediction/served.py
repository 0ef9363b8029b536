"""Which models are served: the catalog's rows, names to versions.

Belongs here: resolving a model's name. Does not: writing the catalog (registry/), sessions (session.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from millwright.definitions.deployed import Model
from millwright.definitions.words import nearest
from millwright.online.served import Served, Wanted


class UnknownModel(LookupError):
    """A model or version that is not deployed, or not served."""


@dataclass(frozen=True)
class ServedModel:
    """A deployed version. `views`: content hash of each feature view that it reads."""

    definition: Model
    definition_hash: str
    status: str
    views: Mapping[str, str]

    @property
    def uses_stale(self) -> bool:
        """Whether it may be given values past their TTL, and those that were read last while Redis is away."""
        return self.definition.on_stale == "use"

    def wanted(self, served: Served) -> list[Wanted]:
        """Its inputs in order. Raises UnknownFeature where a view is no longer served."""
        return served.wanted(self.definition.features)


@dataclass(frozen=True)
class ModelInput:
    """An input as the catalog knows it: definitions.deployed.Input without the files."""

    feature: str
    type: str
    reference: str
    place: int = 0


def inputs(wanted: Iterable[Wanted]) -> list[ModelInput]:
    """Features that were resolved, as a model's inputs."""
    return [ModelInput(each.feature, each.view.features[each.feature], f"{each.view.view_id}:{each.feature}") for each in wanted]


class ServedModels:
    """Deployed versions by id, and the active one of each name."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models = {each.definition.id: each for each in models}
        self.active = {each.definition.model: each for each in self.models.values() if each.status == "active"}

    @classmethod
    def from_catalog(cls, conn: psycopg.Connection[Any]) -> ServedModels:
        """The catalog as applied; any role that may read it. None where the catalog is older than models: apply makes it new."""
        there = conn.execute("select to_regclass('catalog.models')").fetchone()
        if not there or not there[0]:
            return cls(())
        rows = conn.execute(
            "select definition, definition_hash, status, (select coalesce(json_object_agg(view_id, v.definition_hash), '{}') "
            "from catalog.feature_views v where view_id = any(m.views)) from catalog.models m order by model, version"
        ).fetchall()
        return cls(ServedModel(Model.model_validate(row[0]), row[1], row[2], row[3]) for row in rows)

    def model(self, name: str) -> ServedModel:
        """The version that `press_failures_v1` names, or the active one of `press_failures`; drafts only by their version.

        Raises UnknownModel with the nearest name.
        """
        found = self.models.get(name) or self.active.get(name)
        if found is None:
            versions = [each.definition.id for each in self.models.values() if each.definition.model == name]
            if versions:
                raise UnknownModel(f"{name} has no active version; name one of {', '.join(versions)}, or activate it")
            raise UnknownModel(f"no model {name[:100]}{nearest(name[:100], [*self.models, *self.active])}")
        if found.status == "retired":
            now = self.active.get(found.definition.model)
            raise UnknownModel(f"{found.definition.id} is retired{f'; active is {now.definition.id}' if now else ''}")
        return found
