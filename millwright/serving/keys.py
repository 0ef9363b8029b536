"""API keys: `mw_` + random + checksum; only the SHA-256 is kept (table serving.keys).

Belongs here: making, listing, revoking, verifying. Does not: HTTP (api.py), the command (commands/serving.py).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import psycopg
from pydantic import BaseModel, ConfigDict

PREFIX = "mw_"
SCOPES = ("upload", "read", "predict", "admin")
Scope = Literal["upload", "read", "predict", "admin"]
_ALPHABET = string.digits + string.ascii_letters
_RANDOM, _CHECK = 32, 6
_COLUMNS = "key_id, name, scopes, created_at, expires_at, last_used_at, revoked_at"


class Key(BaseModel):
    """A key without its secret. `admin` includes every scope."""

    model_config = ConfigDict(frozen=True)

    key_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None

    def refusal(self, scope: str, now: datetime | None = None) -> str | None:
        """Why it does not allow `scope`; None when it does."""
        if why := self.gone(now):
            return why
        return None if scope in self.scopes or "admin" in self.scopes else f"the key has no scope {scope}"

    def gone(self, now: datetime | None = None) -> str | None:
        """Why it is good for nothing any more; None when it is."""
        if self.revoked_at is not None:
            return "the key is revoked"
        if self.expires_at is not None and self.expires_at <= (now or datetime.now(UTC)):
            return "the key has expired"
        return None


class NewKey(BaseModel):
    """A key just made: `key` is shown this once."""

    model_config = ConfigDict(frozen=True)

    key: str
    key_id: str
    name: str
    scopes: list[str]
    expires_at: datetime | None


class Keys(BaseModel):
    """All keys, the newest first."""

    model_config = ConfigDict(frozen=True)

    keys: list[Key]


class BadKey(ValueError):
    """A request about keys that cannot be met."""


def create_key(
    conn: psycopg.Connection[Any], *, name: str, scopes: Collection[str], expires_in: timedelta | None = None
) -> NewKey:
    """Make a key; names need not be unique, ids are. Raises BadKey for an unknown scope or none."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise BadKey(f"unknown scope {', '.join(unknown) or '(none given)'}; scopes are {', '.join(SCOPES)}")
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    key = f"{PREFIX}{body}{_checksum(body)}"
    key_id = secrets.token_hex(4)
    expires = datetime.now(UTC) + expires_in if expires_in else None
    conn.execute(
        "insert into serving.keys (key_id, sha256, name, scopes, expires_at) values (%s, %s, %s, %s, %s)",
        [key_id, digest(key), name, sorted(set(scopes)), expires],
    )
    return NewKey(key=key, key_id=key_id, name=name, scopes=sorted(set(scopes)), expires_at=expires)


def list_keys(conn: psycopg.Connection[Any]) -> Keys:
    """Every key, also the revoked."""
    rows = conn.execute(
        "select key_id, name, scopes, created_at, expires_at, last_used_at, revoked_at from serving.keys order by created_at desc"
    ).fetchall()
    return Keys(keys=[_key(row) for row in rows])


def revoke_key(conn: psycopg.Connection[Any], key_id: str) -> Key:
    """Revoke a key; again is no error. Raises BadKey when there is none with this id."""
    row = conn.execute(
        "update serving.keys set revoked_at = coalesce(revoked_at, now()) where key_id = %s "
        "returning key_id, name, scopes, created_at, expires_at, last_used_at, revoked_at",
        [key_id],
    ).fetchone()
    if row is None:
        raise BadKey(f"no key has the id {key_id}: `millwright keys list` shows them")
    return _key(row)


def well_formed(key: str) -> bool:
    """Whether prefix, length, alphabet and checksum fit: what does not is refused without asking the database."""
    body, check = key[len(PREFIX) : -_CHECK], key[-_CHECK:]
    return (
        key.startswith(PREFIX)
        and len(body) == _RANDOM
        and all(letter in _ALPHABET for letter in key[len(PREFIX) :])
        and hmac.compare_digest(check, _checksum(body))
    )


def find(conn: psycopg.Connection[Any], key: str) -> Key | None:
    """The stored key, whatever its state; None when it is not one. Notes its use, at most once a minute."""
    if not well_formed(key):
        return None
    wanted = digest(key)
    row = conn.execute(
        "select key_id, name, scopes, created_at, expires_at, last_used_at, revoked_at, sha256 "
        "from serving.keys where sha256 = %s",
        [wanted],
    ).fetchone()
    if row is None or not hmac.compare_digest(row[-1], wanted):
        return None
    note_use(conn, [row[0]])
    return _key(row[:-1])


def again(conn: psycopg.Connection[Any], digests: Sequence[str]) -> dict[str, Key]:
    """The keys with these SHA-256 as they are now, whatever their state."""
    rows = conn.execute(
        "select key_id, name, scopes, created_at, expires_at, last_used_at, revoked_at, sha256 "
        "from serving.keys where sha256 = any(%s)",
        [list(digests)],
    ).fetchall()
    return {row[-1]: _key(row[:-1]) for row in rows}


def note_use(conn: psycopg.Connection[Any], key_ids: Sequence[str]) -> None:
    """Note that keys were used just now, each at most once a minute."""
    if key_ids:
        conn.execute(
            "update serving.keys set last_used_at = now() "
            "where key_id = any(%s) and (last_used_at is null or last_used_at < now() - interval '1 minute')",
            [list(key_ids)],
        )


def digest(key: str) -> str:
    """SHA-256 (hex) of a key: it has 190 random bits, so a plain hash is enough."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = []
    for _ in range(_CHECK):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def _key(row: tuple[Any, ...]) -> Key:
    return Key(**dict(zip(_COLUMNS.split(", "), row, strict=True)))
