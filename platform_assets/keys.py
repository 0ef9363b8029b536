"""Asset keys: layer, then name.

Belongs here: how a thing of the definitions is called in Dagster. Does not: what it is (specs.py).
"""

from __future__ import annotations

import dagster as dg

TARGETS = ("measurements", "events", "feature_sets")


def landing_csv(dataset: str) -> dg.AssetKey:
    """Files of a dataset."""
    return dg.AssetKey(["landing", "csv", dataset])


def landing_kafka(topic: str) -> dg.AssetKey:
    """Messages of a topic; a dot in its name is kept, as Dagster separates parts, not characters."""
    return dg.AssetKey(["landing", "kafka", topic])


def warehouse(target: str) -> dg.AssetKey:
    """A table of the warehouse."""
    return dg.AssetKey(["warehouse", target])


def features(view_id: str) -> dg.AssetKey:
    """The rows of a feature view version in Postgres."""
    return dg.AssetKey(["features", view_id])


def feast(view_id: str) -> dg.AssetKey:
    """A feature view version in Feast's registry."""
    return dg.AssetKey(["feast", view_id])


def models(model: str) -> dg.AssetKey:
    """A model, all its versions."""
    return dg.AssetKey(["models", model])


def online(view_id: str) -> dg.AssetKey:
    """The latest rows of a feature view version in Redis."""
    return dg.AssetKey(["online", view_id])
