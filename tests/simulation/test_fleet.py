"""The fleet: same seed, same bytes; wear is visible before a failure and gone after maintenance."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.definitions import load
from millwright.simulation import Machine, events, fleet, foreign_csv, messages, write_csv, write_events
from millwright.simulation.fleet import lives, seconds
from millwright.simulation.noise import bits, drift, key, uniform, white
from millwright.simulation.readings import measure
from tests.budget import examples

START = datetime(2026, 3, 1, tzinfo=UTC)
FEATURE_REPO = Path(__file__).parents[2] / "feature_repo"


def test_known_bytes(tmp_path: Path) -> None:
    """Whatever machine or Python runs this: a changed hash means that benchmarks and docs no longer speak of the same data."""
    [file] = write_csv(tmp_path, date(2026, 3, 1), date(2026, 3, 1), machines=30, seed=7)
    foreign = foreign_csv(tmp_path / "foreign.csv", seed=7)
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in (file.path, foreign.path)] == [
        "02c5f64a3cdc23af4e0b4fe4580f899c1d7a4a23df85a92a4ecfd47dba84605e",
        "318bd15650fa07abbf956b50ba826957ccc7890fe93992dea901022e5fbcb070",
    ]


def test_same_seed_same_files_other_seed_other_files(tmp_path: Path) -> None:
    def written(folder: str, seed: int) -> list[bytes]:
        return [f.path.read_bytes() for f in write_csv(tmp_path / folder, date(2026, 3, 1), date(2026, 3, 3), 6, seed, 300)]

    once = written("a", 1)
    assert once == written("b", 1)
    assert all(a != b for a, b in zip(once, written("c", 2), strict=True))


def test_a_day_does_not_depend_on_the_days_asked_for(tmp_path: Path) -> None:
    one = write_csv(tmp_path / "one", date(2026, 3, 2), date(2026, 3, 2), 6, 7, 60)
    three = write_csv(tmp_path / "three", date(2026, 3, 1), date(2026, 3, 3), 6, 7, 60)
    assert one[0].path.read_bytes() == three[1].path.read_bytes()


def test_messages_equal_the_file(tmp_path: Path) -> None:
    [file] = write_csv(tmp_path, START.date(), START.date(), 5, 7, 600)
    with file.path.open(newline="") as lines:
        rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(lines)]
    sent = [json.loads(json.dumps(message)) for message in messages(START, START + timedelta(days=1), 5, 7, 600)]
    numbers = {"temperature", "vibration", "speed", "energy", "pressure"}
    assert sent == [{k: float(v) if k in numbers else v for k, v in row.items()} for row in rows]


def test_a_larger_fleet_begins_with_the_smaller_one() -> None:
    assert fleet(40, 7)[:10] == fleet(10, 7)
    assert [machine.machine_id for machine in fleet(4, 7)] == ["press-01", "pump-01", "motor-01", "press-02"]
    assert len({machine.machine_id for machine in fleet(1000, 7)}) == 1000
    with pytest.raises(ValueError, match="at least one machine"):
        fleet(0, 7)


def test_failures_follow_visible_degradation() -> None:
    """Before every failure of 30 machines in 60 days, temperature and vibration have risen clearly; maintenance resets both."""
    end = START + timedelta(days=60)
    checked = 0
    for machine in fleet(30, 7):
        for life in lives(machine, seconds(START), seconds(end)):
            if life.failure is None or life.onset is None:
                continue

            def mean(first: int, hours: float, of: str, machine: Machine = machine) -> float:
                at = np.arange(first, first + int(hours * 3600), 60, dtype=np.int64)
                return float(measure(machine, at, 60)[of].mean()) / {"temperature": 100, "vibration": 1000}[of]

            day = 86400
            healthy = {of: mean(life.onset - day, 24, of) for of in ("temperature", "vibration")}
            worn = {of: mean(life.failure - 1800, 0.5, of) for of in healthy}
            again = {of: mean(life.maintenance, 12, of) for of in healthy}
            assert worn["temperature"] > healthy["temperature"] + 8
            assert worn["vibration"] > 2 * healthy["vibration"]
            assert abs(again["temperature"] - healthy["temperature"]) < 5
            assert abs(again["vibration"] / healthy["vibration"] - 1) < 0.2
            assert 8 * 3600 <= life.failure - life.onset <= 72 * 3600
            assert mean(life.failure, 1, "vibration") == 0, "it stands until it is repaired"
            checked += 1
    assert checked > 100


def test_events_are_in_order_and_maintenance_follows_each_failure() -> None:
    found = events(START, START + timedelta(days=30), 30, 7)
    assert found == sorted(found)
    kinds = {machine.machine_id: [] for machine in fleet(30, 7)}
    for event in found:
        kinds[event.machine_id].append((event.kind, event.cause))
    for seen in kinds.values():
        for (kind, _), (after, cause) in pairwise(seen):
            assert kind != "failure" or (after, cause) == ("maintenance", "repair")
    assert {"planned", "repair", "overheating", "bearing"} == {event.cause for event in found}


def test_events_of_a_range_are_those_of_its_parts() -> None:
    middle, end = START + timedelta(days=7, hours=5), START + timedelta(days=21)
    assert events(START, end, 9, 3) == events(START, middle, 9, 3) + events(middle, end, 9, 3)


def test_event_file(tmp_path: Path) -> None:
    file = write_events(tmp_path / "events.csv", START, START + timedelta(days=10), 12, 7)
    with file.path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == file.rows == len(events(START, START + timedelta(days=10), 12, 7)) > 0
    assert set(rows[0]) == {"timestamp", "machine_id", "sensor_type", "kind", "cause"}


def test_healthy_and_worn_values_are_within_the_declared_ranges() -> None:
    readings = load(FEATURE_REPO).datasets["fleet"].readings
    for message in messages(START, START + timedelta(days=20), 30, 7, 1800):
        for name, value in message.items():
            if name in readings:
                assert readings[name].min <= value <= readings[name].max


def test_naive_times_and_empty_spans_are_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        next(messages(datetime(2026, 3, 1), datetime(2026, 3, 2)))
    with pytest.raises(ValueError, match="must be after"):
        next(messages(START, START))
    with pytest.raises(ValueError, match="at least one second"):
        next(messages(START, START + timedelta(days=1), interval=0))


def test_splitmix64_is_the_published_one() -> None:
    """Reference outputs of the generator with seed 1234567, from its authors' test vector."""
    state = bits(1234567, np.arange(1, 6, dtype=np.int64)).tolist()
    assert state == [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]


