"""What one process tells Prometheus. Does not: several workers (test_limits.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwright.serving.metrics import FOLDER, Metrics


def test_what_was_counted_is_told_also_after_feast_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    metrics = Metrics()
    metrics.answered("GET", "/healthz", 200, 0.001, None)
    monkeypatch.setenv(FOLDER, str(tmp_path))  # as Feast's modules do, for their own
    metrics.answered("GET", "/healthz", 200, 0.001, None)
    assert b'millwright_http_requests_total{method="GET",route="/healthz",status="200"} 2.0' in metrics.text()
