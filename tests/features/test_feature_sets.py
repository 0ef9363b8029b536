"""Views over uploaded feature sets: each uploaded row is a feature row, with versions, history and Redis as any view has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millwright import flow
from millwright.compare import compare_online
from millwright.definitions import DefinitionErrors, load
from millwright.features.preview import preview
from millwright.features.refresh import RefreshReport
from millwright.features.windows import compile_view
from millwright.landing.batches import Receipt
from millwright.landing.receive import Delivery, receive
from millwright.landing.undo import undo
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from tests import platforms

AT = datetime(2026, 3, 1, tzinfo=UTC)
SCORES = """
dataset: scores
entity: machine
target: feature_set
columns: {timestamp: event_timestamp}
features:
  wear: {type: double, unit: mm, min: 0, description: Wear as the laboratory measured it.}
  grade: {type: string, description: Its grade.}
  bolts_right: {type: int64, description: Bolts on the right.}
  tight: {type: bool, description: Whether they are tight.}
"""
WEAR = "feature_view: wear\nversion: 1\nentity: machine\nsource: {feature_set: scores}\nttl: 2h\n"
DAILY = "feature_view: wear_daily\nversion: 1\nentity: machine\nsource: {feature_set: scores}\nttl: 2d\nevery: 1d\nfeatures: [{name: worn, of: wear}]\n"


@pytest.fixture
def platform(tmp_path: Path, database: str, redis_url: str) -> Iterator[Platform]:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    for name, text in (("datasets/scores", SCORES), ("feature_views/wear_v1", WEAR), ("feature_views/wear_daily_v1", DAILY)):
        (settings.feature_repo / f"{name}.yaml").write_text(text)
    apply(settings, by="test")
    with open_platform(settings) as opened:
        yield opened


def deliver(platform: Platform, folder: Path, name: str, *lines: str, **options: Any) -> list[flow.Step]:
    path = folder / name
    path.write_text("\n".join(["timestamp,machine_id,wear,grade,bolts_right,tight", *lines, ""]))
    received = receive(
        platform.conn, platform.settings, platform.definitions, path,
        dataset="scores", file_name=name, delivery=Delivery(**options), channel="upload", by="test",
    )  # fmt: skip
    steps = list(flow.run(platform, batches=[received.batch_id]))
    assert not [step for step in steps if isinstance(step, flow.Failed)], steps
    return steps


def rows(platform: Platform, what: str = "machine_id, event_timestamp, wear, grade, bolts_right, tight") -> list[tuple[Any, ...]]:
    return platform.conn.execute(f"select {what} from features.wear_v1 order by 1, 2").fetchall()


def test_an_uploaded_row_is_a_feature_row_with_its_versions(platform: Platform, tmp_path: Path):
    noon = AT + timedelta(hours=12)
    steps = deliver(platform, tmp_path, "a.csv", f"{AT.isoformat()},m1,0.5,a,4,true", f"{noon.isoformat()},m1,,b,,")
    assert rows(platform) == [("m1", AT, 0.5, "a", 4, True), ("m1", noon, None, "b", None, None)]
    view = platform.definitions.feature_views["wear_v1"]
    assert compare_online(platform.conn, platform.redis, platform.definitions, view, project="millwright").same
    (landed,) = [step for step in steps if isinstance(step, Receipt)]
    assert rows(platform, "event_timestamp, known_timestamp") == [
        (AT, landed.created_timestamp),
        (noon, landed.created_timestamp),
    ]

    steps = deliver(platform, tmp_path, "b.csv", f"{AT.isoformat()},m1,0.7,a,4,true", correction=True)
    (refreshed,) = [step for step in steps if isinstance(step, RefreshReport) and step.view_id == "wear_v1"]
    assert (refreshed.inserted, refreshed.superseded, refreshed.computed) == (1, 1, 1)  # no other row is touched
    history = "select wear, superseded_timestamp = 'infinity' from features.wear_v1_history where event_timestamp = %s order by 1"
    assert platform.conn.execute(history, [AT]).fetchall() == [(0.5, False), (0.7, True)]

    undo(platform.conn, platform.conn.execute("select max(batch_id) from landing.batches").fetchone()[0], by="test")
    list(flow.run(platform))
    assert rows(platform)[0] == ("m1", AT, 0.5, "a", 4, True)
    assert compare_online(platform.conn, platform.redis, platform.definitions, view, project="millwright").same
    assert not platform.conn.execute("select from features.wear_v1_tiles").fetchall()

    script = compile_view(platform.definitions, view)["duckdb"]
    seen = preview(platform.conn, platform.settings, platform.definitions, view, script=script, last=timedelta(days=1), keys={})
    assert [(row["event_timestamp"], row["wear"], row["grade"]) for row in seen.newest] == [(noon, None, "b"), (AT, 0.5, "a")]


def test_a_feature_set_by_the_day_and_its_backfill(platform: Platform, tmp_path: Path):
    times = [AT, AT + timedelta(hours=9), AT + timedelta(days=3)]
    deliver(platform, tmp_path, "a.csv", *(f"{t.isoformat()},m1,{n},a,1,false" for n, t in enumerate(times)))
    kept = "select event_timestamp, worn from features.wear_daily_v1"
    assert platform.conn.execute(kept).fetchall() == [(times[1], 1.0)]
    daily = platform.definitions.feature_views["wear_daily_v1"]
    online = compare_online(platform.conn, platform.redis, platform.definitions, daily, project="millwright")
    assert online.same and online.entities == 1  # Redis has the kept row too, not the newest
    steps = list(flow.rebuild(platform, ["wear_v1", "wear_daily_v1"], (AT.date(), AT.date()), features=True, online=False))
    assert [(step.inserted, step.unchanged) for step in steps if isinstance(step, RefreshReport)] == [(0, 2), (0, 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (WEAR, "datasets/scores.yaml:10: features.t: this name is taken by a key or a clock"),
        (WEAR.replace("scores", "score"), "feature_views/wear_v1.yaml:4: source.feature_set: no dataset of machine with the target feature_set is score (did you mean scores?)"),
        (WEAR.replace("scores", "fleet"), "with the target feature_set is fleet"),
        (WEAR.replace("scores", "scores, sensor_type: press"), "source: a view's rows are measurements of a sensor type or a feature set, not both"),
        (WEAR + "features: [{name: waer}]\n", "feature_views/wear_v1.yaml:6: features.0.name: the feature set scores has no column waer (did you mean wear?)"),
        (WEAR + "features: [{name: x, of: grad}]\n", "features.0.of: the feature set scores has no column grad (did you mean grade?)"),
        (WEAR + "features: [{name: x, of: wear, aggregate: mean, window: 1h}]\n", "features.0: a feature set's rows have no windows"),
        (WEAR + "features: [{name: x, of: wear, aggregate: mean}]\n", "features.0: an aggregate over a window needs window too"),
        (WEAR + "features: [{name: machine_id, of: wear}]\n", "features.0.name: this name is taken by a join key"),
        (WEAR.replace("source: {feature_set: scores}\n", ""), "features: a view needs features"),
        (WEAR.replace("source: {feature_set: scores}\n", "") + "features: [{name: x}]\n", "features.0: a feature of measurements needs aggregate, of and window"),
    ],
)  # fmt: skip
def test_what_a_view_of_a_feature_set_may_not_say(tmp_path: Path, text: str, expected: str):
    repo = tmp_path / "repo"
    for folder in ("entities", "datasets", "feature_views"):
        (repo / folder).mkdir(parents=True)
    for name in ("entities/machine.yaml", "datasets/fleet.yaml"):
        (repo / name).write_text((platforms.REPOSITORY / name).read_text())
    (repo / "datasets/scores.yaml").write_text(SCORES.replace("  tight:", "  t:") if text == WEAR else SCORES)
    (repo / "feature_views/wear_v1.yaml").write_text(text)
    with pytest.raises(DefinitionErrors) as caught:
        load(repo)
    assert expected in str(caught.value)


def test_all_columns_are_the_features_where_none_is_named(platform: Platform):
    definitions = platform.definitions
    view = definitions.feature_views["wear_v1"]
    assert [(f.name, definitions.feature_type(view, f), definitions.feature_unit(view, f)) for f in view.features] == [
        ("wear", "double", "mm"), ("grade", "string", ""), ("bolts_right", "int64", ""), ("tight", "bool", ""),
    ]  # fmt: skip
    assert view.features[0].description == "Wear as the laboratory measured it."
