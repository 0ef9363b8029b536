"""What the stack remembers in the state folder: ports, passwords, the connections it hands out (`stack.env`).

Belongs here: finding ports once, generating passwords once, private files. Does not: starting anything (up).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from millwright.settings import ENV_PREFIX, STACK_ENV, Settings
from millwright.stack import bootstrap
from millwright.stack.server import LOOPBACK, ServerError, port_is_free, write_private

PASSWORDS = ("superuser", "owner", "app", "reader", "dagster", "redis")
# A browser's two are asked for by name; the others lie below the range that systems give to outgoing connections.
PREFERRED = {"webserver": 3000, "api": 8000}
OTHERS = ("postgres", "redis", "kafka", "kafka_controller", "code_server")
FIRST, LAST = 17_000, 30_000
SOCKET_LIMIT = 100  # bytes of a Unix socket's path that every system takes


class State:
    """The state folder of one project's stack. Nothing is written before `ports` or `passwords` is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home = settings.home

    @property
    def logs(self) -> Path:
        """One log a child, rotated."""
        return self.home / "logs"

    @property
    def stack_env(self) -> Path:
        """The connections of the running stack, read by `Settings`."""
        return self.home / STACK_ENV

    @cached_property
    def run(self) -> Path:
        """Folder of the supervisor's socket: in the state folder, or a private temporary one where that path is too long."""
        folder = self.home / "run"
        if len(os.fsencode(folder / "supervisor.sock")) > SOCKET_LIMIT:
            name = f"millwright-{os.getuid()}-{zlib.crc32(os.fsencode(self.home)):08x}"
            folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise ServerError(f"{folder} belongs to another user: remove it, or set TMPDIR to a folder of yours.")
        folder.chmod(0o700)
        return folder

    def forget_run(self) -> None:
        """Remove the socket's folder where it is a temporary one; the supervisor must have ended."""
        if self.home not in self.run.parents:
            shutil.rmtree(self.run, ignore_errors=True)
        self.__dict__.pop("run", None)

    @cached_property
    def passwords(self) -> dict[str, str]:
        """Generated once, kept in a file that only its owner can read."""
        path = self.home / "secrets.json"
        kept: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        missing = [name for name in PASSWORDS if name not in kept]
        if missing:
            kept |= {name: secrets.token_urlsafe(24) for name in missing}
            write_private(path, json.dumps(kept, indent=2) + "\n")
        return kept

    @cached_property
    def ports(self) -> dict[str, int]:
        """Found once and kept, so that bookmarks survive; MILLWRIGHT_API_PORT, …_WEBSERVER_PORT, …_CODE_SERVER_PORT win."""
        path = self.home / "ports.json"
        kept: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        before = dict(kept)
        for name in ("webserver", "api", "code_server"):
            if chosen := os.environ.get(f"{ENV_PREFIX}{name.upper()}_PORT"):
                kept[name] = int(chosen)
        for name, preferred in PREFERRED.items():
            if name not in kept:
                kept[name] = self._find(preferred, set(kept.values()))
        start = FIRST + zlib.crc32(os.fsencode(self.home)) % (LAST - FIRST)
        for name in OTHERS:
            if name not in kept:
                kept[name] = self._find(start, set(kept.values()))
        if kept != before:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
        return kept

    def embedded(self) -> dict[str, str]:
        """Variable → value of every connection to an embedded server."""
        ports, passwords = self.ports, self.passwords

        def postgres(role: str, password: str, database: str, scheme: str = "postgresql") -> str:
            return f"{scheme}://{role}:{passwords[password]}@{LOOPBACK}:{ports['postgres']}/{database}"

        return {
            "MILLWRIGHT_POSTGRES_URL": postgres(bootstrap.APP, "app", bootstrap.DATABASE),
            "MILLWRIGHT_POSTGRES_OWNER_URL": postgres(bootstrap.OWNER, "owner", bootstrap.DATABASE),
            "MILLWRIGHT_POSTGRES_READER_URL": postgres(bootstrap.READER, "reader", bootstrap.DATABASE),
            "MILLWRIGHT_DAGSTER_POSTGRES_URL": postgres(
                bootstrap.DAGSTER, "dagster", bootstrap.DAGSTER_DATABASE, "postgresql+psycopg2"
            ),
            "MILLWRIGHT_REDIS_URL": f"redis://:{passwords['redis']}@{LOOPBACK}:{ports['redis']}/0",
            "MILLWRIGHT_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{ports['kafka']}",
        }

    def external(self) -> dict[str, str]:
        """Variable → value of every connection that the user points at a server of theirs (environment or secret file).

        Raises `ServerError` when a PostgreSQL of theirs is named by some of its four variables only.
        """
        ours = self.embedded()
        folder = os.environ.get(f"{ENV_PREFIX}SECRETS_DIR")
        found = {}
        for name, embedded in ours.items():
            value = os.environ.get(name)
            if value is None and folder:
                files = [path for path in Path(folder).glob("*") if path.name.upper() == name]
                value = files[0].read_text(encoding="utf-8").strip() if files else None
            if value and value != embedded:  # a shell after `millwright env` names our own servers
                found[name] = value
        postgres = {name for name in ours if "POSTGRES" in name}
        if (named := postgres & found.keys()) and named != postgres:
            raise ServerError(
                f"{', '.join(sorted(named))} names a PostgreSQL of yours, but {', '.join(sorted(postgres - named))} is not set. "
                "Set all four (docs/operations.md says which role each needs), or none for the embedded server."
            )
        if url := found.get("MILLWRIGHT_DAGSTER_POSTGRES_URL"):
            found["MILLWRIGHT_DAGSTER_POSTGRES_URL"] = psycopg2_url(url)
        return found

    def connections(self, names: set[str]) -> dict[str, str]:
        """What `stack.env` holds when the children `names` run: their connections and ports, and the user's own servers."""
        external, embedded = self.external(), self.embedded()
        found = {
            variable: external.get(variable, value)
            for variable, value in embedded.items()
            if variable in external or owner_of(variable) in names
        }
        found[f"{ENV_PREFIX}CODE_SERVER_HOST"] = LOOPBACK
        for name in ("api", "webserver", "code_server"):
            found[f"{ENV_PREFIX}{name.upper()}_PORT"] = str(self.ports[name])
        return found

    def write_connections(self, values: Mapping[str, str]) -> None:
        """Write `stack.env` (0600)."""
        write_private(self.stack_env, "".join(f"{name}={_quoted(value)}\n" for name, value in values.items()))

    def redact(self, text: str) -> str:
        """The text without our passwords: other programs' messages may quote their environment."""
        for password in self.passwords.values():
            text = text.replace(password, "…")
        return text

    def _find(self, start: int, taken: set[int]) -> int:
        for port in range(start, start + 500):
            if port not in taken and port_is_free(port):
                return port
        raise ServerError(f"No free port from {start} to {start + 499} on {LOOPBACK}.")


def owner_of(variable: str) -> str:
    """The embedded server that a connection variable is about: postgres, redis or kafka."""
    return next(name for name in ("postgres", "redis", "kafka") if name in variable.lower())


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def psycopg2_url(url: str) -> str:
    """The URL in the form that Dagster's storage needs beside psycopg 3 (dagster #33958)."""
    scheme, rest = url.split("://", 1)
    return f"postgresql+psycopg2://{rest}" if scheme in ("postgres", "postgresql") else f"{scheme}://{rest}"
