"""Views whose rows are made by hand, and the same views in plain Feast, for the benchmarks of the online store.

Belongs here: definitions, rows, Feast's objects. Does not: anything measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from millwright.registry import apply
from millwright.settings import Settings
from millwright.stack.up import Stack
from millwright.warehouse.connect import connect

PROJECT = "benchmark"
START = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS = [("double", f"sqrt(n * {place + 2})") for place in range(10)]
MIXED = [
    ("double", "sqrt(n)"),
    ("double", "case when n % 3 > 0 then sqrt(n) end"),
    ("int64", "n::bigint * 1000003"),
    ("int64", "case when n % 2 = 0 then -n end"),
    ("bool", "n % 2 = 0"),
    ("bool", "case when n % 5 = 0 then true end"),
    ("string", "'state ' || n"),
    ("string", "repeat('x', n % 40)"),
    ("string", "case when n % 4 = 0 then 'grün' end"),
    ("string", "null"),
]
VIEWS = {"numbers_v1": NUMBERS, "mixed_v1": MIXED}


@contextmanager
def stores(folder: Path) -> Iterator[Settings]:
    """A Postgres and a Redis with the views applied, in a state folder below `folder`; MILLWRIGHT_HOME must lead there."""
    write_definitions(folder / "feature_repo")
    stack = Stack(Settings(project=folder))
    try:
        stack.up(["postgres", "redis"])
        settings = Settings(project=folder)
        apply(settings, by="benchmark")
        yield settings
    finally:
        stack.down()


def feast_store(settings: Settings, view_id: str) -> Any:
    """A FeatureStore with Feast's own stores for Postgres and Redis, over the same rows."""
    from feast import Entity, FeatureStore, FeatureView, Field, RepoConfig
    from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
    from feast.types import Bool, Float64, Int64, String
    from feast.value_type import ValueType

    types = {"double": Float64, "int64": Int64, "bool": Bool, "string": String}
    postgres = conninfo_to_dict(settings.require("postgres_reader_url"))
    server = _redis_of(settings.require("redis_url"))
    store = FeatureStore(
        config=RepoConfig(
            project="peer",
            provider="local",
            registry=str(settings.project / f"{view_id}.db"),
            offline_store={
                "type": "postgres",
                "host": postgres["host"],
                "port": int(str(postgres["port"])),
                "database": postgres["dbname"],
                "user": postgres["user"],
                "password": postgres.get("password", ""),
                "db_schema": "features",
                "sslmode": "disable",
            },
            online_store={"type": "redis", "connection_string": server},
            entity_key_serialization_version=3,
        )
    )
    machine = Entity(name="machine", join_keys=["machine_id"], value_type=ValueType.STRING)
    source = PostgreSQLSource(
        name=view_id,
        query=f"select * from features.{view_id}",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [Field(name=f"f{place}", dtype=types[kind]) for place, (kind, _) in enumerate(VIEWS[view_id])]
    store.apply([machine, FeatureView(name=view_id, entities=[machine], ttl=timedelta(0), schema=schema, source=source)])
    return store


def _redis_of(url: str) -> str:
    """Feast's way to write where a Redis is."""
    told = redis.connection.parse_url(url)
    password = f",password={told['password']}" if told.get("password") else ""
    return f"{told['host']}:{told['port']}{password}"


def fill(settings: Settings, view: str, entities: int) -> None:
    """One current row an entity, in place of what was there."""
    features = VIEWS[view]
    columns = [sql.Identifier(f"f{place}") for place in range(len(features))]
    with connect(settings.require("postgres_owner_url"), autocommit=True) as conn:
        history = sql.Identifier("features", f"{view}_history")
        conn.execute(sql.SQL("truncate {}").format(history))
        conn.execute(
            sql.SQL(
                "insert into {} (machine_id, event_timestamp, created_timestamp, known_timestamp, {}) "
                "select 'machine-' || n, {}::timestamptz + n * interval '1 second', {now}, {now}, {} "
                "from generate_series(1, {}) n"
            ).format(
                history,
                sql.SQL(", ").join(columns),
                sql.Literal(START),
                sql.SQL(", ").join(sql.SQL(value) for _, value in features),  # type: ignore[arg-type]
                sql.Literal(entities),
                now=sql.Literal(datetime.now(UTC)),
            )
        )
        conn.execute(sql.SQL("vacuum analyze {}").format(history))


def write_definitions(folder: Path) -> None:
    readings = {f"{kind}s": kind for kind in ("double", "int64", "bool", "string")}
    files = {
        "entities/machine.yaml": "entity: machine\njoin_keys: {machine_id: string}\n",
        "datasets/fleet.yaml": "dataset: fleet\nentity: machine\nreadings:\n"
        + "".join(f"  {name}: {{type: {kind}}}\n" for name, kind in readings.items()),
    }
    for view, columns in VIEWS.items():
        lines = [f"feature_view: {view.removesuffix('_v1')}", "version: 1", "entity: machine", "ttl: 3650d", "features:"]
        lines += [f"- {{name: f{place}, aggregate: last, of: {kind}s, window: 1h}}" for place, (kind, _) in enumerate(columns)]
        files[f"feature_views/{view}.yaml"] = "\n".join(lines) + "\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
