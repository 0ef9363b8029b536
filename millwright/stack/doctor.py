"""What could keep the stack from starting, and whether received files and tiles are whole, examined without starting it.

Belongs here: one function a check, each with advice. Does not: health of what runs (status).
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

import psycopg
from pydantic import BaseModel

from millwright.definitions import DefinitionErrors, load
from millwright.landing.zone import inspect
from millwright.stack import jars
from millwright.stack.children import port_of
from millwright.stack.kafka import java
from millwright.stack.postgres import binary as postgres_binary
from millwright.stack.redis import binary as valkey_binary
from millwright.stack.server import ServerError, listener, port_is_free
from millwright.stack.status import folder_bytes
from millwright.stack.up import Stack
from millwright.warehouse.connect import connect

if TYPE_CHECKING:
    from millwright.features.verify import TilesReport

_TOLD = 20
_STRETCHES = 200  # of one entity and day
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


def examine(stack: Stack, *, every_file: bool = False, tiles: bool = False) -> Report:
    """Run every check; none changes anything but the choice of ports. `every_file`: read all received bytes, not a sample.
    `tiles`: compute a sample of every view's tiles again."""
    looks: list[Callable[[Stack], Iterator[Check]]] = [_project, _disk, _packages, _java, _jars, _ports, _files, _open_files]
    looks.append(partial(_landing_zone, every=every_file))
    looks += [_tiles] if tiles else []
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


def _landing_zone(stack: Stack, *, every: bool) -> Iterator[Check]:
    zone = stack.settings.zone
    name, found = "landing zone", f"{(folder_bytes(zone) or 0) / 1e6:,.1f} MB in {zone}"
    if stack.settings.postgres_url is None:
        yield Check(name=name, result="ok", found=f"{found}; not compared with the ledger, because no database is up")
        return
    try:
        with connect(stack.settings.require("postgres_url"), autocommit=True) as conn:
            seen = inspect(conn, stack.settings, every=every)
    except psycopg.Error as error:
        why = str(error).strip().splitlines()[0]
        yield Check(name=name, result="warning", found=f"{found}; the ledger cannot be read: {why}", advice="millwright status")
        return
    except OSError as error:
        yield Check(name=name, result="error", found=f"{error}", advice="Check the disk and the rights of its folder.")
        return
    strays = f"; {seen.strays} of no delivery (`millwright prune` removes them)" if seen.strays else ""
    how = "all" if seen.checked == seen.expected else f"{seen.checked} of them; --all-files reads all"
    yield Check(name=name, result="ok", found=f"{found}: {seen.expected} received files; SHA-256 compared of {how}{strays}")
    for lost in seen.lost[:_TOLD]:
        what = f"{lost.file_name} of batch {lost.batch_id} is {'damaged' if lost.damaged else 'missing'}"
        yield Check(
            name=name,
            result="error",
            found=f"{what} (SHA-256 {lost.sha256})",
            advice="Deliver the very file again: it takes its place. Its rows are as they were; only a replay needs the file.",
        )
    if len(seen.lost) > _TOLD:
        yield Check(name=name, result="error", found=f"and {len(seen.lost) - _TOLD} more files are missing or damaged")


def _tiles(stack: Stack) -> Iterator[Check]:
    from millwright.features.verify import verify_tiles

    settings, name = stack.settings, "tiles"
    if settings.postgres_url is None:
        yield Check(name=name, result="warning", found="not compared, because no database is up", advice="millwright up")
        return
    try:
        with connect(settings.require("postgres_url"), autocommit=True) as conn:
            definitions = load(settings.feature_repo)
            for view in definitions.feature_views.values():
                yield from _tiles_of(verify_tiles(conn, settings, definitions, view, sample=_STRETCHES))
    except (psycopg.Error, DefinitionErrors) as error:
        why = str(error).strip().splitlines()[0]
        yield Check(name=name, result="warning", found=f"not compared: {why}", advice="millwright status")


def _tiles_of(report: TilesReport) -> Iterator[Check]:
    name = f"tiles of {report.view_id}"
    if not report.believed:
        yield Check(name=name, result="ok", found="not compared: never refreshed, or made anew by the next refresh")
    elif not report.wrong:
        yield Check(
            name=name, result="ok", found=f"{report.tiles:,} tiles in {report.stretches} random stretches are what the rows give"
        )
    for wrong in report.wrong[:_TOLD]:
        columns = f" in {', '.join(wrong.columns)}" if wrong.columns else ""
        yield Check(
            name=name,
            result="error",
            found=f"{'/'.join(wrong.keys)} from {wrong.begins:%Y-%m-%d %H:%M:%S} ({wrong.seconds:g} s): {wrong.what}{columns}",
            advice=f"millwright backfill {report.view_id} --from {report.first_day} --to {datetime.now(UTC).date()} "
            "makes tiles and rows anew, from the warehouse. Please report how it came.",
        )
    if len(report.wrong) > _TOLD:
        yield Check(name=name, result="error", found=f"and {len(report.wrong) - _TOLD} more")


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
