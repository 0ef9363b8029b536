"""Entities with several join keys: each combination of values is one entity, whatever the values look like side by side."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright import flow
from millwright.compare import compare_online
from millwright.landing.receive import Delivery, receive
from millwright.online.read import read_online
from millwright.platform import open_platform
from millwright.registry import apply
from tests import platforms
from tests.budget import examples
from tests.features.agreement import agree
from tests.features.oracle import Event, Label, Wanted
from tests.features.plant import BASE, Plant, all_days

SECOND = 1_000_000
FEATURES = [
    Wanted("count", "count", "a", 3600 * SECOND),
    Wanted("mean", "mean", "a", 6 * 3600 * SECOND),
    Wanted("last", "last", "b", 86400 * SECOND),
    Wanted("failures", "count", "failure", 86400 * SECOND, "events"),
]
# In the order of the sorted names (component, machine_id). They collide when written one after the other, or cut at a mark.
KEYS = [("1", "12"), ("11", "2"), ("112", "0"), ("1,1", "2"), ("", "112"), ("1|1", "2"), ("é", "-9223372036854775808")]


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES, join_keys={"machine_id": "int64", "component": "string"}, refresh_rows_per_chunk=400)
    yield made
    made.close()


@pytest.mark.property
@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    times=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 20)), min_size=1, max_size=25, unique=True),
    told=st.lists(st.tuples(st.sampled_from(KEYS), st.integers(0, 20)), max_size=6, unique=True),
    data=st.data(),
)
def test_i5_several_join_keys_as_the_oracle_has_them(
    plant: Plant, times: list[tuple[tuple[str, ...], int]], told: list[tuple[tuple[str, ...], int]], data: st.DataObject
):
    plant.reset()
    events = [Event(key, "pump", BASE + n * 600 * SECOND, (("a", float(n)), ("b", float(len(key[0]))))) for key, n in times]
    labels = [Label(key, "failure", BASE + n * 600 * SECOND) for key, n in told]
    half = data.draw(st.integers(0, len(events) - 1))
    plant.deliver(events[half:])
    plant.refresh()
    plant.deliver([*events[:half], *labels] or events)
    plant.refresh()
    agree(plant, [*events, *labels])
    plant.deliver([], gone=[events[0]])
    plant.refresh()
    agree(plant, [*events[1:], *labels])
    again = plant.refresh(days=all_days())
    assert (again.inserted, again.superseded) == (0, 0)


ENTITY = "entity: part\njoin_keys: {machine_id: int64, component: string}\n"
DATASET = "dataset: parts\nentity: part\ncolumns: {timestamp: event_timestamp}\nreadings: {wear: {type: double, unit: mm}}\n"
VIEW = """\
feature_view: part_wear
version: 1
entity: part
ttl: 2h
features:
  - {name: wear_last, aggregate: last, of: wear, window: 1h}
  - {name: wear_count_1h, aggregate: count, of: wear, window: 1h}
"""


def test_several_join_keys_go_all_the_way_to_redis(tmp_path: Path, database: str, redis_url: str):
    config = platforms.settings(tmp_path, database, redis_url, feast=False)
    for name, text in (("entities/part", ENTITY), ("datasets/parts", DATASET), ("feature_views/part_wear_v1", VIEW)):
        (config.feature_repo / f"{name}.yaml").write_text(text)
    apply(config, by="test")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    path = tmp_path / "parts.csv"
    keys = [(12, "1"), (2, "11"), (2**63 - 1, "é")]
    lines = [f"{(at + timedelta(minutes=n)).isoformat()},{machine},pump,{part},{n + 1}" for n, (machine, part) in enumerate(keys)]
    path.write_text("\n".join(["timestamp,machine_id,sensor_type,component,wear", *lines, ""]))
    with open_platform(config) as platform:
        received = receive(
            platform.conn, config, platform.definitions, path,
            dataset="parts", file_name=path.name, delivery=Delivery(), channel="upload", by="test",
        )  # fmt: skip
        steps = list(flow.run(platform, batches=[received.batch_id]))
        assert not [step for step in steps if isinstance(step, flow.Failed)]
        view = platform.definitions.feature_views["part_wear_v1"]
        wanted = [{"machine_id": machine, "component": part} for machine, part in [*keys, (1, "12")]]
        answer = read_online(
            platform.conn, platform.redis, platform.definitions, view, wanted, project="millwright", now=at + timedelta(minutes=9)
        )
        assert [[one.value for one in row.features.values()] for row in answer.rows] == [
            [1.0, 1],
            [2.0, 1],
            [3.0, 1],
            [None, None],
        ]
        same = compare_online(platform.conn, platform.redis, platform.definitions, view, project="millwright")
        assert same.same and same.entities == 3
