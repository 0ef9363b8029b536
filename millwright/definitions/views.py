"""What a feature view must agree on with the other definitions, and what is wrong where it does not.

Belongs here: mistakes of a view, each with its place. Does not: what a feature may say by itself (features.py), files (load.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from millwright.definitions.datasets import Dataset
from millwright.definitions.expressions import ExpressionError, parse
from millwright.definitions.features import OF_ANYTHING, Feature, Windowed
from millwright.definitions.models import TAKEN_FEATURES, Definitions, FeatureView
from millwright.definitions.words import nearest

Mistake = tuple[tuple[str | int, ...], str]
"""Where in the file, and what."""


def with_columns(view: FeatureView, datasets: Mapping[str, Dataset]) -> FeatureView:
    """A view of a feature set that names no features has all of its columns; any other is as it is."""
    dataset = datasets.get(view.source.feature_set or "")
    if view.features or dataset is None:
        return view
    features = [
        Feature(name=name, description=reading.description)
        for name, reading in dataset.features.items()
        if name not in TAKEN_FEATURES  # a mistake of the dataset
    ]
    return view.model_copy(update={"features": features})


def view_mistakes(view: FeatureView, definitions: Definitions) -> Iterator[Mistake]:
    """Every disagreement of a view with its entity and the entity's datasets."""
    entity = definitions.entities.get(view.entity)
    if entity is None:
        yield ("entity",), f"no entity {view.entity}{nearest(view.entity, definitions.entities)}"
        return
    if (found := _source_mistake(view, definitions)) is not None:
        yield found
        if view.source.feature_set is not None:
            return  # without its columns nothing can be said of features
    broken: set[str] = set()
    for index, feature in enumerate(view.features):
        if feature.name in entity.join_keys:
            yield ("features", index, "name"), "this name is taken by a join key"
        if (found := _mistake(view, feature, definitions)) is not None:
            broken.add(feature.name)
            yield ("features", index, *found[0]), found[1]
    yield from expression_mistakes(view, definitions, broken)


def _source_mistake(view: FeatureView, definitions: Definitions) -> Mistake | None:
    """Rows that nothing can bring, or no feature."""
    of_entity = {name: one for name, one in definitions.datasets.items() if one.entity == view.entity}
    if (wanted := view.source.feature_set) is not None:
        sets = {name for name, one in of_entity.items() if one.target == "feature_set"}
        if wanted in sets:
            return None
        told = f"no dataset of {view.entity} with the target feature_set is {wanted}{nearest(wanted, sets)}"
        return ("source", "feature_set"), told
    lists = [one.sensor_types for one in of_entity.values() if one.target == "measurements"]
    wanted, types = view.source.sensor_type, {name for names in lists for name in names}
    if wanted is not None and wanted not in types and lists and all(lists):
        return ("source", "sensor_type"), f"no dataset of {view.entity} has the sensor type {wanted}{nearest(wanted, types)}"
    return None if view.features else (("features",), "a view needs features")


def _mistake(view: FeatureView, feature: Feature, definitions: Definitions) -> Mistake | None:
    windowed = feature.windowed
    if feature.expression is not None:
        return None
    if view.source.feature_set is not None:
        if windowed is not None:
            return (), "a feature set's rows have no windows: its columns are the features, without aggregate and window"
        found = _of_columns(view, feature, definitions.datasets[view.source.feature_set])
        return None if found is None else (("of" if feature.of else "name",), found)
    if windowed is None:
        return (), "a feature of measurements needs aggregate, of and window, or an expression"
    found = (_of_events if windowed.relation == "events" else _of_readings)(view, windowed, definitions)
    return None if found is None else (("of",), found)


def _of_columns(view: FeatureView, feature: Feature, dataset: Dataset) -> str | None:
    if feature.column in dataset.features:
        return None
    return f"the feature set {dataset.dataset} has no column {feature.column}{nearest(str(feature.column), dataset.features)}"


def _of_readings(view: FeatureView, feature: Windowed, definitions: Definitions) -> str | None:
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


def _of_events(view: FeatureView, feature: Windowed, definitions: Definitions) -> str | None:
    datasets = [each for each in definitions.datasets.values() if each.entity == view.entity and each.target == "events"]
    if not datasets:
        return f"no dataset of {view.entity} has the target events: nothing can bring an event of kind {feature.of}"
    kinds = {kind for dataset in datasets for kind in dataset.kinds}
    if feature.of not in kinds and all(dataset.kinds for dataset in datasets):
        return f"no dataset of {view.entity} has the kind {feature.of}{nearest(feature.of, kinds)}"
    return None


def expression_mistakes(view: FeatureView, definitions: Definitions, broken: set[str]) -> Iterator[Mistake]:
    """Of each expression the first mistake. `broken`: features that are wrong themselves, so nothing is said of their types."""
    names = {feature.name for feature in view.features}
    needs: dict[str, dict[str, int]] = {}
    for index, feature in enumerate(view.features):
        if feature.expression is None:
            continue
        try:
            needs[feature.name] = parse(feature.expression).features
            for name, at in needs[feature.name].items():
                if name not in names - {feature.name}:
                    meant = nearest(name, names - {feature.name})
                    raise ExpressionError(at, f"no other feature of {view.id} is {name}{meant}")
        except ExpressionError as error:
            broken.add(feature.name)
            yield ("features", index, "expression"), str(error)
    for index, feature in enumerate(view.features):
        if feature.name not in needs or feature.name in broken:
            continue
        try:
            reached = _reached(feature.name, needs)
            if feature.name in reached:
                raise ExpressionError(
                    1, f"{feature.name} is made of itself, by way of {' and '.join(sorted(needs[feature.name]))}"
                )
            if not reached & (broken | {name for name in reached if name in _reached(name, needs)}):
                definitions.feature_type(view, feature)
        except ExpressionError as error:
            yield ("features", index, "expression"), str(error)


def _reached(name: str, needs: Mapping[str, Mapping[str, int]]) -> set[str]:
    """All that a feature is made of."""
    found: set[str] = set()
    ahead = list(needs.get(name, ()))
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead.extend(needs.get(one, ()))
    return found
