"""Waits for news: a notice from Postgres, a change in the inbox, or the end of a pause.

Belongs here: noticing that something happened. Does not: what it was (observing.py), what follows (planning.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from watchfiles._rust_notify import RustNotify

CHANNEL = "millwright"
APPLIED = "applied"
INBOX = "inbox"
# A burst of files is one piece of news: it is told once the folder has been quiet for a step, or after the longest wait.
QUIET_MS, LONGEST_MS = 100, 2_000
LOOK_MS = 200  # how often Postgres is asked for notices: it has no file descriptor that the folder's watcher could wait on


class News:
    """What has happened since it was last asked. Made by `listening`."""

    def __init__(self, conn: psycopg.Connection[Any], inbox: RustNotify) -> None:
        self._conn = conn
        self._inbox = inbox

    def wait(self, seconds: float) -> set[str]:
        """Payloads of notices, and `inbox`; empty after `seconds`. Raises psycopg.OperationalError when Postgres is gone."""
        deadline = time.monotonic() + seconds
        while True:
            news = {notice.payload for notice in self._conn.notifies(timeout=0)}
            left = deadline - time.monotonic()
            if news or left <= 0:
                return news
            timeout = max(1, min(LOOK_MS, int(left * 1000)))
            changes = self._inbox.watch(LONGEST_MS, min(QUIET_MS, timeout), timeout, None)
            if isinstance(changes, set) and any(not Path(path).name.startswith(".") for _, path in changes):
                return {INBOX, *(notice.payload for notice in self._conn.notifies(timeout=0))}


@contextmanager
def listening(conn: psycopg.Connection[Any], inbox: Path) -> Iterator[News]:
    """Listen on `conn` (autocommit) and on the folder `inbox`, which is made. Nothing after this goes unnoticed."""
    inbox.mkdir(parents=True, exist_ok=True)
    conn.execute("listen millwright")
    watcher = RustNotify([str(inbox)], False, False, 300, True, True)
    try:
        yield News(conn, watcher)
    finally:
        watcher.close()
