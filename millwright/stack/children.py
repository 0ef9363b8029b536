"""Which children the stack has, what each needs, and in which order they stop.

Belongs here: the list. Does not: how a child is run (its own module), starting and waiting (up).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable

from millwright.stack.api import Api
from millwright.stack.dagster import CodeServer, Daemon, Webserver
from millwright.stack.kafka import Kafka
from millwright.stack.postgres import Postgres
from millwright.stack.redis import Valkey
from millwright.stack.runner import Runner
from millwright.stack.server import Server, ServerError
from millwright.stack.state import State, owner_of
from millwright.stack.supervise import Child

DAGSTER = ("code-server", "runner", "webserver", "daemon")
ALIASES = {"dagster": DAGSTER, "valkey": ("redis",)}
FORKS = sys.platform == "linux"  # elsewhere libraries do not survive a fork: the code server starts the runs
SCHEMA = "schema"  # not a process: the platform's tables, which `up` brings to the newest revision
# What `--only` takes along, and what must answer before a child is started. The code server needs no other to load definitions.
NEEDS = {
    "code-server": ("postgres",),
    "webserver": ("postgres", "code-server"),
    "runner": ("postgres",),
    "daemon": ("postgres", "code-server", "runner", "webserver"),
    "api": ("postgres", "redis"),
}
AFTER = {
    "webserver": ("postgres", "code-server"),
    "daemon": (SCHEMA, "code-server"),
    "api": (SCHEMA, "redis"),
}
LEVELS = {"postgres": 1, "redis": 1, "kafka": 1, "code-server": 2, "runner": 2, "webserver": 3, "daemon": 3, "api": 3}
NAMES = tuple(LEVELS)


def chosen(only: Iterable[str]) -> set[str]:
    """The children of `--only`, with what they need; all when nothing is named. Raises `ServerError` on an unknown name."""
    names = {child for name in only for child in ALIASES.get(name, (name,))}
    if unknown := names - set(NAMES):
        raise ServerError(f"No server is named {', '.join(sorted(unknown))}. There are: {', '.join([*NAMES, *ALIASES])}.")
    names = names or set(NAMES)
    while missing := {need for name in names for need in NEEDS.get(name, ())} - names:
        names |= missing
    return names


def build(state: State, names: set[str], started: Callable[[str], float] = lambda name: 0.0) -> list[Child]:
    """The children `names` without those that a server of the user's replaces. `started(name)`: when it was started."""
    replaced = {owner_of(variable) for variable in state.external()}
    ports, passwords, home = state.ports, state.passwords, state.home
    makers: dict[str, Callable[[], Server]] = {
        "postgres": lambda: Postgres(home / "postgres", ports["postgres"], passwords["superuser"]),
        "redis": lambda: Valkey(home / "redis", ports["redis"], passwords["redis"]),
        "kafka": lambda: Kafka(home / "kafka", ports["kafka"], ports["kafka_controller"]),
        "code-server": lambda: CodeServer(state.settings, ports["code_server"]),
        "runner": lambda: Runner(state.settings),
        "webserver": lambda: Webserver(state.settings, ports["webserver"]),
        "daemon": lambda: Daemon(state.settings, ports["webserver"], lambda: started("daemon")),
        "api": lambda: Api(ports["api"]),
    }
    return [
        Child(makers[name](), LEVELS[name], AFTER.get(name, ()), steady_seconds=1 if LEVELS[name] == 1 else 8)
        for name in NAMES
        if name in names and name not in replaced and (name != "runner" or FORKS)
    ]


def port_of(server: Server) -> int | None:
    """The port that a child itself listens on."""
    return None if isinstance(server, Daemon) else getattr(server, "port", None)
