"""The refresh step on real Postgres and Redis: what it marks, what it checks, what makes it fail (I7)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from millwright.definitions import load
from millwright.registry import apply
from platform_assets.definitions import build_definitions
from sensors.planner import planner
from tests.dagster.conftest import HEADER, NOON, Place, events, failure, marked, rows

DAY = NOON.date()
NEXT = DAY + timedelta(days=1)
VIEW = "machine_vitals_v1"
MEASUREMENTS, FEATURES, ONLINE = ("warehouse", "measurements"), ("features", VIEW), ("online", VIEW)


def metadata(result: dg.ExecuteInProcessResult, asset: str, day: date) -> dict[str, object]:
    for event in events(result, "ASSET_MATERIALIZATION"):
        if event.asset_key and event.asset_key.to_user_string() == asset and event.partition == day.isoformat():
            return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}
    raise AssertionError(f"{asset} {day} was not marked")


def table(value: Any) -> list[dict[str, Any]]:
    return [dict(record.data) for record in value.records]


def observation(event: dg.DagsterEvent) -> dg.AssetObservation:
    return event.asset_observation_data.asset_observation


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    found = (event.asset_check_evaluation_data for event in events(result, "ASSET_CHECK_EVALUATION"))
    return {f"{one.asset_key.to_user_string()} {one.check_name}": one for one in found}


def land(place: Place, *lines: str, name: str = "a.csv") -> dg.ExecuteInProcessResult:
    place.drop(name, *lines)
    return place.run(place.tick().run_requests[0])


def select(*keys: tuple[str, ...]) -> list[dg.AssetKey]:
    return [dg.AssetKey(key) for key in keys]


def test_i7_exactly_the_touched_days_are_marked(place: Place):
    late = NOON.replace(hour=23, minute=50)
    result = land(place, *rows("press-01", late, 20))
    assert result.success
    assert place.days(*MEASUREMENTS) == {DAY, NEXT}
    assert place.days(*FEATURES) == {DAY, NEXT}
    assert place.days(*ONLINE) == {NEXT}  # Redis holds the latest row only
    assert place.days("warehouse", "events") == set()
    assert place.days("online", VIEW) == {NEXT}


def test_every_materialization_has_the_same_numbers_and_a_preview(place: Place):
    result = land(place, *rows("press-01", NOON, 3), f"{NOON.isoformat()},press-02,press,hot")
    common = {"rows", "bytes", "quarantined", "seconds", "first_event", "last_event", "lag_seconds", "preview"}
    for key in (MEASUREMENTS, FEATURES, ONLINE):
        found = metadata(result, "/".join(key), DAY)
        assert common <= found.keys(), key
        assert any(name.startswith("seconds_") for name in found), key
        assert table(found["preview"])[0]["machine_id"] == "press-01", key
    warehouse = metadata(result, "warehouse/measurements", DAY)
    assert (warehouse["rows"], warehouse["quarantined"], warehouse["batches"]) == (3, 1, "1")
    assert metadata(result, f"features/{VIEW}", DAY)["rows"] == 3
    assert metadata(result, f"online/{VIEW}", DAY)["rows"] == 1
    record = place.instance.get_latest_materialization_event(dg.AssetKey(FEATURES))
    assert record.asset_materialization.tags["dagster/code_version"]


def test_the_delivery_is_observed_where_it_arrived(place: Place):
    result = land(place, *rows("press-01", NOON, 3))
    (observed,) = events(result, "ASSET_OBSERVATION")
    assert observed.asset_key == dg.AssetKey(["landing", "csv", "fleet"])
    found = observed.asset_observation_data.asset_observation.metadata
    assert (found["received"].value, found["loaded"].value, found["file"].value) == (3, 3, "a.csv")


def test_a_receipt_is_shown_whole_where_the_delivery_arrived_and_where_it_landed(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3), header=HEADER)
    assert place.run(place.tick().run_requests[0]).success
    lines = [f"{line},{n}" for n, line in enumerate(rows("press-01", NOON, 4))]
    bad = [f"{NOON.isoformat()},press-02,press,hot,1", f"{NOON.isoformat()},press-02,press,900,1"]
    place.drop("b.csv", *lines, *bad, lines[-1], header=f"{HEADER},humidity")
    result = place.run(place.tick().run_requests[0])
    (observed,) = events(result, "ASSET_OBSERVATION")
    seen = observed.asset_observation_data.asset_observation
    found = {name: value.value for name, value in seen.metadata.items()}
    assert [found[name] for name in ("batch", "received", "loaded", "duplicate", "quarantined")] == [2, 7, 4, 1, 2]
    assert found["new_readings"] == "humidity"
    assert [(line["code"], line["column"], line["count"], line["first_position"]) for line in table(found["errors"])] == [
        ("not_a_number", "temperature", 1, 6),
        ("out_of_range", "temperature", 1, 7),
    ]
    assert table(found["duplicates_of"]) == [{"batch": 2, "rows": 1, "first_position": 8, "of_position": 5}]
    assert table(found["days"]) == [{"day": DAY.isoformat(), "rows": 4}]
    assert [line["humidity"] for line in table(found["preview"])][:2] == [0, 1]
    assert len(found["settings_hash"]) == 64
    assert found["seconds"] >= found["seconds_check"] > 0
    assert found["dialect"]["delimiter"] == ","
    landed = metadata(result, "warehouse/measurements", DAY)
    (line,) = table(landed["receipts"])
    assert {"batch": 2, "delivery": "b.csv", "received": 7, "loaded": 4, "quarantined": 2}.items() <= line.items()
    assert [(line["batch"], line["code"]) for line in table(landed["errors"])] == [(2, "not_a_number"), (2, "out_of_range")]
    assert landed["new_readings"] == "humidity"


def test_a_refused_file_shows_its_error_and_what_is_proposed(place: Place):
    place.drop("c.csv", "2026-03-01T12:00:00Z,m,press,1", header="zeit,maschine,typ,temp")
    result = place.run(place.tick().run_requests[0])
    (observed,) = events(result, "ASSET_OBSERVATION")
    found = {name: value.value for name, value in observed.asset_observation_data.asset_observation.metadata.items()}
    assert (found["state"], "No column is event_timestamp" in found["error"]) == ("refused", True)
    assert "--map zeit=event_timestamp" in found["proposal"]


def test_sensitive_fields_are_in_no_metadata_and_no_log(place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Neither rows, errors, conflicts, checks' rows nor features made of them show such a value."""
    file = place.settings.feature_repo / "datasets/fleet.yaml"
    file.write_text(
        file.read_text().replace("readings:\n", "sensitive: [temperature, note]\nreadings:\n  note: {type: string}\n")
    )
    place.definitions = build_definitions(place.settings, sensors=[planner(load(place.settings.feature_repo), tick_seconds=0)])
    secrets = ["77.125", "78.125", "secret-word", "999.125", "very hot"]
    lines = [
        f"{NOON.isoformat()},press-01,press,77.125,secret-word,1",
        f"{NOON.isoformat()},press-01,press,78.125,secret-word,1",
        f"{NOON.isoformat()},press-02,press,999.125,secret-word,1",
        f"{NOON.isoformat()},press-03,press,very hot,secret-word,1",
    ]
    place.drop("s.csv", *lines, header=f"{HEADER},note,vibration")
    result = place.run(place.tick().run_requests[0])
    assert [error.metadata["quarantined"].value for error in map(observation, events(result, "ASSET_OBSERVATION"))] == [3]
    place.conn.execute("update warehouse.measurements set readings = readings || '{\"temperature\": 999.125}'")
    again = place.run(asset_selection=select(MEASUREMENTS), partition_key=DAY.isoformat())
    said = [event for one in (result, again) for event in one.all_events]
    assert len(said) > 30
    everything = "\n".join(dg.serialize_value(event) for event in said) + "".join(capfd.readouterr())
    assert "declared_ranges" in everything
    assert '"vibration"' in everything
    where = {
        word: everything[max(0, everything.index(word) - 200) : everything.index(word) + 80]
        for word in secrets
        if word in everything
    }
    assert where == {}


