"""Feast's own clients against the API: its remote online store, and what only Feast can compute, its on-demand views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import redis
from feast import FeatureService, FeatureStore, Field, RepoConfig, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64

from millwright.definitions import load
from millwright.online.publish import publish
from millwright.registry import apply
from millwright.registry.feast import feature_store
from millwright.serving import keys
from millwright.warehouse.connect import connect
from tests import platforms
from tests.serving.server import uvicorn

NOW = datetime.now(UTC).replace(microsecond=250_000)
VIEW = "machine_vitals_v1"
MACHINES = ["press-1", "press-2", "press-9"]


@dataclass
class Served:
    client: httpx.Client
    store: FeatureStore  # what a Feast user has: the platform's registry, features by HTTP
    key: str

    def post(self, **body: Any) -> Any:
        answer = self.client.post("/get-online-features", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def served(tmp_path: Path, database: str, redis_url: str) -> Iterator[Served]:
    """press-1 is fresh, press-2 too old, press-9 unknown. An on-demand view and a service were registered by Feast alone."""
    settings = platforms.settings(tmp_path, database, redis_url)
    apply(settings)
    definitions = load(settings.feature_repo)
    view = definitions.feature_views[VIEW]
    with connect(settings.require("postgres_url"), autocommit=True) as conn, redis.Redis.from_url(redis_url) as client:
        history = platforms.History(conn, definitions, view)
        history.put(["press-1"], NOW, temperature_last=1.5, readings_count_1h=7)
        history.put(["press-2"], NOW - timedelta(hours=3), temperature_last=2.5)
        publish(conn, client, definitions, view, project="millwright")
        key = keys.create_key(conn, name="test", scopes=["read"]).key
    platform = feature_store(settings)
    source = platform.get_feature_view(VIEW)
    offset = RequestSource(name="offset", schema=[Field(name="by", dtype=Float64)])

    @on_demand_feature_view(sources=[source, offset], schema=[Field(name="moved", dtype=Float64)])
    def moved_temperature(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"moved": inputs["temperature_last"] + inputs["by"]})

    platform.apply(
        [offset, moved_temperature, FeatureService(name="mine", features=[source[["temperature_last"]], moved_temperature])]
    )
    with uvicorn(settings) as url, httpx.Client(base_url=url, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        config = RepoConfig(
            project="millwright",
            provider="local",
            registry=platform.config.registry,
            online_store={"type": "remote", "path": url},
            auth={"type": "oidc", "token": key},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
        yield Served(client, FeatureStore(config=config), key)


def test_feasts_client_and_what_only_feast_computes(served: Served) -> None:
    """Lists and services, short and full names, statuses and event times; on-demand views alone, mixed, and in a service."""
    rows = [{"machine_id": name} for name in MACHINES]
    features = [f"{VIEW}:temperature_last", f"{VIEW}:readings_count_1h"]
    read = served.store.get_online_features(features=features, entity_rows=rows)
    assert read.to_dict()["temperature_last"] == [1.5, None, None]
    places = list(read.proto.metadata.feature_names.val)
    statuses = read.proto.results[places.index("temperature_last")].statuses
    assert [int(status) for status in statuses] == [1, 4, 3]  # PRESENT, OUTSIDE_MAX_AGE, NOT_FOUND
    full = served.store.get_online_features(features=features, entity_rows=rows, full_feature_names=True).to_dict()
    assert full[f"{VIEW}__readings_count_1h"] == [7, None, None]
    service = served.store.get_online_features(served.store.get_feature_service("machine_vitals"), rows).to_dict()
    assert service["temperature_last"] == [1.5, None, None] and len(service) == 12

    moved = [{"machine_id": "press-1", "by": 10.0}]
    mixed = served.store.get_online_features([features[0], "moved_temperature:moved"], moved).to_dict()
    assert (mixed["temperature_last"], mixed["moved"]) == ([1.5], [11.5])
    alone = served.store.get_online_features(["moved_temperature:moved"], moved, full_feature_names=True).to_dict()
    assert alone["moved_temperature__moved"] == [11.5]
    mine = served.store.get_online_features(served.store.get_feature_service("mine"), moved).to_dict()
    assert (mine["temperature_last"], mine["moved"]) == ([1.5], [11.5])

    body = served.post(features=[features[0]], entities={"machine_id": MACHINES}, include_feature_view_version_metadata=True)
    assert body["metadata"]["feature_view_metadata"] == [{"name": VIEW, "version": 1}]
    stamps = [datetime.fromisoformat(stamp) for stamp in body["results"][1]["event_timestamps"]]
    assert stamps == [NOW, NOW - timedelta(hours=3), datetime(1970, 1, 1, tzinfo=UTC)]
    without = served.client.post(
        "/get-online-features", json={"features": ["moved_temperature:moved"], "entities": {"machine_id": ["press-1"]}}
    )
    assert (without.status_code, without.json()["error"]) == (422, "not_computed")
