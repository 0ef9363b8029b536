"""Who wrote through the API and who was refused: table serving.audit.

Belongs here: what is kept of a request, and getting it into the table. Does not: which requests (watched.py, uploads.py).

A write's entry commits with the write. Refusals are gathered and written each second, equal ones as one entry with their number,
so that nobody fills the table by being refused. Nothing of a request's body, query or headers is kept.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg

_MAX_KINDS = 5_000
_INSERT = (
    "insert into serving.audit (first_at, last_at, requests, key_id, address, method, route, status, error, subject) "
    "values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


class Request(NamedTuple):
    """What is kept of a request. `route` is its template, never the path that was asked for."""

    key_id: str | None
    address: str | None
    method: str
    route: str
    status: int
    error: str | None = None
    subject: str | None = None


def write(conn: psycopg.Connection[Any], request: Request) -> None:
    """Keep one request, in the caller's transaction."""
    now = datetime.now(UTC)
    conn.execute(_INSERT, [now, now, 1, *request])


class Refusals:
    """What was refused since the last flush; called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Request, list[Any]] = {}
        self._dropped = 0

    def add(self, request: Request) -> None:
        """Keep a refusal until the next flush."""
        now = datetime.now(UTC)
        with self._lock:
            known = self._waiting.get(request)
            if known is not None:
                known[1], known[2] = now, known[2] + 1
            elif len(self._waiting) < _MAX_KINDS:
                self._waiting[request] = [now, now, 1]
            else:
                self._dropped += 1

    def taken_dropped(self) -> int:
        """How many could not be kept since this was last asked."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def flush(self, conn: psycopg.Connection[Any]) -> None:
        """Write what waits; it goes on waiting when that fails. Raises psycopg.Error."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            with conn.transaction(), conn.cursor() as cursor:
                cursor.executemany(_INSERT, [[*times, *request] for request, times in taken.items()])
        except psycopg.Error:
            with self._lock:
                for request, (first, last, count) in taken.items():
                    known = self._waiting.setdefault(request, [first, last, 0])
                    known[0], known[1], known[2] = first, max(known[1], last), known[2] + count
            raise
