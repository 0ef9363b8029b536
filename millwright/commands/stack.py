"""Commands of the stack: up, down, status, doctor, psql, env. Does not: how the stack is run (stack/)."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import click
import psycopg.conninfo
from pydantic import BaseModel

from millwright.commands.output import Done, command, rows, size
from millwright.settings import Settings
from millwright.stack.server import ServerError

if TYPE_CHECKING:
    from millwright.stack.status import Status
    from millwright.stack.up import Stack


def _say(line: str) -> None:
    click.echo(line, err=True)


def _stack() -> Stack:
    from millwright.stack.up import Stack

    return Stack(Settings(), _say)


def _status_text(status: Status) -> Any:
    from rich.console import Group

    shown = ["name", "state", "version", "address", "pid"]
    facts = [f"free disk {size(status.bytes_free)}"]
    if status.postgres_connections is not None:
        facts.append(f"Postgres connections {status.postgres_connections} of {status.postgres_connection_limit}")
    if status.redis_memory_bytes is not None and status.redis_memory_limit_bytes is not None:
        limit = size(status.redis_memory_limit_bytes) if status.redis_memory_limit_bytes else "no limit"
        facts.append(f"Redis memory {size(status.redis_memory_bytes)} of {limit}")
    on_disk = [f"{one.name} {size(one.bytes_on_disk)}" for one in status.servers if one.bytes_on_disk]
    addresses = [("Dagster", status.webserver), ("API", status.api), ("Inbox", status.inbox), ("Logs", status.logs)]
    lines = [f"{title:<8} {address}" for title, address in addresses if address]
    problems = [f"[red]{one.name}: {one.problem}[/red]" for one in status.servers if one.problem]
    head = [] if status.up else ["[yellow]The stack is not up. `millwright up` starts it.[/yellow]"]
    return Group(
        *head,
        rows(status.servers, shown),
        *problems,
        "",
        *lines,
        "",
        ", ".join(facts),
        *([f"on disk: {', '.join(on_disk)}"] if on_disk else []),
    )


@command(text=_status_text)
@click.option("--only", default="", metavar="NAMES", help="Only these and what they need: postgres,redis,kafka,dagster,api.")
@click.option("--detach", is_flag=True, help="Return when all of it answers; `millwright down` stops it.")
def up(only: str, detach: bool) -> Iterator[Done]:
    """Start the servers, Dagster and the API, and keep them running until Ctrl-C.

    Real PostgreSQL, Valkey and Kafka, each with its data in the state folder. MILLWRIGHT_POSTGRES_URL, MILLWRIGHT_REDIS_URL
    and MILLWRIGHT_KAFKA_BOOTSTRAP replace one by a server of yours.
    """
    from millwright.stack.children import chosen
    from millwright.stack.status import status

    stack, stop = _stack(), Event()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as Ctrl-C: what was started so far is stopped
    names = [name.strip() for name in only.split(",") if name.strip()]
    try:
        chosen(names)
    except ServerError as error:
        raise click.UsageError(str(error)) from error
    already = stack.up(names)
    if already:
        _say("It is up already.")
    elif not detach:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: stop.set())
    report = status(stack)
    yield Done(report, code=0 if report.ok else 1)
    if already or detach:
        return
    _say("Ctrl-C stops it.")
    if not stack.watch(stop) and stack.state.stack_env.exists():
        raise ServerError("The supervisor was killed. `millwright up` ends what it left behind and starts anew; data is kept.")
    if stop.is_set():
        _say("Stopping.")
        stack.down()


class Stopped(BaseModel):
    """What `down` did."""

    was_up: bool
    seconds: float


@command(text=lambda done: f"Stopped in {done.seconds:.1f} s." if done.was_up else "It was not up.")
def down() -> Stopped:
    """Stop all of it, in order: what takes work first, the databases last."""
    began = time.monotonic()
    was_up = _stack().down()
    return Stopped(was_up=was_up, seconds=round(time.monotonic() - began, 1))


@command(text=_status_text)
def status() -> Done:
    """Health, versions, addresses, memory and disk. Exit code 1 when something does not answer or nothing is up."""
    from millwright.stack.status import status

    report = status(_stack())
    return Done(report, code=0 if report.ok else 1)


def _doctor_text(report: Any) -> Any:
    marks = {"ok": "[green]ok[/green]     ", "warning": "[yellow]warning[/yellow]", "error": "[red]error[/red]  "}
    from rich.markup import escape

    return "\n".join(
        f"{marks[check.result]}  {check.name}: {escape(check.found)}"
        + (f"\n         {escape(check.advice)}" if check.advice else "")
        for check in report.checks
    )


@command(text=_doctor_text)
@click.option("--all-files", is_flag=True, help="Compare the SHA-256 of every received file, not of a sample.")
@click.option("--tiles", is_flag=True, help="Compute a sample of every view's tiles again from the warehouse's rows.")
def doctor(all_files: bool, tiles: bool) -> Done:
    """Check disk, ports, Java, packages, permissions and received files. Exit code 1 for an error, 3 for a warning."""
    from millwright.stack.doctor import examine

    report = examine(_stack(), every_file=all_files, tiles=tiles)
    return Done(report, code=report.code)


class Psql(BaseModel):
    """The program and the connection that `psql` opens; the password is handed over in the environment."""

    program: Path
    host: str
    port: int
    database: str
    user: str


@command(context_settings={"ignore_unknown_options": True})
@click.option("--show", is_flag=True, help="Only print what would be opened.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(show: bool, arguments: tuple[str, ...]) -> Psql | None:
    """Open psql as the reader: catalog, warehouse and features, nothing can be changed. ARGUMENTS go to psql."""
    from millwright.stack.postgres import binary

    variables = _libpq(Settings().require("postgres_reader_url"))
    found = Psql(
        program=binary("psql"),
        host=variables["PGHOST"],
        port=int(variables["PGPORT"]),
        database=variables["PGDATABASE"],
        user=variables["PGUSER"],
    )
    if show:
        return found
    os.execve(found.program, [str(found.program), *arguments], {**os.environ, **variables})


class Variables(BaseModel):
    """Environment variables for a shell or a program. They hold the reader's password."""

    variables: dict[str, str]


def _exports(found: Variables) -> str:
    from rich.markup import escape

    return escape("\n".join(f"export {name}={shlex.quote(value)}" for name, value in found.variables.items()))


@command(text=_exports)
def env() -> Variables:
    """Print export lines: `eval "$(millwright env)"` gives psql and programs the reader's connection, Redis and Kafka."""
    settings = Settings()
    reader = settings.require("postgres_reader_url")
    found = {"MILLWRIGHT_POSTGRES_READER_URL": reader, **_libpq(reader)}
    if settings.redis_url is not None:
        found["MILLWRIGHT_REDIS_URL"] = settings.redis_url.get_secret_value()
    if settings.kafka_bootstrap is not None:
        found["MILLWRIGHT_KAFKA_BOOTSTRAP"] = settings.kafka_bootstrap
    return Variables(variables=found)


def _libpq(url: str) -> dict[str, str]:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    names = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
    return {"PGPORT": "5432"} | {names[key]: str(value) for key, value in parts.items() if key in names and value is not None}