def test_many_files_of_a_day_are_one_mark(place: Place):
    for number in range(5):
        place.drop(f"{number}.csv", *rows(f"press-{number}", NOON, 2))
    result = place.run(place.tick().run_requests[0])
    assert marked(result).count(("warehouse/measurements", DAY.isoformat())) == 1
    assert metadata(result, "warehouse/measurements", DAY)["rows"] == 10
    assert metadata(result, "warehouse/measurements", DAY)["batches"] == "1, 2, 3, 4, 5"


def test_i7_a_refused_file_fails_the_run_after_the_others_landed(place: Place):
    place.drop("bad.csv", header="")
    place.drop("good.csv", *rows("press-01", NOON, 3))
    result = place.run(place.tick().run_requests[0])
    assert not result.success
    assert "bad.csv" in failure(result) and "refused" in failure(result)
    assert place.days(*ONLINE) == {DAY}
    assert not place.tick().run_requests  # refused is an answer: it is not asked for again


def test_checks_show_observed_against_expected(place: Place):
    result = land(
        place, *rows("press-01", NOON, 18), f"{NOON.isoformat()},press-02,press,hot", f"{NOON.isoformat()},press-03,press,9999"
    )
    found = evaluations(result)
    assert all(one.passed for name, one in found.items() if one.blocking), found
    quarantine = found["warehouse/measurements quarantine"]
    assert not quarantine.passed
    assert quarantine.severity is dg.AssetCheckSeverity.WARN
    assert quarantine.metadata["observed"].value == "2 of 20 rows in quarantine (10.0%)"
    assert "millwright quarantine 1" in str(quarantine.metadata["offending"].value)
    assert found[f"online/{VIEW} parity"].metadata["observed"].value == "1 of 1 entities equal"
    assert not found[f"features/{VIEW} freshness"].passed  # the rows are months old
    assert found[f"features/{VIEW} freshness"].metadata["failing_days"].value == DAY.isoformat()


