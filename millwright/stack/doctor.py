"""What could keep the stack from starting, examined without starting it.

Belongs here: one function a check, each with advice. Does not: health of what runs (status).
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Literal

from pydantic import BaseModel

from millwright.stack import jars
from millwright.stack.children import port_of
from millwright.stack.kafka import java
from millwright.stack.postgres import binary as postgres_binary
from millwright.stack.redis import binary as valkey_binary
from millwright.stack.server import ServerError, listener, port_is_free
from millwright.stack.status import folder_bytes
from millwright.stack.up import Stack

LITTLE_DISK, NO_DISK = 5 * 10**9, 10**9


class Check(BaseModel):
    """One thing looked at: what was found and, where it is not right, what to do."""

    name: str
    result: Literal["ok", "warning", "error"]
    found: str
    advice: str = ""


class Report(BaseModel):
    """All checks; `code` is the command's exit code."""

    checks: list[Check]

    @property
    def code(self) -> int:
        """0 all right, 3 with a warning, 1 with an error."""
        results = {check.result for check in self.checks}
        return 1 if "error" in results else 3 if "warning" in results else 0


def examine(stack: Stack) -> Report:
    """Run every check; none changes anything but the choice of ports."""
    looks: list[Callable[[Stack], Iterator[Check]]] = [_project, _disk, _packages, _java, _jars, _ports, _files, _open_files]
    return Report(checks=[check for look in looks for check in look(stack)])


def _project(stack: Stack) -> Iterator[Check]:
    for name in ("dagster.yaml", "workspace.yaml", "feature_repo", "platform_assets"):
        path = stack.settings.project / name
        if not path.exists():
            yield Check(name="project", result="error", found=f"{path} is missing", advice="Run in the project's folder.")


def _disk(stack: Stack) -> Iterator[Check]:
    folder = stack.state.home if stack.state.home.exists() else stack.settings.project
    free = shutil.disk_usage(folder).free
    result: Literal["ok", "warning", "error"] = "error" if free < NO_DISK else "warning" if free < LITTLE_DISK else "ok"
    used = folder_bytes(stack.state.home) or 0
    advice = (
        ""
        if result == "ok"
        else f"The state folder uses {used / 1e9:.1f} GB. Free some space, or set MILLWRIGHT_HOME to a larger disk."
    )
    yield Check(name="disk", result=result, found=f"{free / 1e9:.1f} GB free for {stack.state.home}", advice=advice)


def _packages(stack: Stack) -> Iterator[Check]:
    def postgres() -> str:
        return _output([str(postgres_binary("postgres")), "--version"])

    def valkey() -> str:
        return _output([str(valkey_binary()), "--version"])

    for name, look in {"PostgreSQL": postgres, "Valkey": valkey}.items():
        yield _try(name, look)


def _java(stack: Stack) -> Iterator[Check]:
    yield _try("Java", lambda: _output([str(java()), "--version"]))


def _jars(stack: Stack) -> Iterator[Check]:
    folder = jars.cache_folder()
    wanted = jars.broken(folder)
    if wanted:
        found = f"{len(wanted)} of {len(jars.pinned())} jars are missing or broken in {folder}"
        yield Check(
            name="Kafka's jars", result="warning", found=found, advice="The next `millwright up` fetches them (44 MB, network)."
        )
    else:
        yield Check(name="Kafka's jars", result="ok", found=f"{len(jars.pinned())} verified in {folder}")


def _ports(stack: Stack) -> Iterator[Check]:
    up = stack.supervisor.alive()
    for child in stack.children():
        port = port_of(child.server)
        if port is None:
            continue
        if up or port_is_free(port):
            yield Check(name=f"port of {child.name}", result="ok", found=str(port))
        else:
            yield Check(
                name=f"port of {child.name}",
                result="error",
                found=f"{port} is taken by {listener(port)}",
                advice=f"End that, or remove {stack.state.home / 'ports.json'} to have free ports chosen anew.",
            )


def _files(stack: Stack) -> Iterator[Check]:
    home = stack.state.home
    names = ("secrets.json", "stack.env", "supervisord.conf", "redis/valkey.conf")
    loose = [home / name for name in names if (home / name).exists() and (home / name).stat().st_mode & 0o077]
    for path in loose:
        yield Check(
            name="permissions",
            result="error",
            found=f"others can read {path}",
            advice=f"chmod 600 '{path}'",
        )
    if not loose:
        yield Check(name="permissions", result="ok", found="files with passwords are readable by their owner alone")


def _open_files(stack: Stack) -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1024:
        yield Check(name="open files", result="warning", found=f"limit {soft} (hard {hard})", advice="ulimit -n 4096")


def _try(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, result="ok", found=look())
    except ServerError as error:
        return Check(name=name, result="error", found=str(error))
    except (OSError, subprocess.SubprocessError) as error:
        return Check(
            name=name, result="error", found=str(error), advice="Its binary does not run on this machine; name a server of yours."
        )


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip().splitlines()[0]
