"""uvicorn with workers that end without breaking a request.

Belongs here: one worker, several on a port, how they end. Does not: the command (__main__.py), the application (api.py).

SIGTERM: the port is closed first, for all workers at once, while nobody is on the way to it; then each connection gets its answer
with `Connection: close`, and one that asks nothing is closed after half a second. SIGHUP replaces the workers one after another.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import tempfile
import time
from contextlib import suppress

import uvicorn
from uvicorn.supervisors import multiprocess

from millwright.serving.metrics import FOLDER

FACTORY = "millwright.serving.api:create_app"
START_SECONDS = 30
"""A new worker that does not serve by then is given up, and the old one stays."""
QUIET_SECONDS = 0.5
"""How long an open connection may still ask its last question."""
DRAIN_SECONDS = 20
"""An answer that takes longer is cut off."""


class Server(uvicorn.Server):
    """A worker that answers what is on its connections before it ends."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """What is there now stays: the collector need not look at it again between requests."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No new connections; one more answer on each that asks, then uvicorn's own end."""
        for listener in self.servers:
            listener.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        quiet = time.monotonic() + QUIET_SECONDS
        while self.server_state.connections and time.monotonic() < quiet:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)


class Worker(multiprocess.Process):
    """A process that runs a Server."""

    @property
    def server(self) -> uvicorn.Server:
        """The server, made in the process itself."""
        if self._server is None:
            self._server = Server(config=self.config)
        return self._server


class Workers(multiprocess.Multiprocess):
    """Several workers on one port."""

    def terminate_all(self) -> None:
        """Close the port for all before any of them ends: nobody is left waiting in its queue."""
        for listener in self.sockets:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RD)
        super().terminate_all()


def serve(host: str, port: int, workers: int) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        FACTORY,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
    )
    if workers == 1:
        Server(config).run()
        return
    with tempfile.TemporaryDirectory(prefix="millwright-api-") as folder:
        os.environ.setdefault(FOLDER, folder)
        multiprocess.Process = Worker  # type: ignore[misc]
        Workers(config, [config.bind_socket()]).run()