def test_a_new_reading_is_told(place: Place):
    place.drop(
        "a.csv", f"{NOON.isoformat()},press-01,press,20,41.5", header="timestamp,machine_id,sensor_type,temperature,humidity"
    )
    result = place.run(place.tick().run_requests[0])
    check = evaluations(result)["warehouse/measurements new_readings"]
    assert not check.passed
    assert check.metadata["observed"].value == "not declared: humidity"


def test_i7_a_blocking_check_stops_publishing_and_fails_the_run(place: Place, database: str):
    """Values out of the declared range are in the table: somebody wrote them past landing."""
    assert land(place, *rows("press-01", NOON, 3)).success
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"update features.{VIEW}_history set temperature_last = 9999")
    result = place.run(partition_key=DAY.isoformat(), asset_selection=select(FEATURES, ONLINE))
    # The recomputation replaces the bad values, so nothing is left to block …
    assert result.success, failure(result)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(f"alter table features.{VIEW}_history drop column temperature_mean_1d cascade")
        owner.execute(
            f"create view features.{VIEW} as select * from features.{VIEW}_history where superseded_timestamp = 'infinity'"
        )
        owner.execute(f"grant select on features.{VIEW} to millwright_app")
    place.drop("b.csv", *rows("press-02", NOON, 3))
    result = place.run(place.tick().run_requests[0])
    # … but a missing column is the end of the refresh.
    assert not result.success
    assert VIEW in failure(result)


def test_a_partition_of_features_is_recomputed_and_marked(place: Place):
    land(place, *rows("press-01", NOON, 3))
    before = place.one(f"select max(created_timestamp) from features.{VIEW}_history")
    result = place.run(partition_key=DAY.isoformat(), asset_selection=select(FEATURES))
    assert result.success, failure(result)
    assert marked(result) == [(f"features/{VIEW}", DAY.isoformat())]
    assert place.one(f"select max(created_timestamp) from features.{VIEW}_history") == before  # I5: nothing was rewritten


