"""On-demand feature views and feature services that Feast's registry has and our definitions do not: asked of Feast itself.

Belongs here: which there are, and Feast's own answer about them. Does not: what our catalog knows (online/served.py), HTTP.

Feast runs what somebody registered as a view's function, as its own feature server does: who may write the registry may run code
where it is served. Feast takes seconds to import, so nothing of it is imported where nothing was registered.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import redis
from psycopg import sql

from millwright.registry.feast import feature_store
from millwright.settings import Settings
from millwright.warehouse.plain_feast import REGISTRY_SCHEMA


class NotComputed(ValueError):
    """An on-demand view that cannot be computed from what was given."""


@dataclass(frozen=True)
class OnDemand:
    """Names in Feast's registry; `changed`: when it was written last, in its own unit."""

    views: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    changed: int = 0

    @classmethod
    def from_registry(cls, conn: psycopg.Connection[Any], project: str) -> OnDemand:
        """What is registered; nothing where there is no registry, or none that this role may read."""
        table = f"{REGISTRY_SCHEMA}.on_demand_feature_views"
        there = conn.execute(
            "select case when to_regclass(%s) is null then false else has_table_privilege(%s, 'select') end", [table, table]
        ).fetchone()
        if there is None or not there[0]:
            return cls()
        found: dict[str, frozenset[str]] = {}
        changed = 0
        for kind, name in (("on_demand_feature_views", "feature_view_name"), ("feature_services", "feature_service_name")):
            rows = conn.execute(
                sql.SQL("select {}, last_updated_timestamp from {} where project_id = %s").format(
                    sql.Identifier(name), sql.Identifier(REGISTRY_SCHEMA, kind)
                ),
                [project],
            ).fetchall()
            found[kind] = frozenset(row[0] for row in rows)
            changed = max([changed, *(row[1] for row in rows)])
        return cls(found["on_demand_feature_views"], found["feature_services"], changed)


class FeastItself:
    """A FeatureStore of the repository, opened when it is first asked. Its methods block, and may be called from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: Any = None
        self._seen = -1

    def answer(
        self, known: OnDemand, features: Sequence[str] | str, entities: Mapping[str, Sequence[Any]], *, full: bool
    ) -> dict[str, Any]:
        """Feast's answer for references, or for a service's name, as its feature server gives it.

        Raises NotComputed with Feast's reason, redis.RedisError, psycopg.Error.
        """
        store = self._opened(known)
        from feast.feature_server_utils import convert_response_to_dict

        try:
            asked = store.get_feature_service(features, allow_cache=True) if isinstance(features, str) else list(features)
            response = store.get_online_features(features=asked, entity_rows=dict(entities), full_feature_names=full)
        except (redis.RedisError, psycopg.Error):
            raise
        except Exception as error:
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise NotComputed(f"Feast could not compute it from these entities: {reason}") from error
        return dict(convert_response_to_dict(response.proto))

    def _opened(self, known: OnDemand) -> Any:
        with self._lock:
            if self._store is None:
                self._store = feature_store(self._settings)
            elif self._seen != known.changed:
                self._store.refresh_registry()
            self._seen = known.changed
            return self._store
