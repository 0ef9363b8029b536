"""Keeps a run light: no pandas where nothing uses it, one connection for its events.

Belongs here: switches that cost nothing and save a second. Does not: what uses pandas (samples.py), how runs start (runner.py).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import dagster as dg

STATEMENT_TIMEOUT_MS, RECYCLE_SECONDS = 60_000, 3600


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name=fullname)
        return None


def without_pandas() -> None:
    """Let pyarrow do without pandas in this process.

    On its first conversion of a Python value pyarrow imports pandas if it is installed, to recognize its objects: half a
    second of every run. Here that one attempt fails; afterwards pandas can be imported as ever.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    blocker = _NoPandas()
    sys.meta_path.insert(0, blocker)
    try:
        pa.scalar("")
    finally:
        sys.meta_path.remove(blocker)


def one_connection(instance: dg.DagsterInstance) -> None:
    """Let the run keep its connection to Dagster's event log.

    Outside the webserver Dagster opens a connection a query, which is three quarters of the time that an event takes; a refresh
    of three views writes fifty.
    """
    instance.event_log_storage.optimize_for_webserver(
        statement_timeout=STATEMENT_TIMEOUT_MS, pool_recycle=RECYCLE_SECONDS, max_overflow=2
    )