def test_a_requested_day_without_rows_counts_as_touched(place: Place):
    result = place.run(partition_key="2026-02-01", asset_selection=select(FEATURES, ONLINE))
    assert result.success, failure(result)
    assert place.days(*FEATURES) == place.days(*ONLINE) == {date(2026, 2, 1)}
    assert metadata(result, f"features/{VIEW}", date(2026, 2, 1))["rows"] == 0


def test_a_range_is_rebuilt_day_by_day(place: Place):
    land(place, *rows("press-01", NOON.replace(hour=23, minute=50), 20))
    tags = {"dagster/asset_partition_range_start": DAY.isoformat(), "dagster/asset_partition_range_end": "2026-03-03"}
    result = place.run(tags=tags, asset_selection=select(FEATURES, ONLINE))
    assert result.success, failure(result)
    days = [day.isoformat() for day in (DAY, NEXT, date(2026, 3, 3))]
    assert [day for asset, day in marked(result) if asset == f"features/{VIEW}"] == days
    # The first day's entities get their latest row, which is the second day's.
    assert [day for asset, day in marked(result) if asset == f"online/{VIEW}"] == [days[0], days[1], days[1], days[2]]


def test_online_is_sent_again_when_redis_lost_it(place: Place):
    land(place, *rows("press-01", NOON, 3))
    place.redis.flushall()
    result = place.run(partition_key=DAY.isoformat(), asset_selection=select(ONLINE))
    assert result.success, failure(result)
    assert metadata(result, f"online/{VIEW}", DAY)["rows"] == 1


def test_a_partition_of_the_warehouse_lands_what_waits_and_reads_nothing_twice(place: Place):
    land(place, *rows("press-01", NOON, 3))
    place.drop("b.csv", *rows("press-02", NOON + timedelta(days=1), 3))
    place.tick()  # planned, but its run never comes
    result = place.run(partition_key=DAY.isoformat(), asset_selection=select(MEASUREMENTS))
    assert result.success, failure(result)
    assert place.days(*MEASUREMENTS) == {DAY, NEXT}
    assert len(events(result, "ASSET_OBSERVATION")) == 1
    assert place.one("select max(attempts) from landing.batches where batch_id = 1") == 1
    found = evaluations(result)
    assert found["warehouse/measurements landed_sample"].passed
    assert found["warehouse/measurements landed_sample"].metadata["rows_checked"].value == 3


def test_the_landed_sample_fails_on_what_the_dataset_does_not_allow(place: Place, database: str):
    land(place, *rows("press-01", NOON, 3))
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("""update warehouse.measurements set readings = '{"temperature": 9999}'""")
    result = place.run(partition_key=DAY.isoformat(), asset_selection=select(MEASUREMENTS))
    assert not result.success
    found = evaluations(result)
    assert not found["warehouse/measurements landed_sample"].passed
    ranges = found["warehouse/measurements declared_ranges"]
    assert not ranges.passed
    assert ranges.metadata["failing_days"].value == DAY.isoformat()
    assert "9999" in str(ranges.metadata["offending"].value)


def test_i7_a_draft_is_computed_but_not_marked_online(place: Place):
    text = (place.settings.feature_repo / f"feature_views/{VIEW}.yaml").read_text()
    second = place.settings.feature_repo / "feature_views/machine_vitals_v2.yaml"
    second.write_text(text.replace("version: 1", "version: 2"))
    unknown = Place(place.settings, place.conn, place.redis, build_definitions(place.settings))
    both = select(("features", "machine_vitals_v2"), ("online", "machine_vitals_v2"))
    result = unknown.run(partition_key=DAY.isoformat(), asset_selection=both)
    assert "millwright apply" in failure(result)
    assert marked(result) == []
    apply(place.settings, by="test")
    result = unknown.run(partition_key=DAY.isoformat(), asset_selection=both)
    assert "the view is draft" in failure(result) and "millwright activate machine_vitals_v2" in failure(result)
    assert marked(result) == [("features/machine_vitals_v2", DAY.isoformat())]


