"""The log of predictions: table serving.predictions, written off the request's path.

Belongs here: the bounded queue, its writing thread, COPY. Does not: predicting (prediction/), routes (models.py).

A batch is one transaction, and its first row tells whether it was committed: a connection that broke at the commit is tried again
without writing a row twice.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import orjson
import psycopg

log = logging.getLogger(__name__)
MAX_WAITING = 20_000
"""Entities that may wait to be written; more are dropped, and counted."""
DRAIN_SECONDS = 4.0
_BATCH = 2_000
_GATHER_SECONDS, _LONGEST_PAUSE = 0.1, 2.0
_COPY = (
    "copy serving.predictions (request_id, position, predicted_at, model_id, definition_hash, entity, status, outputs, features, "
    "reason, asked_by) from stdin"
)

Connect = Callable[[], AbstractContextManager[psycopg.Connection[Any]]]


class PredictionLog:
    """Takes answers, writes them in batches in a thread of its own. Every method may be called from any thread."""

    def __init__(
        self,
        connect: Connect,
        max_waiting: int = MAX_WAITING,
        drain_seconds: float = DRAIN_SECONDS,
        told: Callable[[int, int], None] = lambda waiting, dropped: None,
    ) -> None:
        """`told`: is called with how many wait, and how many were dropped since it was called last."""
        self._connect, self._max, self._drain, self._told = connect, max_waiting, drain_seconds, told
        self._news = threading.Condition()
        self._waiting: deque[tuple[dict[str, Any], str]] = deque()
        self._rows = 0  # of _waiting, and of what is being written
        self._stopping: float | None = None  # by when the rest must be written
        self._thread: threading.Thread | None = None
        self.written = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Entities that are not written yet."""
        return self._rows

    def start(self) -> None:
        """Start writing."""
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)
        self._thread.start()

    def take(self, answer: dict[str, Any], by: str) -> None:
        """Note an answer (the fields of Predictions) for writing; dropped, and counted, where too many wait. Never waits."""
        count = len(answer["predictions"])
        with self._news:
            if self._stopping is not None or self._rows + count > self._max:
                self.dropped += count
                self._told(self._rows, count)
                return
            self._waiting.append((answer, by))
            self._rows += count
            self._news.notify()

    def close(self) -> None:
        """Write what waits, for `drain_seconds` at most; what could not be written is counted and said."""
        with self._news:
            self._stopping = time.monotonic() + self._drain
            self._news.notify()
        if self._thread is not None:
            self._thread.join(self._drain + 10)
        if self.dropped:
            log.error("%d predictions were not logged: the database did not answer, or too many waited", self.dropped)

    def _run(self) -> None:
        while batch := self._next():
            rows = _rows(batch)
            done = self._kept(rows)
            with self._news:
                self._rows -= len(rows)
                self.written += len(rows) if done else 0
                self.dropped += 0 if done else len(rows)
                self._told(self._rows, 0 if done else len(rows))

    def _next(self) -> list[tuple[dict[str, Any], str]]:
        """Answers to write; none once all is written and it is to stop."""
        with self._news:
            while not self._waiting and self._stopping is None:
                self._news.wait()
            if self._stopping is None:
                self._news.wait(_GATHER_SECONDS)  # a batch a moment, not a row
            batch, rows = [], 0
            while self._waiting and rows < _BATCH:
                batch.append(self._waiting.popleft())
                rows += len(batch[-1][0]["predictions"])
            return batch

    def _kept(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Write a batch, again and again while the database is away; False where it had to stop before."""
        pause, again = 0.1, False
        while True:
            try:
                with self._connect() as conn:
                    write(conn, rows, again=again)
                return True
            except psycopg.Error as error:
                if not isinstance(error, psycopg.OperationalError):
                    log.exception("predictions could not be logged", exc_info=error)
                    return False
                if not again:
                    log.warning("predictions wait to be logged: the database does not answer (%s)", type(error).__name__)
                again = True
            with self._news:
                left = None if self._stopping is None else self._stopping - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self._news.wait(pause if left is None else min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)


def write_now(conn: psycopg.Connection[Any], answer: dict[str, Any], by: str) -> None:
    """Log an answer before it is told: for a command, which has no path to keep free."""
    write(conn, _rows([(answer, by)]))


def logged_since_yesterday(conn: psycopg.Connection[Any], model: str) -> int:
    """Entities that were asked for in the last 24 hours, of all versions of a model."""
    query = (
        "select count(*) from serving.predictions join catalog.models using (model_id)"
        " where model = %s and predicted_at > now() - interval '1 day'"
    )
    row = conn.execute(query, [model]).fetchone()
    return int(row[0]) if row else 0


def write(conn: psycopg.Connection[Any], rows: Sequence[Sequence[Any]], *, again: bool = False) -> None:
    """COPY a batch in one transaction; `again`: unless an earlier attempt committed it. Raises psycopg.Error."""
    with conn.transaction(), conn.cursor() as cursor:
        if (
            again
            and cursor.execute("select from serving.predictions where (request_id, position) = (%s, %s)", rows[0][:2]).rowcount
        ):
            return
        with cursor.copy(_COPY) as copy:
            for row in rows:
                copy.write_row(row)


def _rows(batch: Sequence[tuple[dict[str, Any], str]]) -> list[tuple[Any, ...]]:
    return [
        (
            answer["request_id"],
            position,
            datetime.fromisoformat(answer["predicted_at"]),
            answer["model_id"],
            answer["definition_hash"],
            _json(one["entity"]),
            one["status"],
            None if one["outputs"] is None else _json(one["outputs"]),
            _json(one["features"]),
            one["reason"].replace("\0", ""),
            by,
        )
        for answer, by in batch
        for position, one in enumerate(answer["predictions"])
    ]


def _json(value: Any) -> str:
    """JSON that jsonb takes: it has no character 0."""
    return orjson.dumps(value).decode().replace("\\u0000", "\\ufffd")
