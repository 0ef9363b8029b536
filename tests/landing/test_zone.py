"""Received bytes are what they were, or it is told; nothing is removed that anybody may still need."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from millwright.cli import cli
from millwright.landing.receive import zone_path
from millwright.landing.zone import KeptForEver, inspect, prune
from millwright.stack import doctor
from millwright.stack.up import Stack
from tests.landing.conftest import HEADER, Plant
from tests.stack.project import ROOT

DAY = 86_400


def text(machine: str) -> str:
    return f"{HEADER}temperature\n2026-03-01T00:00:00Z,{machine},press,1\n"


def age(path: Path, days: float) -> None:
    os.utime(path, (time.time() - days * DAY,) * 2)


def test_missing_damaged_and_stray_files_are_told(plant: Plant) -> None:
    receipts = [plant.land(text(f"m{number}")) for number in range(4)]
    paths = [zone_path(plant.settings, str(receipt.sha256)) for receipt in receipts]
    sound = inspect(plant.conn, plant.settings, every=True)
    assert (sound.files, sound.expected, sound.checked, sound.lost, sound.strays) == (4, 4, 4, [], 0)
    assert sound.bytes == sum(path.stat().st_size for path in paths)
    paths[0].unlink()
    paths[1].write_text(paths[1].read_text().replace(",1", ",2"))  # as long as before
    paths[2].write_text("x")
    (plant.settings.zone / ".abc.part").write_bytes(b"x")
    found = inspect(plant.conn, plant.settings, every=True)
    assert [(lost.batch_id, lost.damaged) for lost in found.lost] == [(1, False), (2, True), (3, True)]
    assert found.strays == 1
    # What the advice says: the same file again takes its place, and changes nothing else.
    before = plant.state()
    for number in (0, 1, 2):
        assert plant.receive(text(f"m{number}")).already
    assert inspect(plant.conn, plant.settings, every=True).lost == []
    assert plant.state() == before


def test_doctor_tells_size_and_what_is_lost(plant: Plant) -> None:
    for name in ("dagster.yaml", "workspace.yaml", "feature_repo", "platform_assets"):
        (plant.settings.project / name).symlink_to(ROOT / name)
    receipts = [plant.land(text(f"m{number}")) for number in range(25)]
    stack = Stack(plant.settings)

    def checks(**options: bool) -> list[doctor.Check]:
        return [check for check in doctor.examine(stack, **options).checks if check.name == "landing zone"]

    (sound,) = checks()
    assert (sound.result, "25 received files; SHA-256 compared of 20 of them" in sound.found) == ("ok", True)
    path = zone_path(plant.settings, str(receipts[7].sha256))
    path.write_text(path.read_text().replace(",1", ",2"))
    assert "compared of all" in checks(every_file=True)[0].found
    assert [check.found.split(" (")[0] for check in checks(every_file=True)[1:]] == ["file.csv of batch 8 is damaged"]
    path.unlink()
    (_, missing) = checks()
    assert (missing.result, "missing" in missing.found, "Deliver the very file again" in missing.advice) == ("error", True, True)


def test_only_old_files_of_ended_batches_are_removed_and_only_when_a_setting_says_so(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeptForEver, match="kept for ever"):
        prune(plant.conn, plant.settings, dry_run=False)
    landed = [plant.land(text(f"m{number}")) for number in range(3)]
    waiting = plant.receive(text("waiting"))
    shas = [str(receipt.sha256) for receipt in landed] + [waiting.sha256]
    old, fresh_ledger, fresh_file, planned = (zone_path(plant.settings, sha) for sha in shas)
    stray, part = plant.settings.zone / "ab" / ("ab" * 32), plant.settings.zone / ".x.part"
    stray.parent.mkdir(exist_ok=True)
    for path in (stray, part):
        path.write_bytes(b"x")
    plant.conn.execute("update landing.batches set finished_at = now() - interval '31 days' where batch_id in (1, 3)")
    plant.conn.execute("update landing.batches set planned_at = now() - interval '31 days' where batch_id = 4")
    for path in (old, fresh_ledger, planned):
        age(path, 31)
    settings = plant.settings.model_copy(update={"keep_landed_files": 30})
    everything = {old, fresh_ledger, fresh_file, planned, stray, part}

    def there() -> set[Path]:
        return {path for path in everything if path.exists()}

    looked = prune(plant.conn, settings, dry_run=True)
    assert (looked.files, looked.bytes, looked.strays, there()) == (1, old.stat().st_size, 0, everything)
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(plant.settings.project))
    monkeypatch.setenv("MILLWRIGHT_POSTGRES_URL", plant.url)
    monkeypatch.setenv("MILLWRIGHT_KEEP_LANDED_FILES", "30")
    done = CliRunner().invoke(cli, ["prune", "--json"])
    assert (done.exit_code, json.loads(done.stdout)["files"]) == (0, 1), done.output
    assert there() == everything - {old}
    age(stray, 2)
    age(part, 2)
    assert prune(plant.conn, settings, dry_run=False).strays == 2
    assert there() == {fresh_ledger, fresh_file, planned}
    # What was removed by the setting is not missed; a file that is there longer than it must be is no trouble.
    assert inspect(plant.conn, settings, every=True).lost == []
    assert [lost.batch_id for lost in inspect(plant.conn, plant.settings, every=True).lost] == [1]
    # The batch's receipt stays, and the same file is still known.
    assert plant.receive(text("m0")).already
    assert plant.again(waiting.batch_id).state == "landed"
