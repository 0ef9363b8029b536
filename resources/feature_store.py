"""Feast's registry as a resource.

Belongs here: opening it, registering what is defined. Does not: Feast objects (millwright/registry/). Feast is imported when it
is used, for it takes seconds.
"""

from __future__ import annotations

from typing import Any

from millwright.definitions import Definitions
from millwright.warehouse.connect import connect
from resources.located import Located


class FeatureStoreResource(Located):
    """The feature repository's Feast store, with the platform's connections."""

    def store(self) -> Any:
        """A `feast.FeatureStore`."""
        from millwright.registry.feast import feature_store

        return feature_store(self.settings())

    def register(self, definitions: Definitions) -> list[str]:
        """Bring Feast's registry to the definitions and the catalog's statuses, one at a time; what changed, in words."""
        from millwright.registry.apply import register, serialized

        settings = self.settings()
        with (
            connect(settings.require("postgres_owner_url"), autocommit=True, name="millwright register") as conn,
            serialized(conn),
        ):
            return register(conn, settings, definitions)
