"""What a feature view must agree on with the other definitions, and what is wrong where it does not.

Belongs here: mistakes of a view, each with its place. Does not: what a feature may say by itself (features.py), files (load.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from millwright.definitions.features import OF_ANYTHING, Feature
from millwright.definitions.models import Definitions, FeatureView
from millwright.definitions.words import nearest

Mistake = tuple[tuple[str | int, ...], str]
"""Where in the file, and what."""


def view_mistakes(view: FeatureView, definitions: Definitions) -> Iterator[Mistake]:
    """Every disagreement of a view with its entity and the entity's datasets."""
    entity = definitions.entities.get(view.entity)
    if entity is None:
        yield ("entity",), f"no entity {view.entity}{nearest(view.entity, definitions.entities)}"
        return
    for index, feature in enumerate(view.features):
        if feature.name in entity.join_keys:
            yield ("features", index, "name"), "this name is taken by a join key"
        found = (
            _of_events(view, feature, definitions) if feature.relation == "events" else _of_readings(view, feature, definitions)
        )
        if found is not None:
            yield ("features", index, "of"), found


def _of_readings(view: FeatureView, feature: Feature, definitions: Definitions) -> str | None:
    readings = {
        name: reading
        for dataset in definitions.datasets.values()
        if dataset.entity == view.entity and dataset.target == "measurements"
        for name, reading in dataset.readings.items()
    }
    if feature.of not in readings:
        return f"no dataset of {view.entity} has {feature.of}{nearest(feature.of, readings)}"
    if feature.aggregate not in OF_ANYTHING and readings[feature.of].type not in {"double", "int64"}:
        return f"{feature.aggregate} needs a number; {feature.of} is {readings[feature.of].type}"
    return None


def _of_events(view: FeatureView, feature: Feature, definitions: Definitions) -> str | None:
    datasets = [each for each in definitions.datasets.values() if each.entity == view.entity and each.target == "events"]
    if not datasets:
        return f"no dataset of {view.entity} has the target events: nothing can bring an event of kind {feature.of}"
    kinds = {kind for dataset in datasets for kind in dataset.kinds}
    if feature.of not in kinds and all(dataset.kinds for dataset in datasets):
        return f"no dataset of {view.entity} has the kind {feature.of}{nearest(feature.of, kinds)}"
    return None
