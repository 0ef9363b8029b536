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
from millwright.landing.options import OPTIONS as OPTIONS_OF_A_DELIVERY
from millwright.landing.options import arguments, delivery
from millwright.landing.receive import Delivery
from millwright.warehouse.connect import connect
from tests.landing.conftest import HEADER, Plant

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
        .startswith("4,value,not_a_number,'x' is not a number,,2026-03-01 00:01:00,x")
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
    monkeypatch.setattr("millwright.commands.follow.UNTAKEN_SECONDS", 0.1)
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


def test_several_files_and_patterns_are_told_in_a_table_with_the_worst_code(run, plant: Plant, tmp_path: Path) -> None:
    for number in (2, 1):
        (tmp_path / f"day-{number}.csv").write_text(f"timestamp,value\n2026-03-0{number} 00:00:00,1\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    options = [*OPTIONS, "--timezone", "UTC"]
    pattern = str(tmp_path / "day-*.csv")
    done = run("upload", pattern, str(tmp_path / "day-1.csv"), *options, "--json")
    assert done.exit_code == 0
    assert [(each["file"], each["batch_id"], each["state"]) for each in json.loads(done.stdout)["files"]] == [
        ("day-1.csv", 1, "planned"),
        ("day-2.csv", 2, "planned"),
    ]
    looked = run("upload", pattern, str(tmp_path / "h.csv"), str(tmp_path / "empty.csv"), *options, "--dry-run")
    assert looked.exit_code == 1  # the empty one is refused; quarantine alone would be 3
    assert [line.split()[0] for line in looked.stdout.splitlines()[1:]] == ["day-1.csv", "day-2.csv", "h.csv", "empty.csv"]
    assert run("upload", pattern, str(tmp_path / "h.csv"), *options, "--dry-run").exit_code == 3
    assert plant.rows("select count(*) from landing.batches") == [(2,)]


def test_a_file_that_cannot_be_received_does_not_keep_the_others_back(run, plant: Plant, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "big.csv").write_text(TEXT * 100)
    monkeypatch.setenv("MILLWRIGHT_MAX_FILE_BYTES", str(len(TEXT)))
    done = run("upload", str(tmp_path / "big.csv"), str(tmp_path / "h.csv"), *OPTIONS, "--timezone", "UTC", "--json")
    assert done.exit_code == 1
    big, small = json.loads(done.stdout)["files"]
    assert (big["state"], "max_file_bytes" in big["error"], small["state"]) == ("not received", True, "planned")
    assert run("upload", str(tmp_path / "big.csv"), "--dry-run").exit_code == 1


def test_the_standard_input_is_a_file(run, plant: Plant) -> None:
    def piped(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["upload", "-", *OPTIONS, "--timezone", "UTC", *arguments], input=TEXT.encode())

    dry = piped("--filename", "today.csv", "--dry-run", "--json")
    assert (dry.exit_code, json.loads(dry.stdout)["file_name"], json.loads(dry.stdout)["received"]) == (3, "today.csv", 3)
    first, again = (json.loads(piped("--filename", "today.csv", "--json").stdout) for _ in range(2))
    assert (first["file_name"], first["already"], again["already"]) == ("today.csv", False, True)
    assert first["file_bytes"] == len(TEXT)
    assert (piped().exit_code, "--filename" in piped().output) == (2, True)
    assert run("upload", "x.csv", "--filename", "y.csv").exit_code == 2


def test_every_option_of_a_delivery_reaches_the_ledger(run, plant: Plant, tmp_path: Path) -> None:
    repaired = str(plant.land(f"{HEADER}temperature\n2026-03-01T00:00:00Z,m,press,x\n").batch_id)
    given = [
        *("--map", "a=b=event_timestamp", "--set", "machine_id=m", "--ignore", "note", "--long", "tag=val", "--timezone", "UTC"),
        *("--timestamp-format", "epoch_ms", "--ambiguous", "latest", "--nonexistent", "earliest", "--decimal", ",", "--thousands", "."),
        *("--unit", "temperature=degF", "--missing", "-", "--missing", "n/a", "--encoding", "latin-1", "--delimiter", "semicolon"),
        *("--quote", "none", "--escape", "backslash", "--header", 'x,"y,z"', "--skip-lines", "3", "--comment", "#", "--units-row"),
        *("--footer", "Sum", "--correction", "--historical", "--repairs", repaired),
    ]  # fmt: skip
    assert run("upload", str(tmp_path / "h.csv"), *given).exit_code == 0
    kept = Delivery.model_validate(plant.rows("select options from landing.batches order by batch_id desc")[0][0])
    assert delivery({}) == Delivery()
    assert arguments(kept) == [
        *("--map", "a=b=event_timestamp", "--set", "machine_id=m", "--ignore", "note", "--long", "tag=val", "--timezone", "UTC"),
        *("--timestamp-format", "epoch_ms", "--ambiguous", "latest", "--nonexistent", "earliest", "--decimal", ",", "--thousands", "."),
        *("--unit", "temperature=degF", "--missing", "-", "--missing", "n/a", "--encoding", "latin-1", "--delimiter", ";"),
        *("--quote", "none", "--escape", "backslash", "--header", 'x,"y,z"', "--skip-lines", "3", "--comment", "#", "--units-row"),
        *("--footer", "Sum", "--correction", "--historical", "--repairs", repaired),
    ]  # fmt: skip
    assert {f"--{option.name}" for option in OPTIONS_OF_A_DELIVERY} <= set(given)
