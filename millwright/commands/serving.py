"""Commands on access: keys create, list, revoke. Does not: what a key is (serving/keys.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
import psycopg

from millwright.commands.output import command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.serving.keys import Key, Keys, NewKey


@contextmanager
def _connected() -> Iterator[psycopg.Connection[Any]]:
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        yield conn


def _created_text(key: NewKey) -> str:
    until = f" until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    what = f"Key {key.key_id} ({key.name}) for {', '.join(key.scopes)}{until}."
    return f"{key.key}\n\n{what} It is shown only now; send it as\nAuthorization: Bearer <key>"


def _listed_text(keys: Keys) -> Any:
    return rows(keys.keys) if keys.keys else "No keys: `millwright keys create NAME --scope read` makes one."


def _revoked_text(key: Key) -> str:
    return f"Key {key.key_id} ({key.name}) is revoked; the API refuses it within seconds."


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@command(text=_created_text)
@click.argument("name")
@click.option("--scope", "scopes", multiple=True, required=True, help="upload, read, predict or admin; may be given again.")
@click.option("--expires-in", metavar="DURATION", help="Such as 30d or 12h; never without it.")
def create(name: str, scopes: tuple[str, ...], expires_in: str | None) -> NewKey:
    """Make a key for NAME and show it once."""
    from millwright.definitions import durations
    from millwright.serving.keys import SCOPES, create_key

    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        raise click.UsageError(f"unknown scope {', '.join(unknown)}; scopes are {', '.join(SCOPES)}")
    try:
        valid_for = durations.parse(expires_in) if expires_in else None
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with _connected() as conn:
        return create_key(conn, name=name, scopes=scopes, expires_in=valid_for)


@command("list", text=_listed_text)
def list_() -> Keys:
    """All keys, without their secrets."""
    from millwright.serving.keys import list_keys

    with _connected() as conn:
        return list_keys(conn)


@command(text=_revoked_text)
@click.argument("key_id")
def revoke(key_id: str) -> Key:
    """Revoke a key by its id."""
    from millwright.serving.keys import revoke_key

    with _connected() as conn:
        return revoke_key(conn, key_id)


for _command in (create, list_, revoke):
    keys.add_command(_command)
