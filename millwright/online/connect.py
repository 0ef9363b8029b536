"""Opens a client of the online store by its URL: one server, one behind Sentinels, or a Redis Cluster.

Belongs here: the forms of the URL. Does not: what is sent (lookup.py, write.py), which URL (settings.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import redis
from redis import asyncio as redis_asyncio
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import parse_url
from redis.exceptions import RedisClusterException

FORMS = (
    "redis://[user:password@]host:port/db, rediss:// (TLS), unix://path, "
    "redis+cluster://host:port[,host:port] or redis+sentinel://host:port[,host:port]/master[?db=0&sentinel_password=…] "
    "(rediss+… for TLS)"
)


Client = redis.Redis | RedisCluster


class BadUrl(ValueError):
    """A URL that names no Redis. Never says the URL: it may hold a password."""


@dataclass(frozen=True)
class Target:
    """Where the store is. `hosts`: of Sentinels or of some of a cluster's nodes; `options`: redis-py's of each connection."""

    kind: str
    hosts: tuple[tuple[str, int], ...]
    master: str
    options: dict[str, Any]


def client(url: str, **options: Any) -> redis.Redis:
    """A client for the store at `url`; `options` are redis-py's. A cluster's is a RedisCluster: it knows the same commands.

    Connects with the first command; a RedisCluster asks for its slots at once. Raises BadUrl, redis.RedisError.
    """
    if "+" not in url.partition("://")[0]:
        return _plain(url, options)
    target = _target(url)
    merged = {**target.options, **options}
    if target.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in target.hosts]  # type: ignore[no-untyped-call]
        try:
            return cast(redis.Redis, RedisCluster(startup_nodes=nodes, **merged))
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error  # the only one of redis-py's errors that is no RedisError
    from redis.sentinel import Sentinel

    sentinel = Sentinel(target.hosts, sentinel_kwargs=_of_sentinels(merged), **merged)  # type: ignore[no-untyped-call]
    return cast(redis.Redis, sentinel.master_for(target.master))  # type: ignore[no-untyped-call]


def async_client(url: str) -> Any:
    """As `client`, of redis-py's asyncio."""
    if "+" not in url.partition("://")[0]:
        _plain(url, {}).close()
        return redis_asyncio.Redis.from_url(url)
    target = _target(url)
    if target.kind == "cluster":
        nodes = [redis_asyncio.cluster.ClusterNode(host, port) for host, port in target.hosts]
        return redis_asyncio.RedisCluster(startup_nodes=nodes, **target.options)
    from redis.asyncio.sentinel import Sentinel

    options = dict(target.options)
    sentinel = Sentinel(target.hosts, sentinel_kwargs=_of_sentinels(options), **options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(target.master)


def primaries(store: Client) -> list[redis.Redis]:
    """A client for each server that takes writes."""
    if not isinstance(store, RedisCluster):
        return [store]
    return [store.get_redis_connection(node) for node in store.get_primaries()]  # type: ignore[no-untyped-call]


def _plain(url: str, options: dict[str, Any]) -> redis.Redis:
    try:
        return redis.Redis.from_url(url, **options)
    except (ValueError, TypeError):
        raise BadUrl(f"The URL of the online store is not one of {FORMS}.") from None


def _target(url: str) -> Target:
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.partition("+")
    authority, slash, path = rest.partition("/")
    if not slash:
        authority, mark, query = rest.partition("?")
        path = mark + query
    users, _, listed = authority.rpartition("@")
    master, _, query = path.partition("?")
    if kind not in {"cluster", "sentinel"} or plain not in {"redis", "rediss"} or (kind == "sentinel") != bool(master):
        raise BadUrl(f"The URL of the online store is not one of {FORMS}.")
    try:
        parts = [urlsplit(f"//{host}") for host in listed.split(",")]
        hosts = tuple((part.hostname or "localhost", part.port or 6379) for part in parts)
        options = dict(parse_url(f"{plain}://{users}{'@' if users else ''}host/?{query}"))  # type: ignore[no-untyped-call]
    except ValueError:
        raise BadUrl(f"The URL of the online store is not one of {FORMS}.") from None
    options.pop("host", None)
    if options.pop("connection_class", None):
        options["ssl"] = True
    return Target(kind, hosts, unquote(master), options)


def _of_sentinels(options: dict[str, Any]) -> dict[str, Any]:
    """What the connections to the Sentinels take of the options; what is theirs alone is taken out."""
    theirs = {name: value for name, value in options.items() if name.startswith(("socket_", "ssl"))}
    own = [name for name in options if name.startswith("sentinel_")]
    return theirs | {name.removeprefix("sentinel_"): options.pop(name) for name in own}
