"""The whole platform up in a folder of its own: servers, Dagster with its daemon, and the shipped definitions applied.

Belongs here: starting it, asking Dagster over GraphQL. Does not: fixtures (conftest of those who use it).
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from millwright.online.read import OnlineAnswer, read_online
from millwright.platform import Platform, open_platform
from millwright.settings import Settings
from tests.stack.project import ROOT, Project, project

RUNS = """query($filter: RunsFilter, $limit: Int) { runsOrError(filter: $filter, limit: $limit) { ... on Runs { results {
  runId status jobName creationTime startTime endTime tags { key value } } } } }"""
LAUNCH = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename ... on PartitionBackfill {
  status runs(limit: 50) { runId status } } } }"""
MARKS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { assetMaterializations(limit: 200) {
  partition runId timestamp } } } }"""
TERMINATE = "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"


@dataclass
class Up:
    """A running platform."""

    project: Project
    settings: Settings

    @property
    def url(self) -> str:
        """The Dagster UI."""
        return f"http://127.0.0.1:{self.settings.webserver_port}"

    @contextmanager
    def platform(self) -> Iterator[Platform]:
        """The domain's connections to it."""
        with open_platform(self.settings) as opened:
            yield opened

    def ask(self, query: str, **variables: Any) -> Any:
        """GraphQL; the answer's data."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)
        assert not found.get("errors"), found["errors"]
        return found["data"]

    def runs(self, limit: int = 50, **criteria: Any) -> list[dict[str, Any]]:
        """Runs, newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS, filter=criteria or None, limit=limit)["runsOrError"]["results"]
        return found

    def backfill(self, days: Sequence[str], *keys: Sequence[str]) -> dict[str, Any]:
        """Launch a backfill over `days` and wait for its end."""
        params = {"assetSelection": [{"path": list(key)} for key in keys], "partitionNames": list(days)}
        launched = self.ask(LAUNCH, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return self.backfill_end(launched["backfillId"])

    def backfill_end(self, backfill: str) -> dict[str, Any]:
        """A backfill once it has ended."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.ask(BACKFILL, id=backfill)["partitionBackfillOrError"]
            return found if found["status"] not in ("REQUESTED", "CANCELING") else None

        return until(ended, "the backfill did not end", 120)

    def marks(self, *key: str) -> list[dict[str, Any]]:
        """An asset's materializations, newest first: partition, run, timestamp."""
        node = self.ask(MARKS, key={"path": list(key)})["assetNodeOrError"]
        found: list[dict[str, Any]] = node["assetMaterializations"]
        return found

    def days(self, *key: str) -> set[str]:
        """Days of an asset that were marked."""
        return {one["partition"] for one in self.marks(*key)}

    def drop(self, name: str, lines: Sequence[str], dataset: str = "fleet") -> None:
        """Put a whole file into the inbox, as a rename does."""
        folder = self.settings.inbox / dataset
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{name}.part"
        part.write_text("\n".join([*lines, ""]))
        part.replace(folder / name)

    def online(self, machine: str, feature: str, at: datetime) -> Any:
        """A served value of a press, as at `at`."""
        with self.platform() as platform:
            answer: OnlineAnswer = read_online(
                platform.conn,
                platform.redis,
                platform.definitions,
                [f"machine_vitals_v1:{feature}"],
                [{"machine_id": machine}],
                project=self.settings.feast_project,
                now=at,
            )
        return answer.rows[0].features[f"machine_vitals_v1:{feature}"].value


def until(found: Callable[[], Any], otherwise: str, seconds: float = 60) -> Any:
    """The first true result of `found`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := found():
            return result
        assert time.monotonic() < deadline, f"waited {seconds} s: {otherwise}"
        time.sleep(0.05)


@contextmanager
def up() -> Iterator[Up]:
    """Start it, apply the shipped definitions, end it and remove its folder."""
    folder = Path(tempfile.mkdtemp(prefix="millwright-test-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user when the tests run as root
    try:
        with project(folder / "project") as made:
            shutil.rmtree(made.folder / "platform_assets")
            shutil.copytree(ROOT / "feature_repo", made.folder / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
            yaml = made.folder / "dagster.yaml"
            yaml.write_text(yaml.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 3"))
            made.json("up", "--detach")
            made.json("apply")
            yield Up(made, Settings(project=made.folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
