"""Keys: shown once, kept hashed, refused when they should be."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from millwright.serving import keys
from millwright.stack import bootstrap
from millwright.warehouse.connect import connect
from millwright.warehouse.migrate import migrate
from tests import servers


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    migrate(servers.as_role(database, bootstrap.OWNER))
    with connect(servers.as_role(database, bootstrap.APP), autocommit=True) as found:
        yield found


def test_a_key_is_found_again_and_only_its_hash_is_kept(conn: psycopg.Connection[Any]) -> None:
    made = keys.create_key(conn, name="line 7", scopes=["read", "upload"])
    assert made.key.startswith("mw_")
    assert keys.well_formed(made.key)
    found = keys.find(conn, made.key)
    assert found is not None
    assert (found.key_id, found.name, found.scopes) == (made.key_id, "line 7", ["read", "upload"])
    everything = str(conn.execute("select * from serving.keys").fetchall())
    assert made.key not in everything
    assert made.key[3:20] not in everything
    assert keys.list_keys(conn).keys[0].last_used_at is not None


def test_scopes(conn: psycopg.Connection[Any]) -> None:
    reader = keys.find(conn, keys.create_key(conn, name="r", scopes=["read"]).key)
    admin = keys.find(conn, keys.create_key(conn, name="a", scopes=["admin"]).key)
    assert reader is not None
    assert admin is not None
    assert reader.refusal("read") is None
    assert reader.refusal("predict") == "the key has no scope predict"
    assert all(admin.refusal(scope) is None for scope in keys.SCOPES)
    for scopes in ([], ["write"]):
        with pytest.raises(keys.BadKey, match="scopes are upload, read, predict, admin"):
            keys.create_key(conn, name="x", scopes=scopes)


def test_revoked_and_expired(conn: psycopg.Connection[Any]) -> None:
    made = keys.create_key(conn, name="r", scopes=["read"], expires_in=timedelta(hours=1))
    found = keys.find(conn, made.key)
    assert found is not None
    assert found.refusal("read", datetime.now(UTC) + timedelta(hours=2)) == "the key has expired"
    first = keys.revoke_key(conn, made.key_id)
    assert keys.revoke_key(conn, made.key_id).revoked_at == first.revoked_at
    found = keys.find(conn, made.key)
    assert found is not None
    assert found.refusal("read") == "the key is revoked"
    with pytest.raises(keys.BadKey, match="millwright keys list"):
        keys.revoke_key(conn, "nothing")


def test_a_mistyped_key_is_refused_without_asking(conn: psycopg.Connection[Any]) -> None:
    key = keys.create_key(conn, name="r", scopes=["read"]).key
    wrong = [
        key[:-1] + ("0" if key[-1] != "0" else "1"),
        key[:10] + ("0" if key[10] != "0" else "1") + key[11:],
        key[:-1],
        key + "0",
        "mw_",
        "",
        "é" * 41,
    ]
    assert not any(map(keys.well_formed, wrong))
    assert all(keys.find(conn, each) is None for each in wrong)
