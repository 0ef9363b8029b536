"""What Dagster's metadata must not show: values of fields that a dataset calls sensitive, and of features made of them.

Belongs here: which names these are, rows without them. Does not: receipts, whose previews never had them (millwright/landing/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from millwright.definitions import Definitions

_NAMING = ("reading", "feature")


class Sensitive:
    """Names that are hidden in every table: a name that is sensitive in one dataset is hidden wherever it stands."""

    def __init__(self, definitions: Definitions) -> None:
        names: set[str] = set()
        self._keys = False
        for dataset in definitions.datasets.values():
            names |= set(dataset.sensitive)
            self._keys |= not names.isdisjoint(definitions.entities[dataset.entity].join_keys)
            made_of = [view for view in definitions.feature_views.values() if view.entity == dataset.entity]
            for view in made_of:
                names |= {feature.name for feature in view.features if feature.of in dataset.sensitive}
                names |= {name for name, tree in view.expressions.items() if not names.isdisjoint(tree.features)}
        self._names = frozenset(names)

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows without sensitive values; one that is about a sensitive reading or feature keeps its place and loses its value."""
        return [dict(row) for row in rows] if not self._names else [self._row(row) for row in rows]

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        about = any(row.get(name) in self._names for name in _NAMING)
        left_out = {*self._names, *(["value"] if about else []), *(["keys"] if self._keys else [])}
        return {
            name: self._row(value) if isinstance(value, Mapping) else value for name, value in row.items() if name not in left_out
        }
