"""Every difference between Postgres and Redis is found and named by its cause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millwright.cli import main
from millwright.compare import Comparison, compare_online, repair_online
from millwright.online import codec
from millwright.registry import keys_expire
from tests.online.conftest import NOON, Online

HOUR = timedelta(hours=1)
MACHINES = [f"press-{index}" for index in range(6)]


def compare(online: Online, **options: Any) -> Comparison:
    return compare_online(online.conn, online.redis, online.definitions, online.view, project="millwright", **options)


def key(machine: str, project: str = "millwright") -> bytes:
    return codec.encode_key(project, {"machine_id": "string"}, {"machine_id": machine})


@pytest.fixture
def filled(online: Online) -> Online:
    for machine in MACHINES:
        online.history.put([machine], NOON, temperature_last=1.0)
    online.publish()
    return online


def test_after_a_publish_all_is_equal(filled: Online) -> None:
    for found in (compare(filled), compare(filled, sample=100)):
        assert found.same
        assert (found.entities, found.equal, found.first_differences) == (6, 6, [])
    assert compare(filled, sample=2).equal == 2


def test_what_redis_was_told_to_let_go_is_no_fault(filled: Online) -> None:
    """`key_ttl_seconds` of feature_store.yaml; a younger row that is not there is missing all the same."""
    filled.redis.delete(key("press-0"))
    age = datetime.now(UTC) - NOON
    assert compare(filled, expire=age + HOUR).missing == 1
    found = compare(filled, expire=age - HOUR)
    assert (found.same, found.missing, found.expired, found.equal) == (True, 0, 1, 5)
    repository = filled.settings.feature_repo
    assert keys_expire(filled.settings) is None
    (repository / "feature_store.yaml").write_text("project: millwright\nonline_store: {type: redis, key_ttl_seconds: 3600}\n")
    assert keys_expire(filled.settings) == HOUR


def test_every_cause_has_its_name(filled: Online) -> None:
    redis = filled.redis
    redis.delete(key("press-0"))
    redis.hset(key("press-1"), codec.field("machine_vitals_v1", "temperature_last"), b"\x29" + bytes(8))
    redis.hset(key("press-2"), codec.field("machine_vitals_v1", "temperature_last"), b"\x29")
    filled.history.put(["press-3"], NOON + HOUR, temperature_last=2.0)
    filled.history.retract(["press-4"], NOON)
    filled.history.put(["press-4"], NOON - HOUR, temperature_last=2.0)
    filled.history.retract(["press-5"], NOON)
    redis.copy(key("press-5"), key("never seen"))
    redis.copy(key("press-5"), key("another project's", "xmillwright"))
    found = compare(filled)
    assert not found.same
    counts = {name: getattr(found, name) for name in ("missing", "different", "undecodable", "older", "newer", "extra", "equal")}
    assert counts == {"missing": 1, "different": 1, "undecodable": 1, "older": 1, "newer": 1, "extra": 2, "equal": 0}
    named = {difference.entity["machine_id"]: difference for difference in found.first_differences}
    assert named["press-1"].postgres == {"temperature_last": 1.0}
    assert named["press-1"].redis == {"temperature_last": 0.0}
    assert (named["press-3"].postgres_event, named["press-3"].redis_event) == (NOON + HOUR, NOON)
    assert named["never seen"].cause == "extra"
    assert compare(filled, sample=100).extra == 1, "a sample does not scan Redis"


def test_flushall_shows_and_a_publish_mends_it(filled: Online) -> None:
    filled.redis.flushall()
    assert compare(filled).missing == 6
    filled.publish()
    assert compare(filled).same


def test_a_view_without_rows_is_equal(online: Online) -> None:
    assert compare(online).same
    assert compare(online, sample=10).same


def test_every_difference_is_repaired_but_one_of_a_later_snapshot(filled: Online) -> None:
    redis = filled.redis
    redis.delete(key("press-0"))
    redis.hset(key("press-1"), codec.field("machine_vitals_v1", "temperature_last"), b"\x29" + bytes(8))
    redis.hset(key("press-2"), codec.field("machine_vitals_v1", "temperature_last"), b"\x29")
    filled.history.retract(["press-5"], NOON)
    redis.copy(key("press-5"), key("never seen"))
    redis.copy(key("press-1"), key("another project's", "xmillwright"))
    redis.hset(
        key("press-3"),
        mapping={codec.order_field("machine_vitals_v1"): b"9" * 16, codec.timestamp_field("machine_vitals_v1"): b"\x08\x01"},
    )
    repair = repair_online(filled.conn, redis, filled.definitions, filled.view, project="millwright")
    assert (repair.before.missing, repair.before.different, repair.before.undecodable, repair.before.extra) == (1, 1, 1, 2)
    assert (repair.written, repair.removed, repair.older) == (4, 2, 1)
    assert (repair.after.entities, repair.after.equal, repair.after.older) == (5, 4, 1)
    assert redis.exists(key("another project's", "xmillwright"))
    redis.delete(key("press-3"))
    assert repair_online(filled.conn, redis, filled.definitions, filled.view, project="millwright").after.same
    again = repair_online(filled.conn, redis, filled.definitions, filled.view, project="millwright")
    assert (again.before.same, again.written) == (True, 0)


def test_the_command_compares_and_repairs(
    filled: Online, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(filled.settings.project)
    for name in ("postgres_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", filled.settings.require(name))

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["compare", "online", *arguments])
        return int(ended.value.code or 0), " ".join(capsys.readouterr().out.split())

    assert run() == (0, "machine_vitals_v1: all 6 entities are the same in Redis as in Postgres.")
    filled.redis.flushall()
    code, told = run("machine_vitals")
    assert (code, "of 6 entities 6 missing." in told, "press-0" in told) == (3, True, True)
    code, told = run("--repair")
    assert (code, "6 rows sent again, 0 removed. Now: all 6 entities are the same" in told) == (0, True)
    code, told = run("--json")
    assert (code, '"same": true' in told or '"same":true' in told) == (0, True)
