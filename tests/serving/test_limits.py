"""What the API refuses, keeps and counts, with several workers; and what it answers while a store is away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import redis
from psycopg import sql

from millwright.definitions import load
from millwright.online.publish import publish
from millwright.registry import apply
from millwright.serving import keys
from millwright.settings import Settings
from millwright.stack.redis import Valkey
from millwright.warehouse.connect import connect
from tests import platforms, servers
from tests.serving.server import uvicorn

ASKED = {"features": ["machine_vitals:temperature_last"], "entities": {"machine_id": ["press-1"]}}
PER_MINUTE = 300


@dataclass
class Platform:
    settings: Settings
    conn: psycopg.Connection[Any]
    valkey: Valkey
    key: keys.NewKey
    database: str

    def ask(self, client: httpx.Client, key: str | None = None, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key.key}"}
        return client.post("/get-online-features", headers=headers, **({"json": ASKED} | options))


@pytest.fixture
def platform(tmp_path: Path, database: str) -> Iterator[Platform]:
    """press-1 has 1.5; a Redis of its own, because tests stop it."""
    with servers.running(servers.valkey) as valkey:
        settings = platforms.settings(tmp_path, database, valkey.url(), feast=False)
        apply(settings)
        definitions = load(settings.feature_repo)
        view = definitions.feature_views["machine_vitals_v1"]
        with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(valkey.url()) as store:
            platforms.History(conn, definitions, view).put(["press-1"], datetime.now(UTC), temperature_last=1.5)
            publish(conn, store, definitions, view, project="millwright")
            key = keys.create_key(conn, name="test", scopes=["read", "upload"])
            yield Platform(settings, conn, valkey, key, database)


def soon(holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def closed(database: str) -> Iterator[None]:
    """The database takes no connections and has none: what an API sees of a Postgres that is away."""
    name = urlsplit(database).path.lstrip("/")
    with psycopg.connect(database.replace(f"/{name}", "/postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("alter database {} allow_connections false").format(sql.Identifier(name)))
        try:
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
            yield
        finally:
            conn.execute(sql.SQL("alter database {} allow_connections true").format(sql.Identifier(name)))


def test_workers_share_limits_numbers_and_the_audit(platform: Platform) -> None:
    """Two workers, one limit: a key has its requests a minute, whichever worker answers; numbers are those of both."""
    upload = keys.create_key(platform.conn, name="uploads", scopes=["upload"])
    with uvicorn(platform.settings, workers=2, MILLWRIGHT_API_REQUESTS_PER_MINUTE=str(PER_MINUTE)) as url:
        with httpx.Client(base_url=url, timeout=10) as client:
            assert platform.ask(client, "mw_wrong").status_code == 401
            assert platform.ask(client, upload.key).status_code == 403
            assert platform.ask(client, content=b"x" * 10_000_000).status_code == 413
            assert client.get("/v1/secret-of-mine").status_code == 404
            sent = client.put(
                "/v1/datasets/fleet/uploads",
                params={"filename": "a.csv"},
                content=b"machine_id,timestamp,temperature\np,2026-01-01T00:00:00Z,1\n",
                headers={"Authorization": f"Bearer {upload.key}"},
            )
            assert sent.status_code == 201, sent.text
        counted = 0
        answer: httpx.Response | None = None
        for _ in range(40):  # a new connection each, so that both workers are met
            with httpx.Client(base_url=url, timeout=10) as client:
                for _ in range(10):
                    answer = platform.ask(client)
                    counted += answer.status_code == 200
        assert answer is not None and answer.status_code == 429
        assert answer.json()["error"] == "too_many_requests" and 0 < int(answer.headers["retry-after"]) <= 60
        # A worker holds a hundredth in advance: it may be unused where the other one asks.
        assert PER_MINUTE * 0.97 - 5 <= counted <= PER_MINUTE
        told = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {keys_of(platform)}"})
        assert told.status_code == 200
        lines = dict(line.rsplit(" ", 1) for line in told.text.splitlines() if not line.startswith("#"))
        route = 'method="POST",route="/get-online-features"'
        assert float(lines[f'millwright_http_requests_total{{{route},status="200"}}']) == counted
        assert float(lines[f"millwright_http_request_seconds_count{{{route}}}"]) >= counted
        assert 'millwright_http_refused_total{error="bad_key",route="/get-online-features"}' in lines
        assert "secret-of-mine" not in told.text
        assert httpx.get(f"{url}/metrics").status_code == 401

    rows = platform.conn.execute(
        "select key_id, method, route, status, error, subject, sum(requests)::int from serving.audit group by 1, 2, 3, 4, 5, 6"
    ).fetchall()
    found = {(row[0], row[3], row[4]): row for row in rows}
    mine, other = platform.key.key_id, upload.key_id
    assert found[None, 401, "bad_key"][2] == found[mine, 429, "too_many_requests"][2] == "/get-online-features"
    assert found[mine, 429, "too_many_requests"][6] == 400 - counted
    assert {(other, 403, "wrong_scope"), (None, 413, "too_large"), (None, 404, "not_found")} <= set(found)
    assert found[None, 404, "not_found"][2] == ""
    assert found[other, 201, None][1:3] == ("PUT", "/v1/datasets/{dataset}/uploads")
    assert found[other, 201, None][5] == f"batch {sent.json()['batch_id']}"
    everything = str(platform.conn.execute("select * from serving.audit").fetchall())
    assert not any(secret in everything for secret in ("mw_", "secret-of-mine", "press-1", "a.csv"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        platform.conn.execute("update serving.audit set status = 200")


def keys_of(platform: Platform) -> str:
    return keys.create_key(platform.conn, name="prometheus", scopes=["read"]).key


def test_while_a_store_is_away(platform: Platform) -> None:
    """Postgres: known keys read on, others are told 503. Redis that hangs: 503 within seconds, then at once; back by itself."""
    unknown = keys_of(platform)
    with uvicorn(platform.settings) as url, httpx.Client(base_url=url, timeout=10) as client:
        assert platform.ask(client).json()["results"][1]["values"] == [1.5]
        with closed(platform.database):
            began = time.monotonic()
            while time.monotonic() - began < 4:  # longer than anything is believed without looking again
                answer = platform.ask(client)
                assert (answer.status_code, answer.json()["results"][1]["values"]) == (200, [1.5])
                time.sleep(0.05)
            refused = platform.ask(client, unknown)
            assert (refused.status_code, refused.json()["error"]) == (503, "postgres_unavailable")
            ready = client.get("/readyz")
            states = {name: check["status"] for name, check in ready.json()["checks"].items()}
            assert (ready.status_code, states) == (503, {"redis": "ok", "postgres": "failed", "catalog": "ok"})
            assert platform.ask(client, "mw_wrong").status_code == 401
        soon(lambda: platform.ask(client, unknown).status_code == 200, "Postgres is back, and the API does not notice")
        soon(lambda: client.get("/readyz").status_code == 200, "ready again")

        with redis.Redis.from_url(platform.valkey.url()) as store:
            process = store.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            first = platform.ask(client)
            assert (first.status_code, first.json()["error"]) == (503, "redis_unavailable")
            told = [platform.ask(client) for _ in range(10)]
            assert {answer.status_code for answer in told} == {503}
            assert min(answer.elapsed.total_seconds() for answer in told) < 0.2
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["redis"]["status"]) == (503, "failed")
            assert client.get("/healthz").status_code == 200
        finally:
            os.kill(process, signal.SIGCONT)
        soon(lambda: platform.ask(client).status_code == 200, "Redis is back, and the API does not notice")
        assert "millwright_redis_failures_total" in client.get("/metrics", headers={"Authorization": f"Bearer {unknown}"}).text
