"""apply, features, online, activate and keys as a person types them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from millwright.cli import main
from millwright.definitions import load
from millwright.online.publish import publish
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms

FIELDS = ("postgres_owner_url", "postgres_url", "postgres_reader_url", "redis_url")


@pytest.fixture
def settings(tmp_path: Path, database: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    monkeypatch.chdir(tmp_path)
    for name in FIELDS:
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", settings.require(name))
    return settings


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """The command line: (exit code, what it printed; its one object with --json)."""

    def run(*arguments: str) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        text = printed.out + printed.err
        return int(ended.value.code or 0), json.loads(printed.out) if "--json" in arguments and printed.out else text

    return run


def test_the_way_of_a_definition(settings: Settings, run: Any) -> None:
    code, text = run("apply", "--plan")
    assert (code, "nothing was changed" in text) == (0, True)
    code, report = run("apply", "--json")
    assert (code, report["views"][0]["action"]) == (0, "created")
    code, text = run("apply")
    assert (code, "unchanged" in text) == (0, True)
    code, text = run("features")
    assert code == 0
    assert "temperature_last" in text
    assert "degC" in text

    definitions = load(settings.feature_repo)
    view = definitions.feature_views["machine_vitals_v1"]
    with (
        connect(settings.require("postgres_url"), autocommit=True) as conn,
        redis.Redis.from_url(settings.require("redis_url")) as client,
    ):
        platforms.History(conn, definitions, view).put(["press-1"], datetime.now(UTC), temperature_last=1.5)
        publish(conn, client, definitions, view, project="millwright")
    code, answer = run("online", "machine_vitals:temperature_last", "machine_id=press-1", "--json")
    value = answer["rows"][0]["features"]["machine_vitals_v1:temperature_last"]
    assert (code, value["value"], value["status"]) == (0, 1.5, "PRESENT")
    code, text = run("online", "machine_vitals", "machine_id=press-9")
    assert (code, "NOT_FOUND" in text) == (0, True)

    path = settings.feature_repo / "feature_views/machine_vitals_v2.yaml"
    path.write_text((path.parent / "machine_vitals_v1.yaml").read_text().replace("version: 1", "version: 2"))
    run("apply")
    code, text = run("activate", "machine_vitals_v2")
    assert (code, "draft → active; machine_vitals_v1 is deprecated now" in text) == (0, True)
    assert run("retire", "machine_vitals_v1")[0] == 0
    code, report = run("features", "machine_vitals", "--json")
    assert [view["status"] for view in report["views"]] == ["retired", "active"]


def test_mistakes_are_told_in_one_line(settings: Settings, run: Any) -> None:
    run("apply")
    for arguments, code, message in [
        (("features", "nothing"), 1, "nothing is not in the catalog"),
        (("online", "machine_vital", "machine_id=a"), 1, "did you mean machine_vitals"),
        (("online", "machine_vitals", "machine=a"), 2, "write machine_id=…"),
        (("online", "machine_vitals"), 2, "KEY=VALUE"),
        (("activate", "machine_vitals_v7"), 1, "machine_vitals_v7 is not applied"),
        (("deprecate", "nothing_v1"), 1, "nothing_v1 is not applied"),
    ]:
        ended, text = run(*arguments)
        assert (ended, message in text, "Traceback" in text) == (code, True, False), text
    (settings.feature_repo / "entities/machine.yaml").write_text("entity: 7")
    ended, text = run("apply")
    assert (ended, "entities/machine.yaml:1" in text, "Traceback" in text) == (1, True, False), text


def test_keys(settings: Settings, run: Any) -> None:
    run("apply")
    code, made = run("keys", "create", "line 7", "--scope", "read", "--expires-in", "30d", "--json")
    assert (code, made["scopes"]) == (0, ["read"])
    code, text = run("keys", "list")
    assert (code, made["key_id"] in text, made["key"] in text) == (0, True, False)
    code, text = run("keys", "revoke", made["key_id"])
    assert (code, "is revoked" in text) == (0, True)
    assert run("keys", "create", "x", "--scope", "write")[0] == 2
    assert run("keys", "create", "x", "--scope", "read", "--expires-in", "soon")[0] == 2
    assert run("keys", "revoke", "nothing")[0] == 1


def test_a_draft_is_previewed_before_it_is_applied(settings: Settings, run: Any) -> None:
    assert run("apply", "--json")[0] == 0
    applied = settings.feature_repo / "feature_views" / "machine_vitals_v1.yaml"
    draft = applied.read_text().replace("version: 1", "version: 2")
    (applied.parent / "machine_vitals_v2.yaml").write_text(draft)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        conn.execute("select warehouse.ensure_months('2026-03-01', '2026-03-01')")
        conn.execute("insert into warehouse.series (entity, keys, sensor_type) values ('machine', '{press-07}', 'press')")
        conn.execute(
            "insert into warehouse.measurements select series_id, timestamptz '2026-03-01 00:00Z' + n * interval '1 minute',"
            " jsonb_build_object('temperature', n), 1, n from warehouse.series, generate_series(1, 5) n"
        )
        code, report = run("preview", "machine_vitals", "machine_id=press-07", "--last", "3m", "--rows", "2", "--json")
        assert (code, report["view_id"], report["rows"], report["events_read"]) == (0, "machine_vitals_v2", 4, 5)
        assert [row["machine_id"] for row in report["newest"]] == ["press-07", "press-07"]
        assert report["newest"][0]["temperature_last"] == 5
        code, text = run("preview", "machine_vitals_v2", "--sql")
        assert code == 0
        assert "Nothing was written." in text
        assert 'insert into "feature_rows"' in text
        assert conn.execute("select count(*) from catalog.feature_views").fetchone() == (1,)
    code, report = run("preview", "machine_vitals_v2", "--sql", "--dialect", "bigquery", "--json")
    assert (code, report["rows"], "CREATE TEMPORARY TABLE `prior`" in report["sql"]) == (0, 0, True)
    for wrong, said in (
        (["machine_vitals", "machine=press-07"], "write machine_id=…"),
        (["machine_vitals", "--last", "1 day"], "not a duration"),
        (["machine_vitals", "--dialect", "postgres"], "give --sql"),
    ):
        code, text = run("preview", *wrong)
        assert (code, said in text) == (2, True), text
    code, text = run("preview", "machine_vital")
    assert (code, "did you mean machine_vitals" in text) == (1, True)
