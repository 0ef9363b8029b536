"""The SQLAlchemy plugin that feature_store.yaml names for Feast's registry; importing this registers it.

Belongs here: the plugin. Does not: the address that it gives (plain_feast.py). Imported by the store classes that
feature_store.yaml names, for Feast loads them before it opens its registry.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import plugins
from sqlalchemy.engine import URL, CreateEnginePlugin

from millwright.warehouse.plain_feast import PLUGIN, nearest_settings, registry_url


class RegistryPlugin(CreateEnginePlugin):
    """Turns `postgresql+psycopg://` with `plugins: [millwright]` into the registry's address."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)

    def update_url(self, url: URL) -> URL:
        """The address from the nearest project's settings."""
        return registry_url(nearest_settings())


plugins.register(PLUGIN, __name__, RegistryPlugin.__name__)
