"""The API keeps its own description, whatever it is sent: schemathesis on the real server, all phases, negative data and keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from millwright.definitions import load
from millwright.registry import apply, deploy
from millwright.serving import keys
from millwright.warehouse.connect import connect
from tests import platforms
from tests.budget import examples, torture
from tests.prediction.onnx_files import weighted
from tests.serving.server import uvicorn

# Which join keys an entity has, and of which types, the catalog knows and no schema says: a request that fits the schema may be 422.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "422"]
"""
FEATURES = ["machine_vitals_v1:temperature_last", "machine_vitals_v1:readings_count_1h"]


@pytest.fixture
def server(tmp_path: Path, database: str, redis_url: str) -> Iterator[tuple[str, str]]:
    """URL and an admin's key."""
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings)
    deploy(settings, weighted(tmp_path / "m.onnx", [1.0, 10.0]), name="strict", features=FEATURES)
    definitions = load(settings.feature_repo)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        history = platforms.History(conn, definitions, definitions.feature_views["machine_vitals_v1"])
        history.put(["press-1"], datetime.now(UTC), temperature_last=1.5)
        key = keys.create_key(conn, name="schemathesis", scopes=["admin"]).key
    with uvicorn(settings, MILLWRIGHT_API_REQUESTS_PER_MINUTE="10000000") as url:
        yield url, key


@pytest.mark.property
@pytest.mark.timeout(3600)
def test_the_api_is_as_it_says(server: tuple[str, str], tmp_path: Path) -> None:
    url, key = server
    command = [str(Path(sys.executable).with_name("st")), "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}", "--checks", "all", "--mode", "all", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(examples(3)), "--continue-on-failure"]
    command += ["--max-time", "600" if torture() else "15", "--seed", "1", "--suppress-health-check", "all"]
    (tmp_path / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-15_000:] + done.stderr[-2_000:]
    assert "negative" in done.stdout.lower() or "passed" in done.stdout.lower()
