"""Brings the platform's schema to the newest revision.

Belongs here: running alembic under a lock. Does not: the statements (migrations/versions/*.sql).
"""

from __future__ import annotations

from pathlib import Path

from millwright.warehouse.connect import connect

_LOCK = "select pg_advisory_xact_lock(hashtextextended('millwright.migrate', 0))"


def migrate(owner_url: str) -> str:
    """Run what is missing, in one transaction, one caller at a time. Returns the revision reached.

    `owner_url`: libpq URL of the role that owns the schema.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, pool, text

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(owner_url, name="millwright migrate"), poolclass=pool.NullPool
    )
    with engine.begin() as connection:
        connection.execute(text(_LOCK))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return str(connection.execute(text("select version_num from schema_version")).scalar_one())
