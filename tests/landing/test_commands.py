"""upload, batches, quarantine and replay as a person types them: text, --json, exit codes."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from millwright.cli import cli
from millwright.definitions import load
from millwright.landing.batches import waiting
from millwright.landing.load import land
from millwright.warehouse.connect import connect
from tests.landing.conftest import Plant

PROJECT = Path(__file__).parents[2]
OPTIONS = [
    "--map",
    "timestamp=event_timestamp",
    "--map",
    "value=temperature",
    "--set",
    "machine_id=m",
    "--set",
    "sensor_type=press",
]
TEXT = "timestamp,value\n2026-03-01 00:00:00,1\n2026-03-01 00:00:00,2\n2026-03-01 00:01:00,x\n"


@pytest.fixture
def run(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(tmp_path))
    monkeypatch.setenv("MILLWRIGHT_FEATURE_REPO", str(PROJECT / "feature_repo"))
    monkeypatch.setenv("MILLWRIGHT_POSTGRES_URL", plant.url)
    (tmp_path / "h.csv").write_text(TEXT)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return invoke


def land_all(plant: Plant) -> None:
    definitions = load(PROJECT / "feature_repo")
    for batch in waiting(plant.conn, 10):
        land(plant.conn, plant.settings, definitions, batch.batch_id)


def test_upload_looks_first_then_receives_and_tells(run, plant: Plant, tmp_path: Path) -> None:
    file = str(tmp_path / "h.csv")
    dry = run("upload", file, *OPTIONS, "--timezone", "UTC", "--dry-run", "--json")
    assert dry.exit_code == 3
    assert {"state": "dry_run", "received": 3, "loaded": 1, "quarantined": 2}.items() <= json.loads(dry.stdout).items()
    first = run("upload", file, *OPTIONS, "--timezone", "UTC")
    assert first.exit_code == 0
    assert "Received as batch" in first.stdout
    number = str(json.loads(run("batches", "--json").stdout)["batches"][0]["batch_id"])
    land_all(plant)
    again = run("upload", file, *OPTIONS, "--timezone", "UTC")
    assert (again.exit_code, f"batch {number}, landed. Nothing changed" in again.stdout) == (0, True)
    assert "conflict" in run("batches", number).stdout
    assert "3: value: conflict: 2 contradicts 1 of line 2" in run("quarantine", number).stdout
    assert run("quarantine", number, "-o", str(tmp_path / "errors.csv")).exit_code == 0
    assert (
        (tmp_path / "errors.csv")
        .read_text()
        .splitlines()[2]
        .startswith("4,value,not_a_number,'x' is not a number,2026-03-01 00:01:00,x")
    )


def test_wait_prints_the_receipt_once_it_has_landed(run, plant: Plant, tmp_path: Path) -> None:
    stop = threading.Event()

    def planner() -> None:
        with connect(plant.url, autocommit=True) as conn:
            while not stop.wait(0.02):
                for batch in waiting(conn, 10):
                    land(conn, plant.settings, plant.definitions, batch.batch_id)

    thread = threading.Thread(target=planner)
    thread.start()
    try:
        done = run("upload", str(tmp_path / "h.csv"), *OPTIONS, "--timezone", "UTC", "--wait", "--json")
        (tmp_path / "empty.csv").write_bytes(b"")
        refused = run("upload", str(tmp_path / "empty.csv"), "--wait")
    finally:
        stop.set()
        thread.join()
    assert (done.exit_code, json.loads(done.stdout)["loaded"]) == (3, 1)
    assert (refused.exit_code, "0 bytes" in refused.stdout) == (1, True)
    (number,) = plant.rows("select batch_id from landing.batches where state = 'refused'")[0]
    assert run("replay", str(number)).exit_code == 0
    assert [batch.batch_id for batch in waiting(plant.conn, 10)] == [number]


def test_wait_says_when_nothing_takes_the_batch(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millwright.commands.landing._UNTAKEN_SECONDS", 0.1)
    done = run("upload", str(tmp_path / "h.csv"), "--wait")
    assert done.exit_code == 1
    assert "received and safe" in done.output
    assert "millwright up" in done.output


def test_wrong_usage_and_unknown_names(run, tmp_path: Path) -> None:
    file = str(tmp_path / "h.csv")
    assert run("upload", str(tmp_path / "none.csv")).exit_code == 2
    assert run("upload", file, "--map", "nonsense").exit_code == 2
    nearest = run("upload", file, "--dataset", "fleat")
    assert (nearest.exit_code, "did you mean fleet" in nearest.output) == (1, True)
    zone = run("upload", file, "--timezone", "Europe/Berln", "--json")
    assert (zone.exit_code, "Europe/Berlin" in json.loads(zone.stdout)["error"]["message"]) == (1, True)
    assert "There is no batch 7" in run("batches", "7").output
