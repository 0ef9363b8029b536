"""What a run imports is what it waits for: Feast costs 5 s, pandas 1 s."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.online.conftest import NOON, Online


@pytest.mark.parametrize(
    "module",
    [
        "millwright.online.publish",
        "millwright.online.read",
        "millwright.compare",
        "millwright.registry",
        "millwright.serving.api",
        "millwright.commands.definitions",
        "millwright.commands.serving",
    ],
)
def test_neither_feast_nor_pandas_is_imported(module: str) -> None:
    code = f"import sys, {module}; sys.exit(', '.join({{'feast', 'pandas', 'ibis'}} & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_RUN = """
import sys
from millwright.compare import compare_online
from millwright.online.publish import publish, unpublished_views
from millwright.online.read import read_online
from millwright.platform import open_platform
from millwright.settings import Settings

with open_platform(Settings()) as found:
    view = found.definitions.feature_views["machine_vitals_v1"]
    stores = found.conn, found.redis, found.definitions
    assert unpublished_views(*stores, project="millwright") == [view.id]
    report = publish(*stores, view, project="millwright")
    assert report.written == 1 and report.removed == 0
    report.model_dump_json()
    read_online(*stores, view, [{"machine_id": "press-1"}], project="millwright").model_dump_json()
    assert compare_online(*stores, view, project="millwright").same
sys.exit(", ".join({"feast", "pandas", "ibis"} & set(sys.modules)) or 0)
"""


def test_after_a_real_publish_read_and_comparison_none_is_loaded(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0, readings_count_1h=3)
    names = ("postgres_url", "redis_url")
    variables = {f"MILLWRIGHT_{name.upper()}": online.settings.require(name) for name in names}
    environment = {**os.environ, **variables, "MILLWRIGHT_PROJECT": str(online.settings.project)}
    done = subprocess.run([sys.executable, "-c", _RUN], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
