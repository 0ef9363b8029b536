"""What only a superuser can do, once: login roles and empty databases.

Belongs here: roles, their passwords, databases and owners. Does not: schemas, tables, grants (warehouse/migrations/).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
import psycopg.conninfo
from psycopg import sql

from millwright.settings import Settings
from millwright.warehouse.migrate import migrate

OWNER = "millwright_owner"
APP = "millwright_app"
READER = "millwright_reader"
DAGSTER = "dagster"
DATABASE = "millwright"
DAGSTER_DATABASE = "dagster"


def ensure_roles(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Make each role of `passwords` able to log in with its password; roles that are there keep what they own."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        there = {str(row[0]) for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role, password in passwords.items():
            verb = "ALTER" if role in there else "CREATE"
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(sql.SQL(verb), sql.Identifier(role), sql.Literal(password))
            )


def ensure_database(superuser_url: str, name: str, owner: str) -> None:
    """Make the database `name` owned by `owner` unless it is there; nobody else may connect without a grant or role."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(sql.Identifier(name), sql.Identifier(owner))
            )


def ensure_platform(superuser_url: str, urls: Sequence[str]) -> None:
    """Make the roles and databases that our four connection URLs name, each database owned as the platform needs it.

    `urls`: those of owner, app, reader and Dagster; the password of each role is the one in its URL.
    """
    parts = [psycopg.conninfo.conninfo_to_dict(url.replace("postgresql+psycopg2://", "postgresql://")) for url in urls]
    owner, *_, dagster = parts
    ensure_roles(superuser_url, {str(part["user"]): str(part["password"]) for part in parts})
    ensure_database(superuser_url, str(owner["dbname"]), str(owner["user"]))
    ensure_database(superuser_url, str(dagster["dbname"]), str(dagster["user"]))


def main() -> None:
    """Set up a PostgreSQL that is not ours to start, as docker-compose.yml does: roles, databases, migrations."""
    parser = argparse.ArgumentParser(prog="python -m millwright.stack.bootstrap", description=main.__doc__)
    parser.add_argument("--password-file", type=Path, required=True, help="File with the superuser's password.")
    parser.add_argument("--superuser", default="postgres")
    arguments = parser.parse_args()
    settings = Settings()
    fields = ("postgres_owner_url", "postgres_url", "postgres_reader_url", "dagster_postgres_url")
    urls = [settings.require(field) for field in fields]
    password = arguments.password_file.read_text(encoding="utf-8").strip()
    superuser = psycopg.conninfo.make_conninfo(urls[0], user=arguments.superuser, password=password, dbname="postgres")
    ensure_platform(superuser, urls)
    migrate(urls[0])


if __name__ == "__main__":
    main()
