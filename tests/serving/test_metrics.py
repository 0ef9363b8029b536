"""What one process tells Prometheus. Does not: several workers (test_limits.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from millwright.serving.metrics import FOLDER

COUNT = f"""
import os, sys
from millwright.serving.metrics import Metrics
metrics = Metrics()
metrics.answered("GET", "/healthz", 200, 0.001, None)
os.environ["{FOLDER}"] = sys.argv[1]  # as Feast's modules do, for their own
metrics.answered("GET", "/healthz", 200, 0.001, None)
print(metrics.text().decode())
"""


def test_what_was_counted_is_told_also_after_feast_was_imported(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != FOLDER}
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(tmp_path)], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert 'millwright_http_requests_total{method="GET",route="/healthz",status="200"} 2.0' in done.stdout
