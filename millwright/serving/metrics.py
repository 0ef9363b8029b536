"""What the API counts, for Prometheus.

Belongs here: the metrics and their text. Does not: when they are counted (watched.py and whoever hands in a number).

With several workers the numbers lie in files of a folder that they share (prometheus_client's multiprocess mode): every worker
answers for all of them. `python -m millwright.serving` makes the folder; else set PROMETHEUS_MULTIPROC_DIR.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import psutil

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """One process's part. Labels come from code, never from a request: routes are templates, errors are our own words."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        # Now, as prometheus_client does: Feast's modules set the variable when they are imported, for themselves.
        self._folder = os.environ.get(FOLDER)
        self._registry = registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._seconds = Histogram(
            "millwright_http_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "millwright_http_requests",
            "Requests answered; status 0: the client left.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._refused = Counter(
            "millwright_http_refused", "Requests that were refused, by the error's word.", ["route", "error"], registry=registry
        )
        self.redis_failures = Counter(
            "millwright_redis_failures", "Questions that Redis did not answer.", ["kind"], registry=registry
        )
        self.audit_dropped = Counter("millwright_audit_dropped", "Refusals that the audit could not keep.", registry=registry)
        self.postgres_away = Gauge(
            "millwright_postgres_away", "1 while the database does not answer.", multiprocess_mode="livemax", registry=registry
        )
        self.predictions_waiting = Gauge(
            "millwright_predictions_waiting", "Predictions not yet in the log.", multiprocess_mode="livesum", registry=registry
        )
        self.predictions_dropped = Counter(
            "millwright_predictions_dropped", "Predictions that the log could not keep.", registry=registry
        )
        self._known: dict[tuple[str, str], Any] = {}
        self._counted: dict[tuple[str, str, int], Any] = {}

    def answered(self, method: str, route: str, status: int, seconds: float, error: str | None) -> None:
        """Count a request that has ended."""
        method = method if method in _METHODS else "other"
        histogram = self._known.get((method, route))
        if histogram is None:
            histogram = self._known[method, route] = self._seconds.labels(method, route)
        counter = self._counted.get((method, route, status))
        if counter is None:
            counter = self._counted[method, route, status] = self._requests.labels(method, route, str(status))
        histogram.observe(seconds)
        counter.inc()
        if 400 <= status < 500:
            self._refused.labels(route, error or "other").inc()

    def text(self) -> bytes:
        """All metrics of all workers in Prometheus's text format. Reads files: call it on a thread."""
        from prometheus_client import CollectorRegistry, generate_latest

        if not self._folder:
            return generate_latest(self._registry)
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

        with self._lock:
            for process in {int(file.stem.rpartition("_")[2]) for file in Path(self._folder).glob("gauge_live*.db")}:
                if not psutil.pid_exists(process):
                    with contextlib.suppress(FileNotFoundError):  # another worker was faster
                        mark_process_dead(process)  # type: ignore[no-untyped-call]
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
            return generate_latest(registry)
