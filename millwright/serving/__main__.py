"""The API's server: `python -m millwright.serving [--host H] [--port P] [--workers N]`.

Belongs here: uvicorn, its workers, and how they end. Does not: the application (api.py).

SIGTERM ends it without breaking a request. The port is closed first, for all workers at once, while nobody is on the way to it;
then each connection gets its answer with `Connection: close`, and one that asks nothing is closed after half a second. SIGHUP
replaces the workers one after another; nobody is refused meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import uvicorn
from uvicorn.supervisors import multiprocess

from millwright.serving.metrics import FOLDER
from millwright.settings import Settings

FACTORY = "millwright.serving.api:create_app"
QUIET_SECONDS = 0.5
"""How long an open connection may still ask its last question."""
DRAIN_SECONDS = 20
"""An answer that takes longer is cut off."""


class Server(uvicorn.Server):
    """A worker that answers what is on its connections before it ends."""

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


def main() -> None:
    """Serve until a signal comes."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m millwright.serving", description="The HTTP API.")
    parser.add_argument("--host", default=settings.api_host)
    parser.add_argument("--port", type=int, default=settings.api_port or 8000)
    parser.add_argument("--workers", type=int, default=settings.api_workers)
    arguments = parser.parse_args()
    config = uvicorn.Config(
        FACTORY,
        factory=True,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        access_log=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        server_header=False,
    )
    if arguments.workers == 1:
        Server(config).run()
        return
    with tempfile.TemporaryDirectory(prefix="millwright-api-") as folder:
        os.environ.setdefault(FOLDER, str(Path(folder)))
        multiprocess.Process = Worker  # type: ignore[misc]
        listener = config.bind_socket()
        logging.getLogger("uvicorn.error").info("%d workers", arguments.workers)
        Workers(config, [listener]).run()


if __name__ == "__main__":
    main()
