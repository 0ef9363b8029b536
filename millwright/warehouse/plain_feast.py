"""How Feast, started by itself (`feast plan`, `FeatureStore(…)`), finds this platform's Postgres: from Settings.

Belongs here: the nearest project's settings, addresses made of them. Does not: Feast (registry/, online/store.py,
offline/store.py), the Redis address (online/store.py), SQLAlchemy's plugin (registry_plugin.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict

from millwright.settings import ENV_PREFIX, NotConfigured, Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

REGISTRY_SCHEMA = "feast"
PLUGIN = "millwright"


def nearest_settings() -> Settings:
    """Settings of the project around the working folder: itself or a folder above it that holds a feature repository."""
    if os.environ.get(f"{ENV_PREFIX}PROJECT"):
        return Settings()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "feature_repo" / "feature_store.yaml").exists():
            return Settings(project=folder)
    return Settings()


def registry_url(settings: Settings) -> URL:
    """The registry's SQLAlchemy URL: the most powerful role that the settings know. Raises NotConfigured."""
    from sqlalchemy.engine import URL  # a third of the time in which a command starts

    fields = _libpq(settings)
    user, password, database = (fields.pop(name, None) for name in ("user", "password", "dbname"))
    fields["options"] = f"{fields.get('options', '')} -c search_path={REGISTRY_SCHEMA} -c timezone=UTC".strip()
    return URL.create("postgresql+psycopg", user, password, database=database, query=fields)


def offline_fields(settings: Settings) -> dict[str, Any]:
    """Fields of Feast's Postgres offline store. Raises NotConfigured."""
    fields = _libpq(settings)
    known = {"host": "host", "port": "port", "dbname": "database", "user": "user", "password": "password", "sslmode": "sslmode"}
    found: dict[str, Any] = {theirs: fields[ours] for ours, theirs in known.items() if ours in fields}
    if "port" in found:
        found["port"] = int(found["port"])
    # Feast creates tables of its own for training sets in the first schema of the path.
    return {"host": "127.0.0.1", "password": "", "sslmode": "prefer", "db_schema": REGISTRY_SCHEMA, **found}


def _libpq(settings: Settings) -> dict[str, str]:
    for field in ("postgres_owner_url", "postgres_url", "postgres_reader_url"):
        if getattr(settings, field) is not None:
            fields = conninfo_to_dict(settings.require(field))
            return {name: str(value) for name, value in fields.items() if value is not None}
    raise NotConfigured(
        f"No Postgres is named and no running stack was found in {settings.home}. Start one with `millwright up`, "
        f"run Feast inside the project's folder, or set {ENV_PREFIX}PROJECT to it."
    )
