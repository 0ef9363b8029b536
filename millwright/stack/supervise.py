"""supervisord for our children: its configuration, its lifetime, its XML-RPC, and what it left behind when it was killed.

Belongs here: everything that knows `supervisor`. Does not: which children there are and their order of start (children, up).
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, cast

import psutil

from millwright.stack.server import Server, ServerError, write_private
from millwright.stack.state import State

MARK = "MILLWRIGHT_STACK"  # in the environment of everything below the supervisor: its state folder
REWRITERS = ("postgres", "valkey-server")  # show a title where their environment was; they work in their data folder
STOP_SECONDS = 14.5
# Level → seconds until a child that does not stop is killed; their sum bounds `down`. A daemon waits for a sensor's long poll,
# whose cursor is kept only at its end: killing both loses nothing.
PATIENCE = {3: 3, 2: 4, 1: 7}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
RETRIES = 30  # each try waits a second longer than the last


@dataclass(frozen=True)
class Child:
    """A server under supervision. Children of a higher level are stopped first; those of one level together."""

    server: Server
    level: int
    after: tuple[str, ...] = ()  # names that must answer before it is started
    steady_seconds: int = 1  # one that ends sooner has failed to start, and the next try waits longer

    @property
    def name(self) -> str:
        """The server's name."""
        return self.server.name


@dataclass(frozen=True)
class Process:
    """What the supervisor knows about a child: its state in supervisor's words, pid, time of start, failures in words."""

    state: str
    pid: int
    start: float
    stop: float
    error: str


