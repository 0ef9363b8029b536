"""Predictions as a client meets them: a real uvicorn, real stores, models whose answers are known; and their log."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis

from millwright.cli import main
from millwright.definitions import load
from millwright.online.publish import publish
from millwright.registry import apply, deploy, set_status
from millwright.serving import keys
from millwright.serving.predictions import PredictionLog
from millwright.settings import Settings
from millwright.stack.redis import Valkey
from millwright.warehouse.connect import connect
from tests import platforms, servers
from tests.prediction.onnx_files import weighted
from tests.serving.server import uvicorn

NOW = datetime.now(UTC).replace(microsecond=250_000)
LAST, COUNT = "machine_vitals_v1:temperature_last", "machine_vitals_v1:readings_count_1h"
FRESH, OLD, GAP, NONE = "press-1", "press-2", "press-3", "press-9"


@dataclass
class Served:
    client: httpx.Client
    conn: psycopg.Connection[Any]
    redis: Valkey
    settings: Settings
    process: Any

    def ask(self, model: str, *machines: Any, **changes: Any) -> httpx.Response:
        body = {"entities": {"machine_id": list(machines)}, **changes}
        return self.client.post(f"/v1/models/{model}/predict", json=body)

    def logged(self, count: int) -> list[tuple[Any, ...]]:
        """The rows of the log, once there are `count`."""
        query = "select position, model_id, entity, status, outputs, features, reason, asked_by from serving.predictions"
        soon(lambda: len(self.conn.execute("select from serving.predictions").fetchall()) >= count)
        return self.conn.execute(f"{query} order by predicted_at, position").fetchall()  # type: ignore[arg-type]


def soon(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def served(tmp_path: Path, database: str) -> Iterator[Served]:
    """Three models of the same weights, 1 × temperature + 10 × count, and four machines: fresh, old, without a count, unknown."""
    with servers.running(servers.valkey) as valkey:
        settings = platforms.settings(tmp_path, database, valkey.url(), feast=False)
        apply(settings)
        file = weighted(tmp_path / "m.onnx", [1.0, 10.0])
        deploy(settings, file, name="strict", features=[LAST, COUNT])
        deploy(
            settings,
            file,
            name="kind",
            features=[LAST, COUNT],
            on_missing="impute",
            on_stale="use",
            impute={"readings_count_1h": 3},
        )
        definitions = load(settings.feature_repo)
        view = definitions.feature_views["machine_vitals_v1"]
        with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(valkey.url()) as store:
            history = platforms.History(conn, definitions, view)
            history.put([FRESH], NOW, temperature_last=1.5, readings_count_1h=7)
            history.put([OLD], NOW - timedelta(hours=3), temperature_last=2.5, readings_count_1h=1)
            history.put([GAP], NOW, temperature_last=0.5)
            publish(conn, store, definitions, view, project="millwright")
            key = keys.create_key(conn, name="test", scopes=["predict"])
            server = uvicorn(settings)
            with server as url, httpx.Client(base_url=url, timeout=10) as client:
                client.headers["Authorization"] = f"Bearer {key.key}"
                yield Served(client, conn, valkey, settings, server.process)


def test_predictions_with_what_they_were_made_of(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Everything that needs no change of state, on one server."""
    answer = served.ask("strict", FRESH)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    view = load(served.settings.feature_repo).feature_views["machine_vitals_v1"]
    assert (body["model"], body["model_id"], body["model_version"], body["status"]) == ("strict", "strict_v1", 1, "active")
    assert body["feature_views"] == {"machine_vitals_v1": view.content_hash()}
    (one,) = body["predictions"]
    assert (one["status"], one["outputs"], one["missing"], one["stale"]) == ("predicted", {"score": 71.5}, [], [])
    stamp = NOW.isoformat().replace("+00:00", "Z")
    assert one["features"][LAST] == {"value": 1.5, "status": "PRESENT", "event_timestamp": stamp, "imputed": False}

    several = served.ask("strict", FRESH, OLD, GAP, NONE, FRESH).json()["predictions"]
    assert [one["status"] for one in several] == ["predicted", "refused", "refused", "refused", "predicted"]
    assert [(one["missing"], one["stale"]) for one in several[1:4]] == [([], [LAST, COUNT]), ([COUNT], []), ([LAST, COUNT], [])]
    assert several[2]["reason"] == f"{COUNT} is NULL_VALUE"
    assert several[1]["outputs"] is None and several[1]["features"][LAST]["value"] is None
    refused = served.ask("strict_v1", NONE)
    assert (refused.status_code, refused.json()["error"]) == (422, "refused")
    assert refused.json()["message"] == f"nothing was predicted; machine_id={NONE}: {LAST}, {COUNT} are NOT_FOUND"

    lenient = served.ask("kind", FRESH, OLD, GAP, NONE).json()["predictions"]
    assert [one["outputs"] for one in lenient] == [{"score": 71.5}, {"score": 12.5}, {"score": 30.5}, None]
    assert lenient[1]["stale"] == [LAST, COUNT]
    assert lenient[1]["features"][COUNT]["status"] == "OUTSIDE_MAX_AGE"
    assert lenient[2]["features"][COUNT] == {"value": 3, "status": "NULL_VALUE", "event_timestamp": stamp, "imputed": True}
    assert lenient[3]["reason"] == f"{LAST} is NOT_FOUND"  # no value is declared for it

    rows = served.logged(11)
    assert [(row[0], row[1]) for row in rows[:6]] == [(0, "strict_v1"), *((n, "strict_v1") for n in range(5))]
    assert rows[0][2:5] == ({"machine_id": FRESH}, "predicted", {"score": 71.5})
    assert rows[0][5][LAST]["value"] == 1.5 and rows[0][7].startswith("key ")
    assert (rows[2][3], rows[2][4], rows[2][6]) == ("refused", None, f"{LAST}, {COUNT} are OUTSIDE_MAX_AGE")
    _refuses(served)
    _commands(served, monkeypatch, capsys)


