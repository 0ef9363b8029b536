"""`make demo` as a newcomer types it, on a state of its own: the whole way, everything stopped at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.kafka
@pytest.mark.xdist_group("stack")
@pytest.mark.timeout(420)
def test_the_demo_goes_all_the_way_and_stops(tmp_path: Path):
    state = tmp_path / "state with spaces"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLWRIGHT_")}
    environment |= {
        "MILLWRIGHT_PROJECT": str(ROOT),
        "MILLWRIGHT_HOME": str(state / "home"),
        "MILLWRIGHT_INBOX": str(state / "inbox"),
        "MILLWRIGHT_FEATURE_REPO": str(shutil.copytree(ROOT / "feature_repo", state / "feature_repo")),
    }
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "millwright.cli", "demo", "--once", "--json"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads(done.stdout)
    figures = {step["name"]: step["figures"] for step in report["steps"]}
    assert report["ok"] and all(step["ok"] for step in report["steps"])
    assert figures["three days of files"]["quarantined"] == 27
    assert figures["the same files again"]["changed"] == 0
    assert figures["a late correction"]["corrected"] == 60
    assert figures["a Kafka batch"]["quarantined"] == 1
    assert figures["Feast, API, Redis and warehouse agree"]["feature values compared"] > 100
    assert figures["deploy a model"]["model"] == "press_failures_v1"
    assert figures["predict over HTTP"]["predicted and logged"] == 10
    flushed = figures["FLUSHALL, the check that fails, the repair"]
    assert flushed["missing"] == flushed["equal after the repair"] > 0
    explained = figures["why a value is what it is, down to the line"]
    assert explained["rows"] == 61 and str(explained["line"]).startswith("correction-1.csv:")
    mine = str(state)
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if any(mine in part for part in p.info["cmdline"] or [])]
    assert left == []
