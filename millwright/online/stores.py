"""Which Redis this is and how far each view has been published to it.

Belongs here: the identity and watermarks kept inside the Redis, table online.publications, the publish lock.
Does not: rows (publish.py).

A watermark counts only as far as the Redis itself has it: it is written after the rows, so a server that lost its newest
writes (a crash before its log was on disk, a failover) lost the watermark too, and an emptied one is a new store.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
import redis
from redis.cluster import RedisCluster

from millwright.online.connect import Client, primaries

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(instant: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=value)


def state_key(project: str) -> str:
    """The hash in Redis that holds the store's identity and its watermarks; no entity's key looks like it."""
    return f"millwright:store:{project}"


def store_id(client: redis.Redis, project: str) -> str:
    """The store's identity, given to it when it has none."""
    client.hsetnx(state_key(project), "id", uuid.uuid4().hex)
    return known_id(client, project) or ""


def known_id(client: redis.Redis, project: str) -> str | None:
    """The store's identity; None when it is new or was emptied."""
    value = cast(bytes | None, client.hget(state_key(project), "id"))
    return _identity(client, value) if value else None


def incarnation(client: Client) -> str:
    """Which processes have the rows now: another after a restart or a failover, with which confirmed writes may be lost."""
    found = (server.info("server") for server in primaries(client))
    return hashlib.sha256(" ".join(sorted(str(info["run_id"]) for info in found)).encode()).hexdigest()[:16]


def _identity(client: Client, value: bytes) -> str:
    """A cluster's rows and watermarks are on different servers, of which any may lose its newest writes alone: after a restart
    or failover of one it counts as a new store and is filled again."""
    return f"{value.decode()}.{incarnation(client)}" if isinstance(client, RedisCluster) else value.decode()


def watermarks(conn: psycopg.Connection[Any], client: redis.Redis, project: str) -> dict[str, datetime]:
    """Watermark of each published view: the lesser of what Postgres and the Redis have; none where one has none."""
    state = cast(dict[bytes, bytes], client.hgetall(state_key(project)))
    if b"id" not in state:
        return {}
    rows = conn.execute(
        "select view_id, watermark from online.publications where store_id = %s", [_identity(client, state[b"id"])]
    ).fetchall()
    return {
        view_id: min(watermark, from_micros(int(state[view_id.encode()])))
        for view_id, watermark in rows
        if view_id.encode() in state
    }


def move_watermark(
    conn: psycopg.Connection[Any], client: redis.Redis, project: str, view_id: str, store: str, to: datetime
) -> None:
    """Note in the Redis, then in Postgres, that a view is published up to `to`."""
    client.hset(state_key(project), view_id, str(micros(to)))
    conn.execute(
        "insert into online.publications (view_id, store_id, watermark) values (%s, %s, %s) "
        "on conflict (view_id, store_id) do update set watermark = excluded.watermark, published_at = now()",
        [view_id, store, to],
    )


@contextmanager
def publish_lock(conn: psycopg.Connection[Any], view_id: str, store: str) -> Iterator[None]:
    """One publish of a view to a store at a time. Take it before a transaction begins: no snapshot may be older than it."""
    name = f"millwright.publish.{view_id}{store}"
    conn.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [name])
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [name])