def _refuses(served: Served) -> None:
    for model, machines, changes, status, what in (
        ("strikt", [FRESH], {}, 404, "no model strikt (did you mean strict?)"),
        ("strict_v2", [FRESH], {}, 404, "did you mean strict_v1?"),
        ("%00", [FRESH], {}, 404, "no model"),
        ("strict", [], {}, 422, "machine_id has 0"),
        ("strict", [7], {}, 422, "machine_id must be string, got 7"),
        ("strict", [None], {}, 422, "machine_id must be string"),
        ("strict", [FRESH], {"entities": {"machine": ["a"]}}, 422, "needs the join key machine_id"),
        ("strict", [FRESH], {"features": {"temperature_last": 1}}, 422, "features: Extra inputs"),
        ("strict", [FRESH] * 60_000, {}, 422, "more than 100000 values"),
        ("strict", ["a" * 2_000_000], {}, 413, "larger than"),
    ):
        answer = served.ask(model, *machines, **changes)
        assert (answer.status_code, set(answer.json())) == (status, {"error", "message"}), answer.text[:500]
        assert what in answer.json()["message"], answer.text[:500]
    reader = keys.create_key(served.conn, name="reader", scopes=["read"])
    headers = {"Authorization": f"Bearer {reader.key}"}
    asked = {"feature_service": "strict_v1", "entities": {"machine_id": [FRESH]}}
    features = served.client.post("/get-online-features", json=asked, headers=headers).json()
    assert features["metadata"]["feature_names"] == ["machine_id", "temperature_last", "readings_count_1h"]
    body = {"entities": {"machine_id": [FRESH]}}
    assert served.client.post("/v1/models/strict/predict", json=body, headers=headers).status_code == 403
    assert served.client.get("/v1/models", headers=headers).status_code == 403
    assert [one["model_id"] for one in served.client.get("/v1/models").json()["models"]] == ["kind_v1", "strict_v1"]
    for content in (b"{", b"[" * 100_000, b'{"entities": {"machine_id": [NaN]}}', b"\xff"):
        assert served.client.post("/v1/models/strict/predict", content=content).status_code == 422


def _commands(served: Served, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in ("postgres_url", "postgres_reader_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", served.settings.require(name))
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(served.settings.project))

    def types(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words])
        said = capsys.readouterr()
        return int(str(ended.value.code)), said.out + said.err

    code, said = types("predict", "kind", f"machine_id={OLD}", "--json")
    assert (code, json.loads(said)["predictions"][0]["outputs"]) == (0, {"score": 12.5})
    code, said = types("predict", "strict", f"machine_id={GAP}")
    assert (code, f"refused: {COUNT} is NULL_VALUE" in said) == (3, True)
    code, said = types("predict", "strikt", f"machine_id={GAP}")
    assert (code, "did you mean strict?" in said) == (1, True)
    assert [row[7] for row in served.logged(0)].count("command") == 2
    assert types("models")[1].count("_v1") >= 2


