"""What is served: the applied views with their keys, types and ages, from the catalog or from definitions; names to versions.

Belongs here: resolving `view:feature`. Does not: Redis (read.py), writing the catalog (registry/).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg

from millwright.definitions import Definitions

PUBLISHED = frozenset({"active", "deprecated"})


class UnknownFeature(LookupError):
    """A view, version or feature that is not served."""


@dataclass(frozen=True)
class ServedView:
    """An applied version: join keys and features with their types."""

    view_id: str
    feature_view: str
    entity: str
    status: str
    join_keys: Mapping[str, str]
    features: Mapping[str, str]
    ttl: timedelta


@dataclass(frozen=True)
class Wanted:
    """A feature of a view; `view_name` is the name that was asked for, with or without a version."""

    view: ServedView
    feature: str
    view_name: str


class Served:
    """Applied views by id, and the active version of each name."""

    def __init__(self, views: Iterable[ServedView]) -> None:
        self.views = {view.view_id: view for view in views}
        self.active = {view.feature_view: view for view in self.views.values() if view.status == "active"}

    @classmethod
    def from_catalog(cls, conn: psycopg.Connection[Any]) -> Served:
        """The catalog as applied; any role that may read it."""
        rows = conn.execute(
            "select view_id, feature_view, entity, status, join_keys, ttl, "
            "(select json_object_agg(name, type order by position) from catalog.features f where f.view_id = v.view_id) "
            "from catalog.feature_views v join catalog.entities using (entity) order by view_id"
        ).fetchall()
        return cls(ServedView(row[0], row[1], row[2], row[3], row[4], row[6] or {}, row[5]) for row in rows)

    @classmethod
    def from_definitions(cls, definitions: Definitions) -> Served:
        """The definitions as they are in files; a view's only version counts as its active one."""
        versions = [view.feature_view for view in definitions.feature_views.values()]
        return cls(
            ServedView(
                view.id,
                view.feature_view,
                view.entity,
                "active" if versions.count(view.feature_view) == 1 else "deprecated",
                definitions.entity_of(view).join_keys,
                {feature.name: definitions.feature_type(view, feature) for feature in view.features},
                view.ttl,
            )
            for view in definitions.feature_views.values()
        )

    def view(self, name: str) -> ServedView:
        """The version that `machine_vitals_v1` names, or the active one of `machine_vitals`. Raises UnknownFeature."""
        view = self.views.get(name) or self.active.get(name)
        if view is None:
            versions = [view.view_id for view in self.views.values() if view.feature_view == name]
            if versions:
                raise UnknownFeature(f"{name} has no active version; name one of {', '.join(versions)}, or activate it")
            raise UnknownFeature(f"no feature view {name}{_nearest(name, [*self.views, *self.active])}")
        if view.status not in PUBLISHED:
            raise UnknownFeature(f"{view.view_id} is {view.status}: only active and deprecated versions are online")
        return view

    def wanted(self, references: Sequence[str]) -> list[Wanted]:
        """Features of `view:feature` references, or all of a view for a bare name. Raises UnknownFeature."""
        found: list[Wanted] = []
        for reference in references:
            name, _, feature = reference.partition(":")
            view = self.view(name)
            if not feature and ":" not in reference:
                found.extend(Wanted(view, each, name) for each in view.features)
            elif feature in view.features:
                found.append(Wanted(view, feature, name))
            else:
                raise UnknownFeature(f"{view.view_id} has no feature {feature!r}{_nearest(feature, view.features)}")
        return found


def _nearest(word: str, words: Iterable[str]) -> str:
    match = difflib.get_close_matches(word, list(words), n=1)
    return f" (did you mean {match[0]}?)" if match else ""
