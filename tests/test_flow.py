"""The whole way through flow.run, on real Postgres and Redis: land → refresh → publish, again, corrected, failing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from millwright import flow
from millwright.compare import compare_online
from millwright.features.refresh import RefreshReport
from millwright.landing.batches import Receipt
from millwright.landing.receive import Delivery, receive
from millwright.landing.undo import undo
from millwright.online.publish import PublishReport
from millwright.online.read import read_online
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from tests import platforms

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def platform(tmp_path: Path, database: str, redis_url: str) -> Iterator[Platform]:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings, by="test")
    with open_platform(settings) as opened:
        yield opened


def file(folder: Path, name: str, temperatures: list[float], start: datetime = DAY) -> Path:
    path = folder / name
    rows = [f"{(start + timedelta(minutes=n)).isoformat()},press-01,press,{value}" for n, value in enumerate(temperatures)]
    path.write_text("\n".join(["timestamp,machine_id,sensor_type,temperature", *rows, ""]))
    return path


def deliver(platform: Platform, path: Path, **options: bool) -> list[flow.Step]:
    received = receive(
        platform.conn, platform.settings, platform.definitions, path,
        dataset="fleet", file_name=path.name, delivery=Delivery(**options), channel="upload", by="test",
    )  # fmt: skip
    return list(flow.run(platform, batches=[received.batch_id]))


def only(steps: list[flow.Step], kind: type) -> list:
    return [step for step in steps if isinstance(step, kind)]


def same(platform: Platform) -> bool:
    view = platform.definitions.feature_views["machine_vitals_v1"]
    return compare_online(platform.conn, platform.redis, platform.definitions, view, project="millwright").same


def test_a_file_goes_all_the_way_in_order(platform: Platform, tmp_path: Path):
    steps = deliver(platform, file(tmp_path, "a.csv", [20.0 + n for n in range(60)]))
    kinds = [type(step) for step in steps if not isinstance(step, flow.Checked)]
    assert kinds == [Receipt, RefreshReport, PublishReport]
    (landed,), (refreshed,), (published,) = only(steps, Receipt), only(steps, RefreshReport), only(steps, PublishReport)
    assert (landed.state, landed.loaded, refreshed.inserted, published.written) == ("landed", 60, 60, 1)
    assert landed.days.keys() == refreshed.days.keys() == published.days.keys() == {DAY.date()}
    assert same(platform)
    assert all(result.passed for step in only(steps, flow.Checked) for result in step.results if result.blocking)


def test_i2_the_same_file_again_does_nothing(platform: Platform, tmp_path: Path):
    path = file(tmp_path, "a.csv", [20.0, 21.0])
    deliver(platform, path)
    steps = deliver(platform, path)
    assert only(steps, RefreshReport) == only(steps, PublishReport) == only(steps, flow.Failed) == []


def test_i4_a_correction_reaches_redis(platform: Platform, tmp_path: Path):
    deliver(platform, file(tmp_path, "a.csv", [20.0, 21.0]))
    steps = deliver(platform, file(tmp_path, "b.csv", [20.0, 31.0]), correction=True)
    (landed,), (published,) = only(steps, Receipt), only(steps, PublishReport)
    assert (landed.corrected, landed.duplicate, published.written) == (1, 1, 1)
    assert same(platform)


def test_a_run_killed_after_the_landing_is_made_good_by_the_next(platform: Platform, tmp_path: Path):
    received = receive(
        platform.conn, platform.settings, platform.definitions, file(tmp_path, "a.csv", [20.0]),
        dataset="fleet", file_name="a.csv", delivery=Delivery(), channel="upload", by="test",
    )  # fmt: skip
    steps = flow.run(platform, batches=[received.batch_id])
    assert isinstance(next(steps), Receipt)
    steps.close()
    kinds = [type(step) for step in flow.run(platform)]
    assert kinds == [RefreshReport, flow.Checked, PublishReport, flow.Checked]
    assert same(platform)


def test_an_emptied_redis_is_filled_by_the_next_run(platform: Platform, tmp_path: Path):
    deliver(platform, file(tmp_path, "a.csv", [20.0]))
    redis.Redis.flushall(platform.redis)
    assert not same(platform)
    (published,) = only(list(flow.run(platform)), PublishReport)
    assert published.written == 1
    assert same(platform)


def test_i7_one_views_failure_is_said_and_not_published(platform: Platform, tmp_path: Path):
    deliver(platform, file(tmp_path, "a.csv", [20.0]))
    view = platform.definitions.feature_views["machine_vitals_v1"]
    changed = view.model_copy(update={"features": view.features[:2]})
    broken = platform.definitions.model_copy(update={"feature_views": {view.id: changed}})
    other = Platform(platform.settings, broken, platform.conn, platform.redis)
    steps = deliver(other, file(tmp_path, "b.csv", [22.0], DAY + timedelta(hours=1)))
    (failed,) = only(steps, flow.Failed)
    assert (failed.step, failed.view_id) == ("refresh", view.id) and "millwright apply" in failed.error
    assert only(steps, PublishReport) == []


def test_rebuild_of_a_day_changes_nothing_where_nothing_changed(platform: Platform, tmp_path: Path):
    deliver(platform, file(tmp_path, "a.csv", [20.0, 21.0]))
    steps = list(flow.rebuild(platform, ["machine_vitals_v1"], (DAY.date(), DAY.date()), features=True, online=True))
    (refreshed,), (published,) = only(steps, RefreshReport), only(steps, PublishReport)
    assert (refreshed.computed, refreshed.inserted, refreshed.unchanged) == (2, 0, 2)
    assert published.entities == 1 and same(platform)


def served(platform: Platform) -> list[tuple]:
    """(value, status) of press-01's features, an hour after midnight."""
    view = platform.definitions.feature_views["machine_vitals_v1"]
    answer = read_online(
        platform.conn, platform.redis, platform.definitions, view, [{"machine_id": "press-01"}],
        project="millwright", now=DAY + timedelta(hours=1),
    )  # fmt: skip
    return [(feature.value, feature.status) for feature in answer.rows[0].features.values()]


def values(platform: Platform) -> list[tuple]:
    return platform.conn.execute(
        "select machine_id, event_timestamp, temperature_last, temperature_mean_1h, readings_count_1h from features.machine_vitals_v1 "
        "order by 1, 2"
    ).fetchall()


def test_i4_an_undo_travels_to_features_and_redis(platform: Platform, tmp_path: Path):
    """A correction and later rows are taken out: features and Redis are what they were; undone whole, nothing is served."""
    deliver(platform, file(tmp_path, "a.csv", [20.0, 21.0]))
    before, answered = values(platform), served(platform)
    (landed,) = only(deliver(platform, file(tmp_path, "b.csv", [20.0, 31.0, 40.0]), correction=True), Receipt)
    assert served(platform) != answered
    undo(platform.conn, landed.batch_id, by="test")
    steps = list(flow.run(platform))
    (refreshed,) = only(steps, RefreshReport)
    assert (refreshed.superseded, refreshed.retracted) == (2, 1)
    assert (values(platform), served(platform)) == (before, answered)
    assert same(platform)
    known = "select count(*) from features.machine_vitals_v1 where known_timestamp > %s"
    assert platform.conn.execute(known, [landed.created_timestamp]).fetchone() == (1,)
    undo(platform.conn, landed.batch_id - 1, by="test")
    list(flow.run(platform))
    assert values(platform) == []
    assert set(served(platform)) == {(None, "NOT_FOUND")}
    assert same(platform)
    assert only(list(flow.run(platform)), RefreshReport) == []
