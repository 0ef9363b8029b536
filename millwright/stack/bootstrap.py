"""What only a superuser can do, once: login roles and empty databases.

Belongs here: roles, their passwords, databases and owners. Does not: schemas, tables, grants (warehouse/migrations/).
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

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
