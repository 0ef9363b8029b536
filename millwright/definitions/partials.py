"""Which partials an aggregate keeps, and so which columns a view's tiles have.

Belongs here: names and types of partials. Does not: how they are computed and merged (features/aggregates.py), SQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from millwright.definitions.base import ReadingType
from millwright.definitions.features import Aggregate
from millwright.definitions.models import Definitions, FeatureView

PARTIALS: Mapping[Aggregate, tuple[str, ...]] = {
    "count": ("n",),
    "sum": ("n", "sum", "absmax"),
    "mean": ("n", "sum", "absmax"),
    "min": ("min",),
    "max": ("max",),
    "range": ("min", "max"),
    "stddev": ("n", "absmax", "ax", "mx", "m2"),
    "first": ("firstt", "first"),
    "last": ("lastt", "last"),
    "slope": ("n", "absmax", "at", "ax", "mx", "mt", "mtt", "mtx"),
    "age": ("lastt",),
}
_TYPES: Mapping[str, ReadingType] = {
    **dict.fromkeys(("n", "firstt", "lastt", "at"), "int64"),
    **dict.fromkeys(("sum", "absmax", "ax", "mx", "m2", "mt", "mtt", "mtx"), "double"),
}


@dataclass(frozen=True, order=True)
class Partial:
    """One partial of one input (Windowed.input). `column` cannot meet another's, whatever readings are called: no partial's name
    has a `_`."""

    input: str
    name: str
    type: ReadingType

    @property
    def column(self) -> str:
        """Its column in tiles."""
        return f"p_{self.input}_{self.name}"


def reading_type(definitions: Definitions, view: FeatureView, name: str) -> ReadingType:
    """Declared type of a value of the view's rows; double where nothing declares it."""
    reading = definitions.value(view, name)
    return "double" if reading is None else reading.type


def inputs(definitions: Definitions, view: FeatureView) -> dict[str, ReadingType]:
    """What the engine reads of each row and its type, sorted: readings (or columns of a feature set), and of a kind of event that
    it was one (Windowed.input)."""
    found = {name: reading_type(definitions, view, name) for name in view.readings}
    found |= {feature.input: "bool" for feature in view.windowed if feature.relation == "events"}
    return dict(sorted(found.items()))


def partials(definitions: Definitions, view: FeatureView, *, tile_us: int | None = None) -> tuple[Partial, ...]:
    """Partials of the view's features (of those with tiles of `tile_us` µs, if given), sorted."""
    types = inputs(definitions, view)
    found = {
        Partial(feature.input, name, _TYPES.get(name) or types[feature.input])
        for feature in view.windowed
        if tile_us in {None, feature.tile_us}
        for name in PARTIALS[feature.aggregate]
    }
    return tuple(sorted(found))


def tile_sizes(view: FeatureView) -> tuple[int, ...]:
    """The view's distinct tile sizes in microseconds, ascending."""
    return tuple(sorted({feature.tile_us for feature in view.windowed}))


def tiles_back(view: FeatureView, size: int) -> int:
    """How many tiles of `size` (µs) reach into the longest window that is made of them."""
    return max(feature.window_us for feature in view.windowed if feature.tile_us == size) // size