@given(stream=st.integers(0, 2**64 - 1), start=st.integers(0, 2**33), length=st.integers(1, 500))
@pytest.mark.property
@settings(max_examples=examples(50), deadline=None)
def test_noise_is_bounded_and_does_not_depend_on_the_range(stream: int, start: int, length: int) -> None:
    at = np.arange(start, start + length, dtype=np.int64)
    for make in (
        lambda index: white(stream, index),
        lambda index: drift(stream, index, 900),
        lambda index: uniform(stream, index),
    ):
        values = make(at)
        assert np.abs(values).max() < 3.47
        assert (make(at[length // 2 :]) == values[length // 2 :]).all()


def test_white_noise_has_deviation_one() -> None:
    values = white(key("test"), np.arange(200_000, dtype=np.int64))
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01


def test_command_line_writes_and_explains(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "millwright.simulation", *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    days = run(
        "csv", str(tmp_path), "--from", "2026-03-01", "--days", "2", "--machines", "2", "--interval", "3600", "--defects", "1"
    )
    assert days.returncode == 0, days.stderr
    told = [json.loads(line) for line in days.stdout.splitlines()]
    assert [Path(file["path"]).name for file in told] == ["fleet-2026-03-01.csv", "fleet-2026-03-02.csv"]
    assert all(file["rows"] == 50 and len(file["defects"]) == 6 for file in told)
    sent = run("messages", "--from", "2026-03-01", "--to", "2026-03-01T00:02", "--machines", "3")
    assert [json.loads(line) for line in sent.stdout.splitlines()] == list(
        islice(messages(START, START + timedelta(days=1), 3), 6)
    )
    wrong = run("correction", str(tmp_path / "c.csv"), "press-77", "--from", "2026-03-01", "--to", "2026-03-02")
    assert wrong.returncode == 2
    assert "no such machine in a fleet of 30: press-77" in wrong.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet-2026-03-01.csv", "fleet-2026-03-02.csv"]
