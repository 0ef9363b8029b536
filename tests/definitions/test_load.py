"""The loader: the shipped repository is sound, and every mistake is told with file, line, field and what to do."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from millwright.definitions import DefinitionErrors, load
from millwright.definitions.durations import format_duration, parse, tile_size

SHIPPED = Path(__file__).parents[2] / "feature_repo"

ENTITY = "entity: machine\njoin_keys: {machine_id: string}\n"
DATASET = """\
dataset: fleet
entity: machine
columns: {timestamp: event_timestamp}
readings:
  temperature: {unit: degC, min: -50, max: 400}
  state: {type: string}
"""
LOG = "dataset: log\nentity: machine\ntarget: events\nkinds: [failure, maintenance]\n"
VIEW = """\
feature_view: vitals
version: 1
entity: machine
ttl: 2h
features:
  - {name: temperature_mean_1h, aggregate: mean, of: temperature, window: 1h}
  - {name: temperature_count_1h, aggregate: count, of: temperature, window: 1h}
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    write(tmp_path, "entities/machine.yaml", ENTITY)
    write(tmp_path, "datasets/fleet.yaml", DATASET)
    write(tmp_path, "datasets/log.yaml", LOG)
    write(tmp_path, "feature_views/vitals_v1.yaml", VIEW)
    return tmp_path


def write(repo: Path, name: str, text: str) -> None:
    path = repo / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mistakes(repo: Path) -> list[str]:
    with pytest.raises(DefinitionErrors) as caught:
        load(repo)
    return [str(error) for error in caught.value.errors]


def test_the_shipped_repository_loads_and_describes_every_feature():
    definitions = load(SHIPPED)
    assert {"machine"} <= definitions.entities.keys()
    assert len(definitions.feature_views) >= 3
    for view in definitions.feature_views.values():
        assert view.description and view.owner
        assert all(feature.description for feature in view.features)


def test_types_and_units_come_from_the_reading(repo: Path):
    definitions = load(repo)
    view = definitions.feature_views["vitals_v1"]
    mean, count = view.features
    assert (definitions.feature_type(view, mean), definitions.feature_unit(view, mean)) == ("double", "degC")
    assert (definitions.feature_type(view, count), definitions.feature_unit(view, count)) == ("int64", "")


