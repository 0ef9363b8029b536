"""Feast's own SDK on our store: right values, statuses and event times; corrections; nothing of another project is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Float64, String

from millwright.definitions import load
from millwright.online import codec, stores
from millwright.online.publish import publish
from millwright.registry import apply, set_status
from millwright.registry.feast import feature_store
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms

NOW = datetime.now(UTC).replace(microsecond=250_000)
P, N, F, X = FieldStatus.PRESENT, FieldStatus.NULL_VALUE, FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE


@dataclass
class Published:
    settings: Settings
    store: Any
    redis: redis.Redis


@pytest.fixture
def published(tmp_path: Path, database: str, redis_url: str) -> Iterator[Published]:
    """press-1 is fresh, press-2 three hours old (the TTL is two)."""
    settings = platforms.settings(tmp_path, database, redis_url)
    for name in ("pump", "motor"):
        (settings.feature_repo / "feature_views" / f"{name}_vitals_v1.yaml").unlink()
    apply(settings)
    definitions = load(settings.feature_repo)
    view = definitions.feature_views["machine_vitals_v1"]
    with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(redis_url) as client:
        history = platforms.History(conn, definitions, view)
        history.put(["press-1"], NOW, temperature_last=1.5, readings_count_1h=7)
        history.put(["press-2"], NOW - timedelta(hours=3), temperature_last=2.5)
        publish(conn, client, definitions, view, project="millwright")
        yield Published(settings, feature_store(settings), client)


ROWS = [{"machine_id": name} for name in ("press-1", "press-2", "press-9", "press-1")]
FEATURES = ["machine_vitals_v1:temperature_last", "machine_vitals_v1:vibration_mean_1h", "machine_vitals_v1:readings_count_1h"]


def _check(response: Any) -> None:
    assert response.to_dict() == {
        "machine_id": ["press-1", "press-2", "press-9", "press-1"],
        "temperature_last": [1.5, None, None, 1.5],
        "vibration_mean_1h": [None] * 4,
        "readings_count_1h": [7, None, None, 7],
    }
    statuses = {
        name: list(vector.statuses)
        for name, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True)
    }
    assert statuses["temperature_last"] == [P, X, F, P]
    assert statuses["vibration_mean_1h"] == [N, X, F, N]
    stamps = response.proto.results[1].event_timestamps
    assert stamps[0].ToDatetime(UTC) == NOW
    assert stamps[1].ToDatetime(UTC) == NOW - timedelta(hours=3)
    assert (stamps[2].seconds, stamps[2].nanos) == (0, 0)


def test_the_sdk_reads_published_features(published: Published) -> None:
    _check(published.store.get_online_features(features=FEATURES, entity_rows=ROWS))
    _check(asyncio.run(published.store.get_online_features_async(features=FEATURES, entity_rows=ROWS)))
    service = published.store.get_feature_service("machine_vitals")
    whole = published.store.get_online_features(features=service, entity_rows=ROWS, full_feature_names=True).to_dict()
    assert whole["machine_vitals_v1__temperature_last"] == [1.5, None, None, 1.5]


def test_without_honour_ttl_old_values_are_read_as_feast_does(published: Published) -> None:
    online = {"type": "millwright.online.store.RedisOnlineStore"}
    store = feature_store(published.settings, online_store=online)
    response = store.get_online_features(features=FEATURES[:1], entity_rows=ROWS)
    assert response.to_dict()["temperature_last"] == [1.5, 2.5, None, 1.5]
    assert list(response.proto.results[1].statuses) == [P, P, F, P]


def test_feast_materialize_neither_undoes_nor_repeats_a_publish(published: Published) -> None:
    before = {key: published.redis.hgetall(key) for key in published.redis.scan_iter() if b"machine_id" in key}
    published.store.materialize(NOW - timedelta(days=1), NOW + timedelta(minutes=1))
    after = {key: published.redis.hgetall(key) for key in published.redis.scan_iter() if b"machine_id" in key}
    assert after == before


def test_update_keeps_the_data_of_a_served_view(published: Published) -> None:
    view = published.store.get_feature_view("machine_vitals_v1")
    service = published.store.get_feature_service("machine_vitals")
    store = published.store._get_provider().online_store
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILLWRIGHT_PROJECT", str(published.settings.project))
        patch.setenv("MILLWRIGHT_POSTGRES_URL", published.settings.require("postgres_url"))
        store.update(published.store.config, [view], [], [], [], partial=False)
        _check(published.store.get_online_features(features=FEATURES, entity_rows=ROWS))
        patch.setenv("MILLWRIGHT_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1/none")
        store.update(published.store.config, [view], [], [], [], partial=False)
        _check(published.store.get_online_features(features=FEATURES, entity_rows=ROWS))
    assert service.name == "machine_vitals"


def test_retiring_takes_a_view_out_of_feast(published: Published) -> None:
    set_status(published.settings, "machine_vitals_v1", "deprecated")
    assert feature_store(published.settings).list_feature_services() == []
    _check(feature_store(published.settings).get_online_features(features=FEATURES, entity_rows=ROWS))
    set_status(published.settings, "machine_vitals_v1", "retired")
    assert feature_store(published.settings).list_feature_views() == []


def test_sqlite_is_the_light_option(published: Published) -> None:
    online = {"type": "sqlite", "path": str(published.settings.project / "online.db")}
    store = feature_store(published.settings, online_store=online)
    store.apply(store.list_feature_views())
    store.materialize(NOW - timedelta(days=1), NOW + timedelta(minutes=1))
    read = store.get_online_features(features=FEATURES, entity_rows=ROWS[:2]).to_dict()
    assert read["temperature_last"] == [1.5, 2.5]
    assert read["readings_count_1h"] == [7, None]


def plain(folder: Path, redis_url: str, project: str = "prod", **online: Any) -> FeatureStore:
    """A Feast user without Millwright's platform: our store, a file registry, a Parquet source."""
    folder.mkdir(exist_ok=True)
    options = {"type": "millwright.online.store.RedisOnlineStore", "connection_string": redis_url, **online}
    config = RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / f"{project}.db"),
        online_store=options,
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created")
    pd.DataFrame({"machine_id": ["a"], "x": [1.0], "event_timestamp": [NOW], "created": [NOW]}).to_parquet(
        folder / "none.parquet"
    )
    machine = Entity(name="machine", join_keys=["machine_id"], value_type=ValueType.STRING)
    views = [
        FeatureView(
            name=name,
            entities=[machine],
            ttl=timedelta(hours=1),
            source=source,
            schema=[Field(name="machine_id", dtype=String), Field(name="x", dtype=Float64)],
        )
        for name in ("one", "two")
    ]
    store.apply([machine, *views])
    return store


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder with no platform around it."""
    monkeypatch.chdir(tmp_path)
    for name in ("POSTGRES_URL", "POSTGRES_OWNER_URL", "POSTGRES_READER_URL", "PROJECT"):
        monkeypatch.delenv(f"MILLWRIGHT_{name}", raising=False)
    return tmp_path


def _push(store: FeatureStore, value: float, event: datetime, view: str = "one", created: datetime | None = None) -> None:
    frame = pd.DataFrame({"machine_id": ["a"], "x": [value], "event_timestamp": [event]})
    frame["created"] = pd.Series([created], dtype="datetime64[us, UTC]")
    store.write_to_online_store(view, frame)


def _x(store: FeatureStore, view: str = "one") -> Any:
    return store.get_online_features(features=[f"{view}:x"], entity_rows=[{"machine_id": "a"}]).to_dict()["x"][0]


def test_plain_feast_users_get_corrections(alone: Path, redis_url: str) -> None:
    store = plain(alone, redis_url)
    _push(store, 1.0, NOW, created=NOW)
    _push(store, 1.5, NOW, created=NOW + timedelta(seconds=1))
    assert _x(store) == 1.5
    _push(store, 1.0, NOW, created=NOW)
    assert _x(store) == 1.5


def test_feasts_connection_string_and_options(alone: Path, redis_url: str) -> None:
    password, address = redis_url.removeprefix("redis://:").split("@")
    host = address.split("/")[0]
    store = plain(alone, f"{host},db=0,password={password}", key_ttl_seconds=100, redis_type="redis", skip_dedup=True)
    _push(store, 1.0, NOW, created=NOW)
    _push(store, 2.0, NOW - timedelta(hours=5), created=NOW - timedelta(hours=5))
    assert _x(store) == 2.0
    with redis.Redis.from_url(redis_url) as client:
        (key,) = client.scan_iter()
        assert 0 < client.ttl(key) <= 100


def test_deleting_a_view_touches_no_other_view_and_no_other_project(alone: Path, redis_url: str) -> None:
    prod, nonprod = plain(alone, redis_url), plain(alone, redis_url, "nonprod")
    for store in (prod, nonprod):
        _push(store, 1.0, NOW, "one", NOW)
        _push(store, 2.0, NOW, "two", NOW)
    prod.apply([], objects_to_delete=[prod.get_feature_view("one")], partial=False)
    with redis.Redis.from_url(redis_url) as client:
        mine = codec.encode_key("prod", {"machine_id": "string"}, {"machine_id": "a"})
        assert set(client.hkeys(mine)) == {codec.field("two", "x"), b"_ts:two", b"_order:two"}
        prod.teardown()
        assert not client.exists(mine)
    assert (_x(nonprod), _x(nonprod, "two")) == (1.0, 2.0)


def test_the_store_forgets_what_was_published_when_its_data_goes(published: Published) -> None:
    store = published.store._get_provider().online_store
    store.teardown(published.store.config, [published.store.get_feature_view("machine_vitals_v1")], [])
    assert published.redis.hget(stores.state_key("millwright"), "machine_vitals_v1") is None
    assert not [key for key in published.redis.scan_iter() if b"machine_id" in key]