def test_i7_a_store_that_goes_away_fails_the_run_and_marks_what_was_committed(place: Place, monkeypatch: pytest.MonkeyPatch):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (request,) = place.tick().run_requests
    environment = place.settings.home / "stack.env"
    kept = environment.read_text()
    environment.write_text(kept.replace(place.settings.require("redis_url"), "redis://127.0.0.1:1/0"))
    result = place.run(request)
    assert not result.success
    assert "Every step before it is committed" in failure(result)
    assert place.days(*MEASUREMENTS) == place.days(*FEATURES) == {DAY}
    assert place.days(*ONLINE) == set()
    environment.write_text(kept)
    (again,) = place.tick().run_requests
    assert place.run(again).success
    assert place.days(*ONLINE) == {DAY}


def test_checks_alone_are_evaluated_and_nothing_is_marked(place: Place):
    land(place, *rows("press-01", NOON, 3))
    asked = [
        ("warehouse/measurements", "declared_ranges"),
        ("warehouse/measurements", "landed_sample"),
        (f"features/{VIEW}", "schema"),
    ]
    asked.append((f"online/{VIEW}", "parity"))
    keys = [dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name) for asset, name in asked]
    job = place.definitions.resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=frozenset(), asset_check_selection=frozenset(keys)).execute_in_process(
        instance=place.instance, raise_on_error=False
    )
    assert result.success, failure(result)
    found = evaluations(result)
    assert found.keys() == {f"{asset} {name}" for asset, name in asked}
    assert all(one.passed for one in found.values())
    assert found["warehouse/measurements declared_ranges"].metadata["rows_checked"].value == 3
    assert marked(result) == []


def test_what_was_marked_is_synced_until_its_definition_changes(place: Place):
    from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
    from dagster._core.loader import LoadingContextForTest

    def status(definitions: dg.Definitions, *key: str) -> StaleStatus:
        resolver = CachingStaleStatusResolver(
            place.instance, definitions.resolve_asset_graph(), LoadingContextForTest(place.instance)
        )
        return resolver.get_status(dg.AssetKey(key), DAY.isoformat())

    land(place, *rows("press-01", NOON, 3))
    land(place, *rows("press-02", NOON, 3), name="b.csv")
    assert {status(place.definitions, *key) for key in (MEASUREMENTS, FEATURES, ONLINE)} == {StaleStatus.FRESH}
    view = place.settings.feature_repo / f"feature_views/{VIEW}.yaml"
    view.write_text(view.read_text().replace("ttl: 2h", "ttl: 3h"))
    changed = build_definitions(place.settings)
    assert status(changed, *FEATURES) is StaleStatus.STALE
    assert status(changed, *MEASUREMENTS) is StaleStatus.FRESH


def test_after_a_real_run_neither_feast_nor_pandas_is_imported(place: Place):
    place.drop("a.csv", *rows("press-01", NOON, 3))
    (request,) = place.tick().run_requests
    code = (
        "import json, sys, traceback, dagster as dg\n"
        "class Told:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('feast', 'pandas', 'ibis', 'dagster_pandas'):\n"
        "            print(name, 'is imported by', *traceback.format_stack()[-12:], file=sys.stderr)\n"
        "sys.meta_path.insert(0, Told())\n"
        "from platform_assets.definitions import defs\n"
        "config = json.loads(sys.argv[1])\n"
        "done = defs.resolve_job_def('refresh').execute_in_process(run_config=config, instance=dg.DagsterInstance.ephemeral())\n"
        "print(json.dumps([done.success, [m for m in ('feast', 'pandas', 'ibis', 'dagster_pandas') if m in sys.modules]]))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLWRIGHT_")}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(request.run_config)],
        cwd=Path(__file__).parents[2],
        env={**environment, "MILLWRIGHT_PROJECT": str(place.settings.project)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [True, []], done.stderr[done.stderr.find("is imported by") :][:3000]
