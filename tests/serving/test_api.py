"""The API as a client meets it: a real server, real stores."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from millwright.definitions import load
from millwright.online.publish import publish
from millwright.registry import apply, set_status
from millwright.serving import keys
from millwright.settings import Settings
from millwright.stack.redis import Valkey
from millwright.warehouse.connect import connect
from tests import platforms, servers
from tests.serving.server import uvicorn

NOW = datetime.now(UTC).replace(microsecond=250_000)
FEATURES = ["machine_vitals:temperature_last", "machine_vitals:vibration_mean_1h", "machine_vitals:readings_count_1h"]
MACHINES = ["press-1", "press-2", "press-9"]


@dataclass
class Served:
    client: httpx.Client
    conn: psycopg.Connection[Any]
    redis: Valkey
    settings: Settings
    key: keys.NewKey

    def ask(self, **changes: Any) -> httpx.Response:
        body = {"features": FEATURES, "entities": {"machine_id": MACHINES}, **changes}
        return self.client.post("/get-online-features", json={name: value for name, value in body.items() if value is not None})


@pytest.fixture
def served(tmp_path: Path, database: str) -> Iterator[Served]:
    """press-1 is fresh, press-2 older than the TTL; a Redis of its own, because tests stop it."""
    with servers.running(servers.valkey) as valkey:
        settings = platforms.settings(tmp_path, database, valkey.url(), feast=False)
        apply(settings)
        definitions = load(settings.feature_repo)
        view = definitions.feature_views["machine_vitals_v1"]
        with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(valkey.url()) as store:
            history = platforms.History(conn, definitions, view)
            history.put(["press-1"], NOW, temperature_last=1.5, readings_count_1h=7)
            history.put(["press-2"], NOW - timedelta(hours=3), temperature_last=2.5)
            publish(conn, store, definitions, view, project="millwright")
            key = keys.create_key(conn, name="test", scopes=["read"])
            with uvicorn(settings) as url, httpx.Client(base_url=url, timeout=10) as client:
                client.headers["Authorization"] = f"Bearer {key.key}"
                yield Served(client, conn, valkey, settings, key)


def test_features_as_feasts_server_answers_them(served: Served) -> None:
    """Everything that needs no change of state, on one server."""
    answer = served.ask()
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["metadata"] == {"feature_names": ["machine_id", "temperature_last", "vibration_mean_1h", "readings_count_1h"]}
    keys_, last, mean, count = body["results"]
    assert (keys_["values"], keys_["statuses"]) == (MACHINES, ["PRESENT"] * 3)
    assert (last["values"], last["statuses"]) == ([1.5, None, None], ["PRESENT", "OUTSIDE_MAX_AGE", "NOT_FOUND"])
    assert mean["statuses"] == ["NULL_VALUE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert count["values"][0] == 7
    stamps = [datetime.fromisoformat(stamp) for stamp in last["event_timestamps"]]
    assert stamps == [NOW, NOW - timedelta(hours=3), datetime(1970, 1, 1, tzinfo=UTC)]

    full = served.ask(features=["machine_vitals_v1:temperature_last"], full_feature_names=True).json()
    assert full["metadata"]["feature_names"] == ["machine_id", "machine_vitals_v1__temperature_last"]
    service = served.ask(features=None, feature_service="machine_vitals").json()
    assert len(service["results"]) == 12
    twice = served.ask(entities={"machine_id": ["press-1", "press-1"]}).json()
    assert twice["results"][1]["values"] == [1.5, 1.5]
    _rows(served)

    _refuses(served)
    _keys(served)


def _rows(served: Served) -> None:
    """The same by rows."""
    entities = [{"machine_id": machine} for machine in MACHINES]
    answer = served.client.post("/v1/features/online", json={"features": ["machine_vitals"], "entities": entities})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [row["entity"] for row in body["rows"]] == entities and len(body["features"]) == 11
    found = [row["features"]["machine_vitals_v1:temperature_last"] for row in body["rows"]]
    assert [(one["value"], one["status"]) for one in found] == [(1.5, "PRESENT"), (None, "OUTSIDE_MAX_AGE"), (None, "NOT_FOUND")]
    assert datetime.fromisoformat(found[0]["event_timestamp"]) == NOW and found[2]["event_timestamp"] is None
    for body, message in (
        ({"features": ["machine_vitals"], "entities": []}, "entities"),
        ({"features": [], "entities": entities}, "features"),
        ({"features": ["machine_vitals"], "entities": [{"machine_id": 7}]}, "machine_id must be string, got 7"),
        ({"features": ["machine_vitals"], "entities": [{}]}, "entities.0"),
        ({"features": ["machine_vitals"], "entities": entities, "more": 1}, "more"),
        ({"features": ["machine_vitals"], "entities": entities[:1] * 20_000}, "more than 100000 values"),
    ):
        answer = served.client.post("/v1/features/online", json=body)
        assert (answer.status_code, message in answer.json()["message"]) == (422, True), answer.text


def _refuses(served: Served) -> None:
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"features": ["machine_vital:x"]}, 404, "did you mean machine_vitals"),
        ({"features": ["machine_vitals:temperature_lst"]}, 404, "did you mean temperature_last"),
        ({"features": None, "feature_service": "nothing"}, 404, "no feature view nothing"),
        ({"features": None}, 422, "either features or feature_service"),
        ({"feature_service": "machine_vitals"}, 422, "either features or feature_service"),
        ({"features": [FEATURES[0]] * 2}, 422, "temperature_last would occur twice"),
        ({"entities": {}}, 422, "entities"),
        ({"entities": {"machine_id": []}}, 422, "machine_id has 0"),
        ({"entities": {"machine_id": ["a"], "line": [1, 2]}}, 422, "line has 2"),
        ({"entities": {"machine": ["a"]}}, 422, "needs the join key machine_id"),
        ({"entities": {"machine_id": [7]}}, 422, "machine_id must be string, got 7"),
        ({"entities": {"machine_id": [None]}}, 422, "machine_id must be string"),
        ({"entities": {"machine_id": "a"}}, 422, "entities.machine_id"),
        ({"entities": {"machine_id": ["a"] * 40_000}}, 422, "more than 100000 values"),
        ({"entities": {"machine_id": ["a" * 2_000_000]}}, 413, "larger than 1048576 bytes"),
    ]
    for changes, status, message in cases:
        answer = served.ask(**changes)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "message"}), answer.text
        assert message in answer.json()["message"]
    doubled = b'{"features": ["machine_vitals:temperature_last"], "entities": {"machine_id": ["a"], "machine\\u005fid": ["b"]}}'
    for content, error in (
        (b"{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"entities": ' * 900 + b"1" + b"}" * 900, "invalid"),
        (b'{"entities": {"machine_id": [NaN]}}', "not_json"),
        (b'{"entities": {"machine_id": [1e999]}}', "not_json"),
        (b"\xff", "not_json"),
        (b"[]", "invalid"),
        (doubled, "doubled_name"),
        (b'{"features": ["a:b"], "features": ["c:d"], "entities": {"machine_id": ["a"]}}', "doubled_name"),
    ):
        answer = served.client.post("/get-online-features", content=content)
        assert (answer.status_code, answer.json()["error"]) == (422, error), (content[:80], answer.text)
    typed = served.client.post("/get-online-features", content=b"<a/>", headers={"content-type": "text/xml"})
    assert (typed.status_code, typed.json()["error"]) == (415, "not_json")
    hundred = served.ask(entities={"machine_id": ["m"] * 100_001})
    assert (hundred.status_code, hundred.json()["error"]) == (422, "too_many")
    chunked = served.client.post("/get-online-features", content=(b"x" * 100_000 for _ in range(30)))
    assert chunked.status_code == 413
    assert served.client.get("/get-online-features").status_code == 405
    assert served.client.get("/nothing").json()["message"] == "GET /nothing"


def _keys(served: Served) -> None:
    other = keys.create_key(served.conn, name="uploads", scopes=["upload"])
    short = keys.create_key(served.conn, name="short", scopes=["read"], expires_in=timedelta(microseconds=1))
    cases = [
        ("", 401, "keys create"),
        ("Basic abc", 401, "keys create"),
        ("Bearer mw_wrong", 401, "not a key of this platform"),
        (f"Bearer {other.key[:-1]}", 401, "not a key of this platform"),
        (f"Bearer {other.key}", 403, "no scope read"),
        (f"Bearer {short.key}", 401, "expired"),
    ]
    url = served.client.base_url
    for header, status, message in cases:
        headers = {"Authorization": header} if header else {}
        answer = httpx.post(f"{url}/get-online-features", json={"entities": {"machine_id": ["a"]}}, headers=headers)
        assert (answer.status_code, message in answer.json()["message"]) == (status, True), answer.text
    assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
    keys.revoke_key(served.conn, served.key.key_id)
    deadline = time.monotonic() + 5
    while served.ask().status_code != 401:
        assert time.monotonic() < deadline, "a revoked key serves for more than five seconds"
        time.sleep(0.05)


def test_redis_away_is_503_and_it_recovers_by_itself(served: Served) -> None:
    assert served.ask().status_code == 200
    with redis.Redis.from_url(served.redis.url()) as store:
        store.config_set("maxclients", 1)
        store.client_kill_filter(_type="normal", skipme=True)
        answer = served.ask()
        assert answer.status_code == 503
        assert answer.json()["error"] == "redis_unavailable"
        ready = served.client.get("/readyz")
        checks = {name: check["status"] for name, check in ready.json()["checks"].items()}
        assert (ready.status_code, checks) == (503, {"redis": "failed", "postgres": "ok", "catalog": "ok"})
        store.config_set("maxclients", 100)
    deadline = time.monotonic() + 5
    while served.ask().status_code != 200:
        assert time.monotonic() < deadline, "Redis is back, and the API does not notice"
        time.sleep(0.05)


def test_the_active_version_follows_the_catalog(served: Served) -> None:
    text = (served.settings.feature_repo / "feature_views/machine_vitals_v1.yaml").read_text()
    (served.settings.feature_repo / "feature_views/machine_vitals_v2.yaml").write_text(text.replace("version: 1", "version: 2"))
    apply(served.settings)
    assert served.ask(features=["machine_vitals_v2:temperature_last"]).status_code == 404
    set_status(served.settings, "machine_vitals_v2", "active")
    deadline = time.monotonic() + 10
    while served.ask().json()["results"][1]["statuses"][0] != "NOT_FOUND":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert served.ask(features=["machine_vitals_v1:temperature_last"]).json()["results"][1]["values"][0] == 1.5


def test_why_a_value_is_what_it_is(served: Served) -> None:
    """These rows were not computed from the warehouse: their values cannot be computed again, and the answer says so."""
    question = {"feature": "machine_vitals:temperature_last", "key": "machine_id=press-1"}
    assert served.client.get("/v1/why", params=question).status_code == 403
    admin = keys.create_key(served.conn, name="admin", scopes=["admin"])
    served.client.headers["Authorization"] = f"Bearer {admin.key}"
    answer = served.client.get("/v1/why", params=question)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["value"], body["online"]["value"], body["recomputed"], body["agrees"]) == (1.5, 1.5, None, False)
    assert (body["event_timestamp"], body["rows"], body["entity"]) == (
        NOW.isoformat().replace("+00:00", "Z"),
        0,
        {"machine_id": "press-1"},
    )
    for change, status, part in (
        ({"key": "machine_id=press-99"}, 404, "no row of machine_id=press-99"),
        ({"key": "machine=press-1"}, 422, "key=machine_id="),
        ({"feature": "machine_vitals:temperature_lost"}, 404, "did you mean temperature_last"),
        ({"feature": "machine_vital:temperature_last"}, 404, "machine_vitals_v1"),
        ({"feature": "machine_vitals"}, 422, "view:feature"),
        ({"at": "2026-03-01T00:00:00"}, 422, "at"),
        ({"rows": "1000000"}, 422, "rows"),
    ):
        answer = served.client.get("/v1/why", params=question | change)
        assert (answer.status_code, part in answer.text) == (status, True), answer.text
