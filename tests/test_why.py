"""Why a value is what it is, from the answer back to the bytes that were delivered, through deliveries of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from millwright import flow
from millwright.cli import main
from millwright.landing import quarantine
from millwright.landing.export import export
from millwright.landing.receive import Delivery, receive
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from millwright.why import NothingToExplain, Why, why
from tests import platforms

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HEADER = "timestamp,machine_id,sensor_type,temperature,vibration\n"


@pytest.fixture
def platform(tmp_path: Path, database: str, redis_url: str) -> Iterator[Platform]:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings, by="test")
    with open_platform(settings) as opened:
        yield opened


def deliver(platform: Platform, lines: str, name: str, dataset: str = "fleet", **options: Any) -> int:
    received = receive(
        platform.conn, platform.settings, platform.definitions, BytesIO(lines.encode()),
        dataset=dataset, file_name=name, delivery=Delivery(**options), channel="upload", by="somebody",
    )  # fmt: skip
    steps = list(flow.run(platform, batches=[received.batch_id]))
    assert not [step for step in steps if isinstance(step, flow.Failed)]
    assert received.batch_id is not None
    return received.batch_id


def ask(
    platform: Platform, feature: str, *, view: str = "machine_vitals_v1", at: datetime | None = None, machine: str = "press-01"
) -> Why:
    found = platform.definitions.feature_views[view]
    entity = {"machine_id": machine}
    return why(platform.conn, platform.redis, platform.settings, platform.definitions, found, feature, entity, at=at)


def line(minute: int, *values: str) -> str:
    return f"{(DAY + timedelta(minutes=minute)).isoformat()},press-01,press,{','.join(values)}\n"


def test_a_value_is_told_down_to_the_lines_of_its_files(platform: Platform) -> None:
    first = deliver(platform, HEADER + line(0, "10", "1") + line(30, "20", "") + line(61, "30", "x"), "one.csv")
    second = deliver(platform, HEADER + line(61, "30", "") + line(62, "", "2"), "two.csv")
    third = deliver(platform, HEADER + line(30, "24", ""), "mended.csv", correction=True)
    told = ask(platform, "temperature_mean_1h")
    assert told.event_timestamp == DAY + timedelta(minutes=62)
    assert told.window_begin == DAY + timedelta(minutes=2)
    assert (told.value, told.recomputed, told.agrees, told.rows, told.without) == (27.0, 27.0, True, 2, 1)
    assert told.online is not None and (told.online.value, told.online.event_timestamp) == (None, told.event_timestamp)
    assert told.online.status == "OUTSIDE_MAX_AGE"
    assert [(one.batch_id, one.position, one.value, one.line) for one in told.origins] == [
        (second, 2, 30, line(61, "30", "").strip()),
        (third, 2, 24, line(30, "24", "").strip()),
    ]
    assert [(one.batch_id, one.position, one.value, one.replaced_by, one.line) for one in told.replaced] == [
        (first, 3, 20, third, line(30, "20", "").strip())
    ]
    assert [(one.batch_id, one.rows, one.name, one.by, one.quarantined) for one in told.deliveries] == [
        (second, 1, "two.csv", "somebody", 0),
        (third, 1, "mended.csv", "somebody", 0),
    ]
    before = ask(platform, "temperature_mean_1h", at=DAY + timedelta(minutes=59))
    assert (before.event_timestamp, before.value, before.online) == (DAY + timedelta(minutes=30), 17.0, None)
    assert {one.quarantined for one in before.deliveries if one.batch_id == first} == {1}


def test_a_value_that_another_delivery_brought_to_a_row_is_told_of_that_delivery(platform: Platform) -> None:
    deliver(platform, HEADER + line(0, "10", ""), "one.csv")
    second = deliver(platform, HEADER + line(0, "", "3"), "two.csv")
    told = ask(platform, "vibration_max_15m")
    assert [(one.batch_id, one.line) for one in told.origins] == [(second, line(0, "", "3").strip())]


def test_a_repaired_line_is_told_as_it_was_repaired(platform: Platform, tmp_path: Path) -> None:
    batch = deliver(platform, HEADER + line(0, "1O", "1"), "one.csv")
    out = tmp_path / "errors.csv"
    with out.open("w", encoding="utf-8", newline="") as file:
        export(platform.conn, batch, file)
    assert quarantine.quarantined(platform.conn, batch).open == 1
    repair = deliver(platform, out.read_text().replace("1O", "10"), "errors.csv", repairs=batch)
    (one,) = ask(platform, "temperature_last").origins
    assert (one.batch_id, one.position, one.value) == (repair, 2, 10)
    assert one.line is not None and one.line.endswith("press-01,press,10,1")


def test_lines_that_are_gone_or_sensitive_are_told_so(platform: Platform) -> None:
    deliver(platform, HEADER + line(0, "10", "1"), "one.csv")
    fleet = platform.definitions.datasets["fleet"].model_copy(update={"sensitive": ["vibration"]})
    hidden = platform.definitions.model_copy(update={"datasets": {"fleet": fleet}})
    view = hidden.feature_views["machine_vitals_v1"]
    told = why(platform.conn, None, platform.settings, hidden, view, "temperature_last", {"machine_id": "press-01"})
    assert told.origins[0].line is None
    assert told.origins[0].lost == "the dataset fleet has sensitive fields: its lines are not shown"
    for kept in platform.settings.zone.rglob("*"):
        if kept.is_file():
            kept.unlink()
    told = ask(platform, "temperature_last")
    assert (told.value, told.agrees, told.origins[0].line) == (10.0, True, None)
    assert "The landing zone has lost" in str(told.origins[0].lost)


OTHERS = {
    "datasets/log.yaml": "dataset: log\ntarget: events\nentity: machine\ncolumns: {timestamp: event_timestamp}\nkinds: [failure]\n",
    "datasets/wear.yaml": "dataset: wear\ntarget: feature_set\nentity: machine\nfeatures:\n  depth: {type: double}\n",
    "feature_views/failing_v1.yaml": "feature_view: failing\nversion: 1\nentity: machine\nttl: 2h\nfeatures:\n"
    "- {name: failures_30d, aggregate: count, of: failure, from: events, window: 30d}\n"
    "- {name: heat, aggregate: mean, of: temperature, window: 1h}\n- {name: risk, expression: heat * failures_30d}\n"
    "- {name: twice, expression: risk * 2}\n",
    "feature_views/worn_v1.yaml": "feature_view: worn\nversion: 1\nentity: machine\nsource: {feature_set: wear}\nttl: 2h\n",
}


def test_events_and_uploaded_features_are_told_too(tmp_path: Path, database: str, redis_url: str) -> None:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    for name, text in OTHERS.items():
        (settings.feature_repo / name).write_text(text)
    apply(settings, by="test")
    with open_platform(settings) as platform:
        deliver(platform, HEADER + line(0, "10", "1"), "one.csv")
        moment = (DAY - timedelta(days=3)).isoformat()
        log = deliver(platform, f"timestamp,machine_id,kind\n{moment},press-01,failure\n", "log.csv", dataset="log")
        worn = deliver(platform, f"event_timestamp,machine_id,depth\n{moment},press-01,0.5\n", "wear.csv", dataset="wear")
        told = ask(platform, "failures_30d", view="failing_v1")
        assert (told.value, told.recomputed, told.rows, told.definition) == (1, 1, 1, "count of failure from events over 30d")
        assert [(one.batch_id, one.value, one.line) for one in told.origins] == [(log, True, f"{moment},press-01,failure")]
        told = ask(platform, "twice", view="failing_v1")
        assert (told.value, told.recomputed, told.agrees, told.definition) == (20.0, 20.0, True, "risk * 2")
        assert told.made_of == {"failures_30d": 1, "heat": 10.0, "risk": 10.0}
        told = ask(platform, "depth", view="worn_v1")
        assert (told.value, told.recomputed, told.agrees, told.definition) == (0.5, 0.5, True, "depth, as it was uploaded")
        assert [(one.batch_id, one.line) for one in told.origins] == [(worn, f"{moment},press-01,0.5")]


@pytest.mark.parametrize(
    ("feature", "machine", "told"),
    [
        ("temperature_mean_2h", "press-01", "did you mean temperature_mean_1"),
        ("temperature_last", "press-99", "no row of machine_id=press-99"),
    ],
)
def test_what_is_not_there_is_told(platform: Platform, feature: str, machine: str, told: str) -> None:
    with pytest.raises(NothingToExplain, match=told):
        ask(platform, feature, machine=machine)


def test_the_command_tells_it_to_a_person(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(platform, HEADER + line(0, "10", "1") + line(30, "20", ""), "one.csv")
    deliver(platform, HEADER + line(0, "12", "1"), "mended.csv", correction=True)
    monkeypatch.chdir(platform.settings.project)
    for name in ("postgres_url", "redis_url"):
        monkeypatch.setenv(f"MILLWRIGHT_{name.upper()}", platform.settings.require(name))
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        main(["why", "machine_vitals:temperature_mean_1h", "machine_id=press-01"])
    told = " ".join(capsys.readouterr().out.split())
    assert not ended.value.code
    for part in (
        "machine_vitals_v1:temperature_mean_1h of machine_id=press-01: 16.0, mean of temperature over 1h.",
        "2 rows with a value from 2026-02-28 23:30:00 on give 16.0: the same.",
        "2026-03-01T00:00:00+00:00,press-01,press,12,1",
        "Left out, because corrections replaced them",
        "mended.csv",
    ):
        assert part in told
    with pytest.raises(SystemExit) as ended:
        main(["why", "machine_vitals:temperature_mean_1h", "machine_id=press-01", "--at", "2026-03-01T12:00:00"])
    assert (ended.value.code, "has no zone" in capsys.readouterr().err) == (2, True)
