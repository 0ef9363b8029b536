"""A process that has Dagster and the engine's libraries imported, and forks a run in milliseconds instead of seconds.

Belongs here: preloading, forking, ending the runs when it is ended itself. Does not: which runs (launcher.py).
`python -m platform_assets.runner SOCKET`. Only installed libraries are preloaded, never the project's own code: each run imports
that anew, so it runs what is on the disk. Linux only: elsewhere libraries do not survive a fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

# What a refresh run imports; what is not installed is left out.
LIBRARIES = (
    *("dagster", "dagster._cli", "dagster._cli.api", "dagster._core.execution.api", "dagster_postgres", "psycopg2"),
    *("psycopg", "redis", "duckdb", "numpy", "pyarrow", "pyarrow.compute", "pyarrow.csv", "adbc_driver_postgresql.dbapi", "pgpq"),
    *("orjson", "hiredis", "mmh3", "confluent_kafka", "pydantic_settings", "ruamel.yaml", "watchfiles", "sqlglot"),
)
GRACE_SECONDS = 3.0  # a run that is ended says so in the event log first
MAX_REQUEST = 1 << 20


def main(path: str) -> int:
    """Serve until SIGTERM or SIGINT: one JSON object a connection, `{"run": arguments}` or `{}`; answers `{"pid": …}`."""
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that the libraries share
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    Path(path).chmod(0o600)
    listener.listen()
    Runner(listener).serve()
    Path(path).unlink(missing_ok=True)
    return 0


class Runner:
    """Accepts, forks, reaps."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._children: set[int] = set()
        self._stopping = False

    def serve(self) -> None:
        """Return once a signal has come and every run has ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._stopping:
                if selector.select(timeout=1.0):
                    self._answer(selector)
                self._reap()
        self._end()

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _answer(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5)
            try:
                with connection.makefile("rb") as lines:
                    request = json.loads(lines.readline(MAX_REQUEST))
            except (OSError, ValueError):
                return
            pid = os.getpid()
            if arguments := request.get("run"):
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    self._listener.close()
                    connection.close()
                    _run(arguments)
                self._children.add(pid)
            with suppress(OSError):
                connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")

    def _reap(self) -> None:
        for pid in tuple(self._children):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(pid)

    def _end(self) -> None:
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._children and time.monotonic() < deadline:
            time.sleep(0.05)
            self._reap()
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self._children:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def _run(arguments: list[str]) -> None:
    """In the child: what `dagster api execute_run` does in a fresh process. Never returns."""
    code = 1
    try:
        from dagster._cli import create_dagster_cli
        from dagster._utils.interrupts import setup_interrupt_handlers

        signal.signal(signal.SIGINT, signal.default_int_handler)
        setup_interrupt_handlers()  # Dagster marks a run that is interrupted as cancelled

        create_dagster_cli().main(arguments, prog_name="dagster", standalone_mode=False)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the end of the process: told in its log
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