def test_a_new_version_a_changed_file_and_a_retired_one(served: Served) -> None:
    assert served.ask("strict", FRESH).json()["predictions"][0]["outputs"] == {"score": 71.5}
    made = deploy(
        served.settings, weighted(served.settings.project / "2.onnx", [2.0, 0.0]), name="strict", features=[LAST, COUNT]
    )
    soon(lambda: served.ask("strict_v2", FRESH).status_code == 200)
    draft = served.ask("strict_v2", FRESH).json()
    assert (draft["status"], draft["predictions"][0]["outputs"]) == ("draft", {"score": 3.0})
    assert served.ask("strict", FRESH).json()["model_id"] == "strict_v1"
    set_status(served.settings, "strict_v2", "active")
    soon(lambda: served.ask("strict", FRESH).json()["model_id"] == "strict_v2")
    set_status(served.settings, "strict_v1", "retired")
    soon(lambda: served.ask("strict_v1", FRESH).status_code == 404)
    assert "strict_v1 is retired; active is strict_v2" in served.ask("strict_v1", FRESH).json()["message"]
    deploy(served.settings, weighted(served.settings.project / "3.onnx", [3.0, 0.0]), name="strict", features=[LAST, COUNT])
    third = Path(made.onnx).with_name("strict_v3.onnx")
    third.write_bytes(Path(made.onnx).read_bytes())
    soon(lambda: served.ask("strict_v3", FRESH).status_code != 404)
    refused = served.ask("strict_v3", FRESH)
    assert (refused.status_code, refused.json()["error"]) == (503, "model_unavailable")
    assert "not the one that was deployed" in refused.json()["message"] and str(third.parent) not in refused.text


def test_redis_away_is_an_answer_only_where_the_model_allows_a_stale_one(served: Served) -> None:
    assert served.ask("kind", FRESH).json()["read_at"] is None
    assert served.ask("strict", FRESH).status_code == 200
    with redis.Redis.from_url(served.redis.url()) as store:
        store.config_set("maxclients", 1)
        store.client_kill_filter(_type="normal", skipme=True)
        assert (served.ask("strict", FRESH).status_code, served.ask("kind", GAP).status_code) == (503, 503)
        answer = served.ask("kind", FRESH).json()
        assert answer["read_at"] < answer["predicted_at"]
        (one,) = answer["predictions"]
        assert (one["outputs"], one["stale"]) == ({"score": 71.5}, [LAST, COUNT])
        store.config_set("maxclients", 100)
    soon(lambda: served.ask("kind", FRESH).json()["read_at"] is None)
    assert served.ask("strict", FRESH).status_code == 200
    _none_is_lost_on_a_clean_stop(served)


def _none_is_lost_on_a_clean_stop(served: Served) -> None:
    asked = [served.ask("strict", FRESH, GAP).json()["request_id"] for _ in range(50)]
    os.kill(served.process.pid, signal.SIGTERM)
    served.process.wait(20)
    query = "select count(*) from serving.predictions where request_id = any(%s)"
    assert served.conn.execute(query, [asked]).fetchone() == (100,)


def test_what_cannot_be_written_is_counted_and_written_once_it_can(database: str) -> None:
    """The queue is bounded; a database that comes back gets what waited, a row once even where only the answer was lost."""
    url = servers.as_role(database, "millwright_app")
    away: list[str] = ["refuses"]

    def connect_() -> Any:
        if away and away[0] == "refuses":
            raise psycopg.OperationalError("away")
        return _Cut(connect(url, autocommit=True), away)

    def answer(rows: int) -> dict[str, Any]:
        one = {
            "entity": {"machine_id": "a\0b"},
            "status": "predicted",
            "outputs": {"s": float("nan")},
            "features": {},
            "reason": "",
        }
        names = {"request_id": f"00000000-0000-0000-0000-{rows:012}", "predicted_at": NOW.isoformat(), "model_id": "m_v1"}
        return {**names, "definition_hash": "h", "predictions": [one] * rows}

    log = PredictionLog(connect_, max_waiting=10)
    log.start()
    log.take(answer(6), "test")
    log.take(answer(7), "test")
    log.take(answer(4), "test")
    assert (log.dropped, log.waiting) == (7, 10)
    away[0] = "commits, and breaks"
    soon(lambda: log.written == 10)
    log.take(answer(2), "test")
    log.close()
    assert (log.written, log.dropped, log.waiting) == (12, 7, 0)
    with connect(url, autocommit=True) as conn:
        assert conn.execute("select count(*), count(distinct (request_id, position)) from serving.predictions").fetchone() == (
            12,
            12,
        )
    away[:] = ["refuses"]
    late = PredictionLog(connect_, drain_seconds=0.2)
    late.start()
    late.take(answer(3), "test")
    late.close()
    assert (late.written, late.dropped) == (0, 3)


class _Cut:
    """A connection that breaks once after its first commit: the client never hears that it was made."""

    def __init__(self, conn: psycopg.Connection[Any], how: list[str]) -> None:
        self.conn, self.how = conn, how

    def __enter__(self) -> psycopg.Connection[Any]:
        return self.conn.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.conn.__exit__(*error)
        if self.how and error[0] is None:
            self.how.pop()
            raise psycopg.OperationalError("the connection broke")
