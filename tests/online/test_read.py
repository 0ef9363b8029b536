"""Statuses, event times, TTL, names; one round trip."""

from __future__ import annotations

from datetime import timedelta

import pytest
import redis

from millwright.online import codec
from millwright.online.read import BadEntity, read_online
from millwright.online.served import UnknownFeature
from tests.online.conftest import NOON, Online

TTL = timedelta(hours=2)


def test_statuses(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    assert (online.value("press-1").status, online.value("press-1").event_timestamp) == ("PRESENT", NOON)
    missing = online.value("press-1", "vibration_mean_1h")
    assert (missing.value, missing.status, missing.event_timestamp) == (None, "NULL_VALUE", NOON)
    unknown = online.value("press-9")
    assert (unknown.value, unknown.status, unknown.event_timestamp) == (None, "NOT_FOUND", None)


def test_a_value_older_than_the_ttl_is_not_given(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    assert online.value("press-1", now=NOON + TTL).status == "PRESENT"
    old = online.value("press-1", now=NOON + TTL + timedelta(microseconds=1))
    assert (old.value, old.status, old.event_timestamp) == (None, "OUTSIDE_MAX_AGE", NOON)


def test_versions_names_order_and_repeated_entities(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0, readings_count_1h=5)
    online.history.put(["press-2"], NOON, temperature_last=2.0)
    online.publish()
    references = ["machine_vitals_v1:readings_count_1h", "machine_vitals:temperature_last"]
    rows = [{"machine_id": name} for name in ("press-2", "press-1", "press-2")]
    found = read_online(online.conn, online.redis, online.definitions, references, rows, project="millwright", now=NOON)
    assert found.features == ["machine_vitals_v1:readings_count_1h", "machine_vitals_v1:temperature_last"]
    assert [[value.value for value in row.features.values()] for row in found.rows] == [[None, 2.0], [5, 1.0], [None, 2.0]]
    whole = read_online(None, online.redis, online.definitions, online.view, rows, project="millwright", now=NOON)
    assert len(whole.features) == len(online.view.features)


def test_one_round_trip_for_all_entities(online: Online) -> None:
    before = online.redis.info("stats")["total_reads_processed"]
    rows = [{"machine_id": f"press-{index}"} for index in range(50)]
    read_online(None, online.redis, online.definitions, online.view, rows, project="millwright")
    assert online.redis.info("stats")["total_reads_processed"] - before < 10  # of the 50 of one by one


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("machine_vital:temperature_last", r"no feature view machine_vital \(did you mean machine_vitals"),
        ("machine_vitals:temperature_lst", r"has no feature 'temperature_lst' \(did you mean temperature_last"),
        ("machine_vitals:", "has no feature ''"),
    ],
)
def test_unknown_names_say_what_is_near(online: Online, reference: str, message: str) -> None:
    with pytest.raises(UnknownFeature, match=message):
        read_online(online.conn, online.redis, online.definitions, [reference], [{"machine_id": "a"}], project="millwright")


@pytest.mark.parametrize("row", [{}, {"machine": "press-1"}, {"machine_id": 7}, {"machine_id": None}])
def test_bad_entities_say_what_is_wrong(online: Online, row: dict[str, object]) -> None:
    with pytest.raises(BadEntity, match="machine_id"):
        read_online(online.conn, online.redis, online.definitions, ["machine_vitals"], [row], project="millwright")


def test_a_draft_or_retired_version_is_not_served(online: Online) -> None:
    with connect_owner(online) as owner:
        for status in ("draft", "retired"):
            owner.execute("update catalog.feature_views set status = %s", [status])
            with pytest.raises(UnknownFeature, match=f"machine_vitals_v1 is {status}"):
                read_online(
                    online.conn,
                    online.redis,
                    online.definitions,
                    ["machine_vitals_v1"],
                    [{"machine_id": "a"}],
                    project="millwright",
                )
    assert online.unpublished() == []


def connect_owner(online: Online):  # type: ignore[no-untyped-def]
    from millwright.warehouse.connect import connect

    return connect(online.settings.require("postgres_owner_url"), autocommit=True)


def test_foreign_bytes_are_undecodable_not_wrong(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    (key,) = [key for key in online.redis.scan_iter() if b"press-1" in key]
    online.redis.hset(key, codec.field("machine_vitals_v1", "temperature_last"), b"\x29\x00")
    with pytest.raises(codec.Undecodable):
        online.value("press-1")


def test_a_redis_that_is_away_raises(online: Online) -> None:
    away = redis.Redis(port=1, socket_connect_timeout=1)
    with pytest.raises(redis.ConnectionError):
        read_online(online.conn, away, online.definitions, online.view, [{"machine_id": "a"}], project="millwright")


def test_a_reply_that_is_an_error_raises_and_leaves_the_client_usable(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    key = codec.encode_key("millwright", {"machine_id": "string"}, {"machine_id": "press-9"})
    online.redis.set(key, b"no hash")
    rows = [{"machine_id": name} for name in ("press-1", "press-9", "press-1")]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        read_online(None, online.redis, online.definitions, online.view, rows, project="millwright")
    assert online.value("press-1").status == "PRESENT"


def test_a_redis_that_is_slow_times_out_and_its_late_replies_are_nobodys(online: Online, redis_url: str) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    ask = (online.definitions, online.view, [{"machine_id": "press-1"}])
    with redis.Redis.from_url(redis_url, socket_timeout=0.2) as client:
        online.redis.execute_command("CLIENT", "PAUSE", "1000", "ALL")
        with pytest.raises(redis.TimeoutError):
            read_online(None, client, *ask, project="millwright", now=NOON)
        online.redis.ping()  # answered when the pause is over
        found = read_online(None, client, *ask, project="millwright", now=NOON)
        assert found.rows[0].features["machine_vitals_v1:temperature_last"].value == 1.0


def test_a_connection_that_the_server_closed_is_made_anew(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    online.publish()
    with redis.Redis.from_url(online.settings.require("redis_url")) as other:
        other.client_kill_filter(_type="normal", skipme=True)
    assert online.value("press-1").status == "PRESENT"
