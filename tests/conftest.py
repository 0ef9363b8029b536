"""Fixtures that every test may use: real servers, one of each kind per worker, a fresh database per test.

Belongs here: servers. Does not: data and definitions of one area (that area's own conftest).
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator

import psycopg
import pytest
import redis
from psycopg import sql

from millwright.definitions import Definitions, FeatureView
from millwright.features import windows
from millwright.stack import bootstrap
from millwright.stack.kafka import Kafka
from millwright.stack.postgres import Postgres
from millwright.stack.redis import Valkey
from tests import servers
from tests.databases import Databases


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """A definition is compiled once in a worker: that takes a second, and the outcome hangs on the definition alone."""
    kept: dict[str, dict[str, str]] = {}
    compile_view = windows.compile_view

    def compile_once(definitions: Definitions, view: FeatureView) -> dict[str, str]:
        key = f"{sorted(definitions.datasets.items())} {view!r}"
        if key not in kept:
            kept[key] = compile_view(definitions, view)
        return dict(kept[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "compile_view", compile_once)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """PostgreSQL 18 with the platform's roles (password `servers.PASSWORD`)."""
    with servers.running(servers.postgres) as server:
        bootstrap.ensure_roles(server.url(), dict.fromkeys(servers.ROLES, servers.PASSWORD))
        yield server


@pytest.fixture
def empty_database(postgres_server: Postgres) -> Iterator[str]:
    """URL of the superuser on a fresh, empty database owned by millwright_owner; `servers.as_role(url, role)` for others."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    bootstrap.ensure_database(postgres_server.url(), name, bootstrap.OWNER)
    yield postgres_server.url(name)
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def databases(postgres_server: Postgres) -> Databases:
    """Migrated databases of this worker."""
    return Databases(postgres_server)


@pytest.fixture
def database(postgres_server: Postgres, databases: Databases) -> Iterator[str]:
    """URL of the superuser on a database as the migrations leave it; `servers.as_role(url, role)` for others."""
    with databases.one() as name:
        yield postgres_server.url(name)


@pytest.fixture
def app_url(database: str) -> str:
    """The role app on `database`."""
    return servers.as_role(database, bootstrap.APP)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Valkey]:
    """Valkey with a password; `server.url()`."""
    with servers.running(servers.valkey) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: Valkey) -> str:
    """URL of an empty Valkey database."""
    return _flushed(redis_server)


@pytest.fixture(scope="session")
def debian_redis_server() -> Iterator[Valkey]:
    """The machine's own Redis; a test that uses it has the marker debian_redis."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with servers.running(servers.debian_redis) as server:
        yield server


@pytest.fixture
def debian_redis_url(debian_redis_server: Valkey) -> str:
    """URL of an empty database of the machine's own Redis."""
    return _flushed(debian_redis_server)


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Kafka]:
    """A Kafka broker; `server.bootstrap`. A test that uses it has the marker kafka and topics of its own."""
    with servers.running(servers.kafka, seconds=90) as server:
        yield server


@pytest.fixture
def kafka_bootstrap(kafka_server: Kafka) -> str:
    """host:port of the broker."""
    return kafka_server.bootstrap


def _flushed(server: Valkey) -> str:
    with redis.Redis.from_url(server.url()) as client:
        client.flushall()
    return server.url()