def test_prose_is_not_in_the_hash_and_values_are(repo: Path):
    before = load(repo).feature_views["vitals_v1"].content_hash()
    write(repo, "feature_views/vitals_v1.yaml", VIEW + "description: other words\nowner: someone@example.com\n")
    assert load(repo).feature_views["vitals_v1"].content_hash() == before
    write(repo, "feature_views/vitals_v1.yaml", VIEW.replace("window: 1h", "window: 2h"))
    assert load(repo).feature_views["vitals_v1"].content_hash() != before


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("feature_views/vitals_v1.yaml", VIEW.replace("of: temperature, window: 1h}\n  - {name: temperature_c", "of: temprature, window: 1h}\n  - {name: temperature_c"),
         "feature_views/vitals_v1.yaml:6: features.0.of: no dataset of machine has temprature (did you mean temperature?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("of: temperature", "of: state", 1),
         "feature_views/vitals_v1.yaml:6: features.0.of: mean needs a number; state is string"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("entity: machine", "entity: machin"),
         "feature_views/vitals_v1.yaml:3: entity: no entity machin (did you mean machine?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("ttl: 2h", "ttl: soon"), "feature_views/vitals_v1.yaml:4: ttl: 'soon' is not a duration"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("version: 1", "version: 2"), "the file must be named vitals_v2.yaml"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("ttl", "source: {sensor_typ: press}\nttl"), "feature_views/vitals_v1.yaml:4: source.sensor_typ: unknown field (did you mean sensor_type?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("ttl", "every: often\nttl"), "feature_views/vitals_v1.yaml:4: every: 'often' is not a duration"),
        ("feature_views/vitals_v1.yaml", VIEW + "wners: x\n", "feature_views/vitals_v1.yaml:8: wners: unknown field (did you mean owner?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("aggregate: mean", "agregate: mean"), "feature_views/vitals_v1.yaml:6: features.0.agregate: unknown field (did you mean aggregate?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("aggregate: mean", "aggregate: mena"), "got 'mena' (did you mean mean?)"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("window: 1h", "window: 5000d"), "feature_views/vitals_v1.yaml:6: features.0: window must be at most 3660d"),
        ("feature_views/vitals_v1.yaml", VIEW + "  - {name: f, aggregate: count, of: failur, from: events, window: 30d}\n",
         "feature_views/vitals_v1.yaml:8: features.2.of: no dataset of machine has the kind failur (did you mean failure?)"),
        ("feature_views/vitals_v1.yaml", VIEW + "  - {name: f, aggregate: mean, of: failure, from: events, window: 30d}\n",
         "feature_views/vitals_v1.yaml:8: features.2: an event has no value to aggregate: from: events takes count or age, got mean"),
        ("feature_views/vitals_v1.yaml", VIEW + "  - {name: f, aggregate: count, of: failure, from: event, window: 30d}\n",
         "feature_views/vitals_v1.yaml:8: features.2.from: Input should be 'measurements' or 'events', got 'event' (did you mean events?)"),
        ("datasets/log.yaml", LOG.replace("kinds: [", "sources: ["), "datasets/log.yaml:4: sources: unknown field"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("temperature_count_1h", "temperature_mean_1h"), "feature names must be unique: temperature_mean_1h"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("temperature_count_1h", "machine_id"), "this name is taken by a join key"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("temperature_count_1h", "event_timestamp"), "reserved names: event_timestamp"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("window: 1h", "window: 3601s"), "window must be a multiple of its tile size"),
        ("datasets/fleet.yaml", DATASET + "timezone: Europe/Berln\n", "datasets/fleet.yaml:7: timezone: no time zone Europe/Berln (did you mean Europe/Berlin?)"),
        ("datasets/fleet.yaml", DATASET.replace("event_timestamp", "event_time"), "datasets/fleet.yaml:3: columns.timestamp: no field event_time"),
        ("datasets/fleet.yaml", DATASET.replace("  state", "  machine_id"), "datasets/fleet.yaml:6: readings.machine_id: this name is taken"),
        ("entities/machine.yaml", "entity: machine\njoin_keys: {}\n", "entities/machine.yaml:2: join_keys:"),
        ("entities/machine.yaml", "entity: machine\njoin_keys: {machine_id: string, segment: string}\n", "entities/machine.yaml:1: reserved names: segment"),
        ("feature_views/vitals_v1.yaml", VIEW.replace("temperature_count_1h", "t"), "reserved names: t"),
        ("entities/machine.yaml", "entity: [machine\n", "entities/machine.yaml:2: not YAML"),
        ("entities/machine.yaml", "- machine\n", "entities/machine.yaml:1: a definition is a mapping"),
        ("topics/telemetry.yaml", "topic: telemetry\ndataset: flet\n", "topics/telemetry.yaml:2: dataset: no dataset flet (did you mean fleet?)"),
        ("datasets/other.yaml", DATASET.replace("dataset: fleet", "dataset: other").replace("degC", "degF"), "another dataset of machine has temperature as double in degC"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_and_what(repo: Path, name: str, text: str, expected: str):
    write(repo, name, text)
    assert any(expected in mistake for mistake in mistakes(repo)), mistakes(repo)


def test_a_sensor_type_that_no_dataset_lets_in_is_a_mistake(repo: Path):
    write(repo, "feature_views/vitals_v1.yaml", VIEW.replace("ttl", "source: {sensor_type: pres}\nttl"))
    load(repo)
    write(repo, "datasets/fleet.yaml", DATASET + "sensor_types: [press, pump]\n")
    write(
        repo,
        "feature_views/vitals_v1.yaml",
        VIEW.replace("ttl", "source: {sensor_type: pres}\nttl").replace("of: temp", "of: tmp", 1),
    )
    assert mistakes(repo) == [
        "feature_views/vitals_v1.yaml:4: source.sensor_type: no dataset of machine has the sensor type pres (did you mean press?)",
        "feature_views/vitals_v1.yaml:7: features.0.of: no dataset of machine has tmperature (did you mean temperature?)",
    ]


def test_a_kind_of_event_is_any_where_a_dataset_lists_none(repo: Path):
    write(repo, "datasets/log.yaml", LOG.partition("kinds")[0])
    write(
        repo, "feature_views/vitals_v1.yaml", VIEW + "  - {name: f, aggregate: age, of: oil_change, from: events, window: 90d}\n"
    )
    view = (definitions := load(repo)).feature_views["vitals_v1"]
    assert (view.kinds, view.readings, view.relations) == (("oil_change",), ("temperature",), ("measurements", "events"))
    assert (definitions.feature_type(view, view.features[2]), definitions.feature_unit(view, view.features[2])) == ("double", "s")
    (repo / "datasets/log.yaml").unlink()
    assert "no dataset of machine has the target events" in mistakes(repo)[0]


@pytest.mark.parametrize("window", ["1s", "59s", "1m", "15m", "6h", "30d", "90d"])
def test_windows_from_a_second_to_ninety_days_are_taken(repo: Path, window: str):
    write(repo, "feature_views/vitals_v1.yaml", VIEW.replace("1h}", f"{window}}}"))
    assert {feature.window_us for feature in load(repo).feature_views["vitals_v1"].windowed} == {
        int(parse(window).total_seconds()) * 10**6
    }


def test_all_mistakes_are_told_at_once(repo: Path):
    write(repo, "feature_views/vitals_v1.yaml", VIEW.replace("entity: machine", "entity: pump"))
    write(repo, "topics/telemetry.yaml", "topic: telemetry\ndataset: nothing\n")
    assert len(mistakes(repo)) == 2


@pytest.mark.parametrize("text", ["", "1", "0h", "1.5h", "-1h", "1w", "h", "1h30m", " 1h", "١h"])
def test_what_is_not_a_duration_is_refused(text: str):
    with pytest.raises(ValueError, match="not a duration"):
        parse(text)


@pytest.mark.parametrize(
    ("window", "tile"),
    [("1s", 1), ("59s", 1), ("1m", 1), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60), ("6h", 300), ("1d", 900), ("7d", 3600), ("30d", 21600), ("90d", 86400)],
)  # fmt: skip
def test_the_tile_of_a_window_is_the_largest_that_fits_sixty_times(window: str, tile: int):
    assert tile_size(parse(window)) == tile * 1_000_000
    assert parse(window) % timedelta(seconds=tile) == timedelta()
    assert format_duration(parse(window)) == {"60s": "1m"}.get(window, window)
