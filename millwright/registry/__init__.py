"""Definitions → what is applied: the catalog, the views' tables, Feast's registry.

Belongs here: apply, statuses, the only writes to schema catalog, the only building of Feast objects.
Does not: reading files (definitions/), DDL (warehouse/tables.py), rows.
"""

from millwright.registry.apply import ApplyReport, ViewChange, apply
from millwright.registry.catalog import (
    AppliedView,
    CatalogFeature,
    CatalogReport,
    CatalogView,
    VersionChanged,
    applied,
    read_catalog,
    resolve_view,
)
from millwright.registry.deploy import DeployReport, deploy
from millwright.registry.feast import keys_expire
from millwright.registry.feast_objects import repository_objects
from millwright.registry.models import ModelsReport, read_models
from millwright.registry.status import StatusReport, set_status

__all__ = [
    "AppliedView",
    "ApplyReport",
    "CatalogFeature",
    "CatalogReport",
    "CatalogView",
    "DeployReport",
    "ModelsReport",
    "StatusReport",
    "VersionChanged",
    "ViewChange",
    "applied",
    "apply",
    "deploy",
    "keys_expire",
    "read_catalog",
    "read_models",
    "repository_objects",
    "resolve_view",
    "set_status",
]
