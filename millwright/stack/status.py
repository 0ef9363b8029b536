"""What the running stack looks like: health by real round trips, versions, addresses, memory, connections, disk.

Belongs here: gathering it into one model. Does not: how it is printed (commands/stack).
"""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import psycopg
from pydantic import BaseModel

from millwright.online import connect
from millwright.stack import kafka, postgres
from millwright.stack import redis as valkey
from millwright.stack.children import NAMES, port_of
from millwright.stack.server import LOOPBACK, Server, ServerError
from millwright.stack.state import owner_of
from millwright.stack.supervise import Process
from millwright.stack.up import Stack


class ServerStatus(BaseModel):
    """One server: healthy is a real answer in its own protocol; stopped means that it was not asked for."""

    name: str
    state: Literal["healthy", "unhealthy", "stopped"]
    version: str | None = None
    address: str | None = None
    ours: bool = True
    pid: int | None = None
    seconds_up: int | None = None
    bytes_on_disk: int | None = None
    problem: str | None = None


class Status(BaseModel):
    """The stack of one project. Sizes in bytes; `ok` when everything that was started answers."""

    ok: bool
    up: bool
    home: Path
    servers: list[ServerStatus]
    bytes_free: int
    postgres_connections: int | None = None
    postgres_connection_limit: int | None = None
    redis_memory_bytes: int | None = None
    redis_memory_limit_bytes: int | None = None
    webserver: str | None = None
    api: str | None = None
    inbox: Path
    logs: Path


def status(stack: Stack) -> Status:
    """Ask every server once, all at the same time; what does not answer within some seconds is unhealthy."""
    up = stack.supervisor.alive()
    processes = stack.supervisor.processes() if up else {}
    children = {child.name: child.server for child in stack.children(set(processes) or None)}
    external = {owner_of(variable): value for variable, value in stack.state.external().items() if "READER" not in variable}
    with ThreadPoolExecutor(len(NAMES)) as pool:

        def look(name: str) -> ServerStatus:
            if name in external:
                return _external(name, stack.state.external())
            if name not in processes:
                return ServerStatus(name=name, state="stopped", bytes_on_disk=folder_bytes(stack.state.home / name))
            return _child(stack, children[name], processes[name])

        servers = list(pool.map(look, NAMES))
    used = shutil.disk_usage(_existing(stack.state.home))
    report = Status(
        ok=up
        and all(server.state == "healthy" or (server.state == "stopped" and server.name not in processes) for server in servers),
        up=up,
        home=stack.state.home,
        servers=servers,
        bytes_free=used.free,
        inbox=stack.settings.inbox,
        logs=stack.state.logs,
    )
    healthy = {server.name for server in servers if server.state == "healthy"}
    connections = stack.state.connections(set(NAMES))
    if "postgres" in healthy:
        _postgres_use(report, connections["MILLWRIGHT_POSTGRES_OWNER_URL"])
    if "redis" in healthy:
        _redis_use(report, connections["MILLWRIGHT_REDIS_URL"])
    for name in ("webserver", "api"):
        if name in processes:
            setattr(report, name, f"http://{LOOPBACK}:{stack.state.ports[name]}")
    return report


def folder_bytes(folder: Path) -> int | None:
    """Bytes of all files below a folder; None if there is no such folder."""
    if not folder.is_dir():
        return None
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat(follow_symlinks=False).st_size if not path.is_dir() else 0
        except OSError:
            continue  # removed meanwhile, or another user's
    return total


def _child(stack: Stack, server: Server, process: Process) -> ServerStatus:
    port = port_of(server)
    found = ServerStatus(
        name=server.name,
        state="unhealthy",
        address=f"{LOOPBACK}:{port}" if port else None,
        pid=process.pid or None,
        seconds_up=max(0, int(time.time() - process.start)) if process.pid else None,
        bytes_on_disk=folder_bytes(stack.state.home / server.name),
    )
    try:
        found.version = server.check()
        found.state = "healthy"
    except Exception as error:  # noqa: BLE001 - whatever its client raises is the reason
        found.problem = str(error).strip() if process.state == "RUNNING" else f"{process.state.lower()}: {process.error}"
    return found


def _external(name: str, connections: dict[str, str]) -> ServerStatus:
    checks = {"postgres": postgres.check, "redis": valkey.check, "kafka": kafka.check}
    variables = {"postgres": "MILLWRIGHT_POSTGRES_URL", "redis": "MILLWRIGHT_REDIS_URL", "kafka": "MILLWRIGHT_KAFKA_BOOTSTRAP"}
    address = connections[variables[name]]
    found = ServerStatus(name=name, state="unhealthy", ours=False, address=address.rpartition("@")[2].split("?")[0])
    try:
        found.version = checks[name](address)
        found.state = "healthy"
    except Exception as error:  # noqa: BLE001 - whatever its client raises is the reason
        found.problem = str(error).strip()
    return found


def _postgres_use(report: Status, url: str) -> None:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(
                "SELECT sum(numbackends)::int, current_setting('max_connections')::int FROM pg_stat_database"
            ).fetchone()
    except psycopg.Error as error:
        raise ServerError(f"PostgreSQL answered once and then did not: {error}") from error
    assert row is not None
    report.postgres_connections, report.postgres_connection_limit = row


def _redis_use(report: Status, url: str) -> None:
    with connect.client(url, socket_timeout=5) as client:
        memory = [server.info("memory") for server in connect.primaries(client)]
    report.redis_memory_bytes = sum(int(each["used_memory"]) for each in memory)
    report.redis_memory_limit_bytes = sum(int(each["maxmemory"]) for each in memory)


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
