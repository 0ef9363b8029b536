"""Starts runs through the runner where there is one, else as Dagster's default launcher does. Named by dagster.yaml.

Belongs here: launch, terminate, health. Does not: forking (runner.py). The stack says where the runner listens
(MILLWRIGHT_RUNNER); in containers there is none, and the code server starts the runs.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from typing import Any

import dagster as dg
import psutil
from dagster._core.launcher import DefaultRunLauncher
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs

VARIABLE = "MILLWRIGHT_RUNNER"
PROCESS_TAG = "millwright/process"
TIMEOUT_SECONDS = 10.0


class WarmRunLauncher(DefaultRunLauncher):
    """DefaultRunLauncher, with warm processes. A run that a dead process leaves behind is noticed by run monitoring."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork the run, or let the code server start it when no runner answers."""
        run = context.dagster_run
        if pid := self._fork(run):
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: identity(pid)})
            return
        if PROCESS_TAG in run.tags:  # a retry has the tags of the run that it retries
            self._instance.add_run_tags(run.run_id, {PROCESS_TAG: ""})
        super().launch_run(context)

    def _fork(self, run: dg.DagsterRun) -> int | None:
        path = os.environ.get(VARIABLE)
        if not path or run.job_code_origin is None:
            return None
        command = ExecuteRunArgs(run.job_code_origin, run.run_id, self._instance.get_ref()).get_command_args()
        try:
            # The command from `api` on: the runner is the interpreter that the origin names.
            return ask(path, {"run": list(command[command.index("api") :])})
        except (OSError, ValueError):
            return None

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's process; False when it is gone already."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if not run.tags.get(PROCESS_TAG):
            return bool(super().terminate(run_id))
        self._instance.report_run_canceling(run)
        pid = living(run.tags[PROCESS_TAG])
        if pid is None:
            return False
        os.kill(pid, signal.SIGTERM)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """For runs of the runner: their process can be looked at."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """FAILED when the run's process has gone; a run that the code server started is watched by it."""
        tag = run.tags.get(PROCESS_TAG)
        if not tag or living(tag) is not None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"The run's process {tag.split('@')[0]} has gone.")


def ask(path: str, request: dict[str, Any]) -> int:
    """The runner's answer: the process id of the run, or its own. Raises OSError or ValueError when there is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as lines:
            return int(json.loads(lines.readline())["pid"])


def identity(pid: int) -> str:
    """`pid@start`: names a process even when its number is given out again."""
    try:
        return f"{pid}@{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return f"{pid}@0"


def living(tag: str) -> int | None:
    """The process of `identity`, if it still runs."""
    pid, _, started = tag.partition("@")
    try:
        process = psutil.Process(int(pid))
        alive = f"{process.create_time():.2f}" == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return None
    return process.pid if alive else None