class Supervisor:
    """The supervisord of one state folder, running or not."""

    def __init__(self, state: State) -> None:
        self.state = state

    @property
    def socket(self) -> Path:
        """Where it listens for us alone."""
        return self.state.run / "supervisor.sock"

    def alive(self) -> bool:
        """True if it answers."""
        try:
            return bool(self._call("supervisor.getState"))
        except ServerError:
            return False

    def processes(self) -> dict[str, Process]:
        """Every child by name; raises `ServerError` when the supervisor does not answer."""
        return {
            info["name"]: Process(
                info["statename"], info["pid"], info["start"], info["stop"], info["spawnerr"] or info["description"]
            )
            for info in self._call("supervisor.getAllProcessInfo")
        }

    def launch(self, children: Sequence[Child], environment: Mapping[str, str]) -> None:
        """Start supervisord in its own session with all children stopped. Raises `ServerError` when it does not come up."""
        self.state.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = self.state.home / "supervisord.conf"
        write_private(configuration, _safe(self._configuration(children)))
        self.socket.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.state.logs / "supervisord.err").open("wb"),
            env={**os.environ, **environment, MARK: str(self.state.home)},
            cwd=self.state.settings.project,
            start_new_session=True,  # Ctrl-C is for `up`, which then stops the tree in order
        )
        deadline = time.monotonic() + 20
        while not self.alive():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                reason = self.state.redact((self.state.logs / "supervisord.err").read_text(errors="replace")).strip()
                raise ServerError(
                    f"The supervisor did not start: {reason or 'no answer'}\nIts log is {self.state.logs / 'supervisord.log'}."
                )
            time.sleep(0.05)

    def start(self, child: Child) -> None:
        """Ask for a child to be started; does not wait."""
        self._call("supervisor.startProcess", f"level{child.level}:{child.name}", False)

    def stop(self) -> None:
        """Stop every child, higher levels first, then the supervisor; what does not end in `STOP_SECONDS` is killed."""
        try:
            self._call("supervisor.shutdown")
        except ServerError:
            end(self.left_behind())
            return
        deadline = time.monotonic() + STOP_SECONDS
        while (left := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        end(left, grace=0)

    def left_behind(self) -> list[psutil.Process]:
        """Processes that a supervisor of this state folder started, itself among them, in order of start."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and self._is_ours(process):
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=psutil.Process.create_time)

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.name() in REWRITERS:
            return self.state.home in Path(process.cwd()).parents
        return process.environ().get(MARK) == str(self.state.home)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a child's log."""
        path = self.state.logs / f"{name}.log"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16_384))
            text = _COLOURS.sub("", file.read().decode(errors="replace"))
        return self.state.redact("\n".join(text.rstrip().splitlines()[-lines:]))

    def _call(self, method: str, *arguments: Any) -> Any:
        from supervisor.xmlrpc import SupervisorTransport

        transport = SupervisorTransport(None, None, f"unix://{self.socket}")
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=cast(Any, transport)) as proxy:
                return getattr(proxy, method)(*arguments)
        except (OSError, HTTPException, xmlrpc.client.Error) as error:
            raise ServerError(f"The supervisor of {self.state.home} does not answer: {error}") from error

    def _configuration(self, children: Sequence[Child]) -> str:
        logs, lines = self.state.logs, []
        lines += ["[unix_http_server]", f"file={_escaped(self.socket)}", "chmod=0700", ""]
        lines += ["[supervisord]", f"logfile={_escaped(logs / 'supervisord.log')}", "logfile_maxbytes=5MB", "logfile_backups=2"]
        lines += [f"pidfile={_escaped(self.state.run / 'supervisord.pid')}", f"childlogdir={_escaped(logs)}", "umask=022"]
        lines += [f"user={os.getuid()}"] if os.getuid() == 0 else []
        lines += ["", "[rpcinterface:supervisor]"]
        lines += ["supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface", ""]
        for child in children:
            lines += self._program(child)
        for level in sorted({child.level for child in children}):
            names = ",".join(child.name for child in children if child.level == level)
            lines += [f"[group:level{level}]", f"programs={names}", f"priority={level}", ""]
        return "\n".join(lines)

    def _program(self, child: Child) -> list[str]:
        server = child.server
        environment = ",".join(f'{name}="{_escaped(value)}"' for name, value in server.environment.items())
        log = self.state.logs / f"{server.name}.log"  # its key is expanded twice by supervisor 4.3
        return [
            f"[program:{server.name}]",
            f"command={_escaped(shlex.join(server.command))}",
            f"directory={'/' if server.user else _escaped(self.state.settings.project)}",
            *([f"environment={environment}"] if environment else []),
            *([f"user={server.user}"] if server.user else []),
            f"stopsignal={server.stop_signal}",
            *("autostart=false", "autorestart=true", f"startsecs={child.steady_seconds}", f"startretries={RETRIES}"),
            # A group's signal would reach PostgreSQL's backends beside their postmaster, which is what ends them in order.
            *(
                f"stopwaitsecs={PATIENCE[child.level]}",
                f"stopasgroup={'false' if server.user or server.name == 'postgres' else 'true'}",
                "killasgroup=true",
            ),
            *(
                "redirect_stderr=true",
                f"stdout_logfile={_escaped(_escaped(log))}",
                "stdout_logfile_maxbytes=10MB",
                "stdout_logfile_backups=3",
            ),
            "",
        ]


def _safe(configuration: str) -> str:
    """The text, unless a path would be cut off where supervisord sees a comment."""
    for line in configuration.splitlines():
        if " #" in line or " ;" in line:
            raise ServerError(f"supervisord takes ' #' and ' ;' in a path for a comment: {line}\nMove or rename the folder.")
    return configuration


def end(processes: Iterable[psutil.Process], grace: float = 10.0) -> None:
    """End processes that have no supervisor any more: the platform's first, then its servers, each with its clean signal."""
    remaining = list(processes)
    stores = [process for process in remaining if _program_name(process) in ("postgres", "valkey-server", "java")]
    for wave in ([process for process in remaining if process not in stores], stores):
        for process in wave if grace else []:
            _signal(process, signal.SIGINT if _program_name(process) == "postgres" else signal.SIGTERM)
        _, alive = psutil.wait_procs(wave, timeout=grace)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=3)


def _program_name(process: psutil.Process) -> str:
    try:
        return process.name().split(":")[0]
    except psutil.Error:
        return ""


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        if (
            _program_name(process) == "postgres"
            and _program_name(process.parent() or process) == "postgres"
            and process.ppid() != 1
        ):
            return  # a backend: its postmaster ends it
        process.send_signal(number)
    except psutil.Error:
        pass


def _escaped(value: object) -> str:
    """A value for supervisord's configuration, where % introduces an expansion."""
    return str(value).replace("%", "%%")
