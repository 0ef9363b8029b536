"""Every command that the pages show is run, in their order, on one platform of its own, as a reader would type it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millwright.simulation import write_csv
from millwright.stack.server import free_port
from tests.docs.test_pages import DOCS, PROJECT, blocks

# What a page shows that another test runs, or that would run this one.
ELSEWHERE = {"make demo", "make test"}
DONE_WITH_QUARANTINE = 3
# What a page shows to be refused, with a proposal.
REFUSED = {
    "millwright upload german.csv --dataset fleet --dry-run": "Which time zone are they in?",
    "millwright upload boiler.csv --dataset boiler": "datasets/boiler.yaml",
}


def commands(page: Path) -> list[str]:
    return [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]


def only_a_full_disk(command: str, output: str) -> bool:
    """Whether doctor found nothing but that this machine has little room: its own business, not the page's."""
    found = [line for line in output.splitlines() if line.startswith(("warning", "error"))]
    return command.startswith("millwright doctor") and all(line.startswith("warning  disk: ") for line in found) and found != []


class Reader:
    """Somebody with a shell in a project folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, str] = {}
        folder.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(PROJECT / name, folder / name)
        for name in ("platform_assets", "examples"):
            (folder / name).symlink_to(PROJECT / name)
        shutil.copytree(PROJECT / "feature_repo", folder / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLWRIGHT_", "DAGSTER_"))}
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "MILLWRIGHT_WEBSERVER_PORT": str(free_port()),
            "MILLWRIGHT_API_PORT": str(free_port()),
        }

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
        )  # fmt: skip

    def follows(self, page: Path) -> list[str]:
        """Type all of a page's commands but `down`; returns those that did not end well."""
        failed = []
        for command in commands(page):
            if command in ELSEWHERE or command == "millwright down":
                continue
            done = self.types(command)
            self.said[command] = done.stdout
            if command in REFUSED:
                if done.returncode != 1 or REFUSED[command] not in done.stdout:
                    failed.append(f"{page.name}: {command}: exit {done.returncode}\n{done.stdout[-800:]}\n{done.stderr[-800:]}")
                continue
            good = {0, DONE_WITH_QUARANTINE} if " upload " in command or " batches" in command else {0}
            if done.returncode not in good and not only_a_full_disk(command, done.stdout):
                failed.append(f"{page.name}: {command}: exit {done.returncode}\n{done.stdout[-800:]}\n{done.stderr[-800:]}")
        return failed


@pytest.mark.kafka
@pytest.mark.xdist_group("docs")
@pytest.mark.timeout(600)
def test_the_pages_commands_work_in_order(tmp_path: Path):
    tmp_path.chmod(0o755)
    reader = Reader(tmp_path / "project")
    try:
        failed = reader.follows(DOCS / "own-csv.md")
        landed, corrected = (json.loads(reader.types(f"millwright batches {number} --json").stdout) for number in (2, 3))
        assert [landed[name] for name in ("received", "loaded", "duplicate", "quarantined")] == [6060, 6048, 0, 12]
        assert [error["code"] for error in landed["errors"]] == ["conflict"]
        assert (corrected["received"], corrected["corrected"]) == (12, 12)
        made = json.loads(reader.types("millwright keys create docs --scope upload --json").stdout)
        reader.environment |= {"KEY": made["key"], "API": f"http://127.0.0.1:{reader.environment['MILLWRIGHT_API_PORT']}"}
        failed += reader.follows(DOCS / "upload.md")
        accepted = reader.folder / "feature_repo/datasets/boiler.yaml"
        assert "timezone: UTC" in accepted.read_text()
        served = json.loads(reader.types("millwright online boiler_vitals boiler_id=b1 --json").stdout)
        assert served["rows"][0]["entity"] == {"boiler_id": "b1"}
        day = datetime.now(UTC).date() - timedelta(days=1)
        (file,) = write_csv(reader.folder / "inbox/fleet", day, day, machines=3, interval=600)
        deadline = time.monotonic() + 60
        while file.path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not file.path.exists(), "the inbox was not emptied"
        (view,) = blocks(PROJECT / "README.md", "yaml")
        name = re.search(r"`(feature_repo/feature_views/\w+\.yaml)`", (PROJECT / "README.md").read_text())
        assert name is not None
        (reader.folder / name[1]).write_text(view)
        failed += reader.follows(PROJECT / "README.md")
        first = reader.folder / "feature_repo/feature_views/machine_vitals_v1.yaml"
        first.with_name("machine_vitals_v2.yaml").write_text(first.read_text().replace("version: 1", "version: 2"))
        made = json.loads(reader.types("millwright keys create models --scope predict --json").stdout)
        reader.environment["KEY"] = made["key"]
        failed += [*reader.follows(DOCS / "predictions.md"), *reader.follows(DOCS / "parity.md")]
        (shown,) = blocks(DOCS / "predictions.md", "json")
        trained = next(json.loads(said) for command, said in reader.said.items() if "press_failures.py" in command)
        assert trained == pytest.approx(json.loads(shown), abs=0.01), "docs/predictions.md tells other figures"
        for page in ("mapping.md", "rules.md", "start.md", "features.md", "definitions.md", "operations.md"):
            failed += reader.follows(DOCS / page)
    finally:
        down = reader.types("millwright down")
    assert failed == [], "\n\n".join(failed)
    assert down.returncode == 0, down.stderr


def test_no_page_shows_a_command_that_is_not_run():
    first = {"receipts.md", "own-csv.md", "upload.md", "mapping.md", "rules.md", "README.md", "serving.md", "keys.md"}
    followed = first | {"start.md", "features.md", "definitions.md", "operations.md", "predictions.md", "parity.md", "redis.md"}
    others = [page for page in DOCS.glob("*.md") if page.name not in followed and commands(page)]
    assert others == []
