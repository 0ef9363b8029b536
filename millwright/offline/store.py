"""The offline store that feature_store.yaml names: Feast's own for Postgres, on the platform's warehouse.

Belongs here: the class, and its connection from Settings. Does not: the online store.
"""

from __future__ import annotations

from typing import Any, Literal

from feast.infra.offline_stores.contrib.postgres_offline_store import postgres
from pydantic import model_validator

from millwright.warehouse import registry_plugin  # noqa: F401 - registers itself
from millwright.warehouse.plain_feast import nearest_settings, offline_fields

_TYPE: Literal["millwright.offline.store.PostgreSQLOfflineStore"] = "millwright.offline.store.PostgreSQLOfflineStore"


class PostgreSQLOfflineStoreConfig(postgres.PostgreSQLOfflineStoreConfig):
    """Feast's fields; a connection that is not given is the nearest project's warehouse."""

    type: Literal["millwright.offline.store.PostgreSQLOfflineStore"] = _TYPE  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _from_settings(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("host"):
            return {**offline_fields(nearest_settings()), **values}
        return values


class PostgreSQLOfflineStore(postgres.PostgreSQLOfflineStore):
    """Feast's Postgres store."""
