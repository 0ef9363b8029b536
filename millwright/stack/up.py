"""Starting and stopping the stack: prepare, take over from a killed supervisor, start in parallel, wait for real answers.

Belongs here: the order of things and what is said when one fails. Does not: how a server runs (its module), supervisord
(supervise), what is shown later (status).
"""

from __future__ import annotations

import fcntl
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

from platformdirs import user_cache_path

from millwright.settings import Settings
from millwright.stack import bootstrap, postgres, runner
from millwright.stack.children import SCHEMA, build, chosen, port_of
from millwright.stack.dagster import LocationError, Webserver, cancel_dangling
from millwright.stack.kafka import Kafka
from millwright.stack.postgres import Postgres
from millwright.stack.server import ServerError, listener, port_is_free
from millwright.stack.state import State
from millwright.stack.supervise import Child, Process, Supervisor, end
from millwright.warehouse.migrate import migrate

START_SECONDS = 150.0
TRIES = 3  # a child that ended so often while it was awaited has failed; two that make the same tables may collide once
Say = Callable[[str], None]


class StartError(ServerError):
    """A child did not start; the message has the last lines of its log and what to do."""


class Stack:
    """The servers of one project on this machine."""

    def __init__(self, settings: Settings, say: Say = lambda line: None) -> None:
        self.settings = settings
        self.state = State(settings)
        self.supervisor = Supervisor(self.state)
        self.say = say

    def children(self, names: set[str] | None = None) -> list[Child]:
        """The children `names`, by default those of the running supervisor, or else all."""
        if names is None:
            names = set(self.supervisor.processes()) if self.supervisor.alive() else chosen(())
        return build(self.state, names, started=self._started)

    def up(self, only: Sequence[str] = ()) -> bool:
        """Start what is not running and return when all of it answers; True if it was up already.

        Raises `StartError` (everything is stopped again) or `ServerError` (nothing was started). State is kept in any case.
        """
        with self._alone():
            children = self.children(chosen(only))
            if self.supervisor.alive():
                return self._join(children)
            if orphans := self.supervisor.left_behind():
                self.say(f"Ending {len(orphans)} processes that a killed supervisor left behind.")
                end(orphans)
            self._require_ports(children)
            self._prepare(children)
            try:
                self.supervisor.launch(children, self._environment({child.name for child in children}))
                self._bring_up(children)
            except BaseException:
                self._stop()
                raise
        return False

    def down(self) -> bool:
        """Stop everything in order; True if anything ran. Also ends what a killed supervisor left behind."""
        if self.supervisor.alive():
            self._stop()
            return True
        self.state.stack_env.unlink(missing_ok=True)
        orphans = self.supervisor.left_behind()
        end(orphans)
        self.state.forget_run()
        return bool(orphans)

    def watch(self, stop: Event) -> bool:
        """Tell of children that end or return until `stop` is set (then True) or the supervisor is gone (then False)."""
        before: dict[str, Process] = {}
        while not stop.wait(1):
            try:
                now = self.supervisor.processes()
            except ServerError:
                return False
            for name, process in now.items():
                if name in before and before[name].state != process.state and process.state not in ("STARTING", "STOPPING"):
                    self.say(f"{name}: {process.state.lower()} ({process.error}); log {self.state.logs / name}.log")
            before = now
        return True

    def _join(self, children: Sequence[Child]) -> bool:
        running = self.supervisor.processes()
        if missing := [child.name for child in children if child.name not in running]:
            raise ServerError(
                f"The stack is up with {', '.join(sorted(running))} only. To have {', '.join(missing)} too: "
                "`millwright down`, then `millwright up`."
            )
        stopped = [child for child in children if running[child.name].state in ("STOPPED", "EXITED", "FATAL")]
        for child in stopped:
            self.supervisor.start(child)
        for child in children:
            self._await(child)
        return not stopped

    def _prepare(self, children: Sequence[Child]) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.settings.inbox.mkdir(parents=True, exist_ok=True)
        self.state.write_connections(self.state.connections({child.name for child in children}))
        with ThreadPoolExecutor(len(children) or 1) as pool:
            list(pool.map(lambda child: child.server.prepare(), children))

    def _environment(self, names: set[str]) -> dict[str, str]:
        paths = {"MILLWRIGHT_PROJECT": self.settings.project, "MILLWRIGHT_HOME": self.settings.home}
        found = self.state.connections(names) | {name: str(path) for name, path in paths.items()} | _bytecode()
        return found | runner.environment(self.settings)

    def _bring_up(self, children: Sequence[Child]) -> None:
        """Start each child once those it comes after answer, all in parallel; the first failure ends the waiting."""
        ready = {name: Event() for name in ("postgres", "redis", "kafka", SCHEMA)} | {child.name: Event() for child in children}
        failed = Event()
        for name in ready.keys() - {child.name for child in children} - {SCHEMA}:
            ready[name].set()  # the user's own server, or not wanted

        def run(name: str, after: Sequence[str], work: Callable[[], None]) -> None:
            for earlier in after:
                while not ready[earlier].wait(0.05):
                    if failed.is_set():
                        return
            try:
                work()
            except BaseException:
                failed.set()
                raise
            ready[name].set()

        launched = time.time()

        def begin(child: Child) -> None:
            started = time.monotonic()
            self.supervisor.start(child)
            version = self._await(child, failed)
            if isinstance(child.server, Postgres):
                self._bootstrap(child.server)
            if isinstance(child.server, Webserver) and (runs := cancel_dangling(child.server.url, launched)):
                self.say(
                    f"Marked {len(runs)} runs as cancelled that were underway when the stack ended; sensors ask for them again."
                )
            self.say(f"{child.name} {version} ({time.monotonic() - started:.1f} s)")

        with ThreadPoolExecutor(len(children) + 1) as pool:
            work: list[Future[None]] = [pool.submit(run, child.name, child.after, partial(begin, child)) for child in children]
            if "MILLWRIGHT_POSTGRES_OWNER_URL" in self.state.connections({child.name for child in children}):
                work.append(pool.submit(run, SCHEMA, ["postgres"], self._migrate))
            try:
                done, _ = wait(work, return_when=FIRST_EXCEPTION)
            except BaseException:
                failed.set()
                raise
            for future in done:
                future.result()

    def _bootstrap(self, server: Postgres) -> None:
        passwords = self.state.passwords
        names = {bootstrap.OWNER: "owner", bootstrap.APP: "app", bootstrap.READER: "reader", bootstrap.DAGSTER: "dagster"}
        bootstrap.ensure_roles(server.url(), {role: passwords[name] for role, name in names.items()})
        bootstrap.ensure_database(server.url(), bootstrap.DATABASE, bootstrap.OWNER)
        bootstrap.ensure_database(server.url(), bootstrap.DAGSTER_DATABASE, bootstrap.DAGSTER)

    def _migrate(self) -> None:
        url = self.state.connections({"postgres"})["MILLWRIGHT_POSTGRES_OWNER_URL"]
        if "MILLWRIGHT_POSTGRES_OWNER_URL" in self.state.external():
            postgres.check(url)
        migrate(url)

    def _await(self, child: Child, failed: Event | None = None) -> str:
        """Wait for the child's answer; returns its version."""
        deadline = time.monotonic() + START_SECONDS
        ends: set[float] = set()
        port = port_of(child.server)
        while True:
            problem = "it does not listen yet"
            try:
                if port is None or not port_is_free(port):
                    return child.server.check()
            except LocationError as error:
                raise StartError(f"{error}\nCorrect that, then `millwright up` again. All data is kept.") from error
            except Exception as error:  # noqa: BLE001 - whatever the client library raises: no answer yet
                problem = str(error)
            process = self.supervisor.processes()[child.name]
            if process.state in ("BACKOFF", "EXITED", "FATAL"):
                problem = process.error
                ends.add(process.stop or process.start)
            if process.state == "FATAL" or len(ends) >= TRIES or time.monotonic() > deadline:
                raise self._failure(child, problem)
            if failed is not None and failed.is_set():
                raise ServerError(f"{child.name} was given up because another server failed.")
            time.sleep(0.1)

    def _failure(self, child: Child, problem: str) -> StartError:
        log = self.supervisor.log_tail(child.name)
        lines = "\n".join(f"  | {line}" for line in log.splitlines()) or "  (it wrote nothing)"
        return StartError(
            f"{child.name} did not start: {problem}\nThe last lines of {self.state.logs / child.name}.log:\n{lines}\n"
            "All data is kept. `millwright doctor` checks disk, ports, Java and permissions; then `millwright up` again."
        )

    def _require_ports(self, children: Sequence[Child]) -> None:
        for child in children:
            ports = [port_of(child.server)]
            if isinstance(child.server, Kafka):
                ports.append(child.server.controller_port)
            for port in filter(None, ports):
                if not port_is_free(port):
                    variable = f"MILLWRIGHT_{child.name.upper().replace('-', '_')}_PORT"
                    choose = f"set {variable} to another, " if child.name in ("api", "webserver", "code-server") else ""
                    raise ServerError(
                        f"Port {port} of {child.name} is taken by {listener(port)}. End that, {choose}or remove "
                        f"{self.state.home / 'ports.json'} to have free ports chosen anew. Nothing was started."
                    )

    def _started(self, name: str) -> float:
        try:
            return self.supervisor.processes()[name].start
        except (ServerError, KeyError):
            return 0.0

    def _stop(self) -> None:
        self.state.stack_env.unlink(missing_ok=True)  # first, so that a watching `up` knows that this was meant
        self.supervisor.stop()
        self.state.forget_run()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up` at a time: a second waits, then finds the first one's stack."""
        self.state.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.state.home / "up.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _bytecode() -> dict[str, str]:
    """Where Python may write no bytecode beside its modules, let it keep it in the user's cache.

    Every run of Dagster is a fresh interpreter: without bytecode it compiles Dagster each time, which triples its start.
    """
    source = getattr(importlib.util.find_spec("dagster"), "origin", None)
    compiled = source is not None and Path(importlib.util.cache_from_source(source)).exists()
    if compiled or not sys.dont_write_bytecode or sys.pycache_prefix:
        return {}
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(user_cache_path("millwright") / "bytecode")}
