"""Dagster's three processes: the code server, the webserver, the daemon. Each is asked for its health in its own protocol.

Belongs here: how they are started and checked, and DAGSTER_HOME. Does not: definitions (platform_assets/), instance
configuration (dagster.yaml). No Dagster is imported: it would cost every `status` seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import get_ident
from typing import Any

from millwright.settings import Settings
from millwright.stack.server import LOOPBACK, ServerError

LOCATION = "millwright"
MODULE = "platform_assets.definitions"
HEARTBEAT_SECONDS = 120  # a daemon's threads beat every 30 s


def dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME in the state folder, where `dagster.yaml` is a link to the project's own."""
    folder = settings.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    wanted, link = settings.project / "dagster.yaml", folder / "dagster.yaml"
    if not wanted.exists():
        raise ServerError(f"{wanted} is missing: run this in the project's folder, or set MILLWRIGHT_PROJECT to it.")
    if not link.is_symlink() or link.readlink() != wanted:
        draft = folder / f".dagster.yaml.{os.getpid()}.{get_ident()}"  # three processes are prepared at the same time
        draft.symlink_to(wanted)
        draft.replace(link)
    return folder


class _Process:
    user = None
    stop_signal = "TERM"
    name: str

    def __init__(self, settings: Settings, port: int) -> None:
        self.settings = settings
        self.port = port

    @property
    def environment(self) -> dict[str, str]:
        """Where Dagster finds its instance; connections come from the stack."""
        return {"DAGSTER_HOME": str(self.settings.home / "dagster"), "PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Make DAGSTER_HOME."""
        dagster_home(self.settings)


class CodeServer(_Process):
    """Serves the definitions over gRPC and starts runs; reloads them when the webserver asks."""

    name = "code-server"

    @property
    def command(self) -> list[str]:
        """`dagster code-server start`: unlike `dagster api grpc` it loads changed code on a reload."""
        return [
            *(sys.executable, "-m", "dagster", "code-server", "start", "--host", LOOPBACK, "--port", str(self.port)),
            *("--module-name", MODULE, "--working-directory", str(self.settings.project)),
            *("--location-name", LOCATION, "--use-python-environment-entry-point", "--log-format", "rich"),
        ]

    def check(self) -> str:
        """gRPC's health protocol; the port opens once the definitions were loaded, or failed to."""
        import grpc  # type: ignore[import-untyped]
        from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

        with grpc.insecure_channel(f"{LOOPBACK}:{self.port}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=5)
            except grpc.RpcError as error:
                raise ServerError(f"The code server does not answer on port {self.port}: {error.code().name}") from error
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise ServerError("The code server does not serve yet.")
        return dagster_version()


class Webserver(_Process):
    """The Dagster UI and GraphQL."""

    name = "webserver"

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def command(self) -> list[str]:
        """`dagster-webserver` on loopback with the project's workspace.yaml."""
        workspace = str(self.settings.project / "workspace.yaml")
        return [
            *(sys.executable, "-m", "dagster_webserver", "--host", LOOPBACK, "--port", str(self.port)),
            *("--workspace", workspace, "--log-format", "rich"),
        ]

    def check(self) -> str:
        """Its version, once the code location is loaded; raises `ServerError` with the location's own error."""
        entries = graphql(self.url, _LOCATIONS)["workspaceOrError"]["locationEntries"]
        for entry in entries:
            if error := (entry["locationOrLoadError"] or {}).get("message"):
                cause = [link["error"] for link in entry["locationOrLoadError"]["errorChain"]]
                where = "".join(cause[-1]["stack"][-3:]) if cause else ""
                raise LocationError(f"The definitions do not load:\n{where}{(cause[-1]['message'] if cause else error).strip()}")
            if entry["loadStatus"] != "LOADED":
                raise ServerError("The code location is still loading.")
        with urllib.request.urlopen(f"{self.url}/server_info", timeout=5) as answer:
            return str(json.load(answer)["dagster_webserver_version"])


class Daemon(_Process):
    """Sensors, schedules, the run queue, run monitoring."""

    name = "daemon"

    def __init__(self, settings: Settings, port: int, started: Callable[[], float]) -> None:
        super().__init__(settings, port)  # the webserver's port: it tells the daemon's heartbeats
        self.started = started  # seconds since 1970; heartbeats of an earlier process look alive for half an hour

    @property
    def command(self) -> list[str]:
        """`dagster-daemon run` with the project's workspace.yaml."""
        workspace = str(self.settings.project / "workspace.yaml")
        return [sys.executable, "-m", "dagster._daemon", "run", "--workspace", workspace, "--log-format", "rich"]

    def check(self) -> str:
        """Every daemon that the instance requires has given a heartbeat since it was started, and lately."""
        health = graphql(f"http://{LOOPBACK}:{self.port}", _DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        since = max(self.started(), time.time() - HEARTBEAT_SECONDS)
        late = [daemon["daemonType"] for daemon in health if daemon["required"] and (daemon["lastHeartbeatTime"] or 0) < since]
        if late:
            raise ServerError(f"No heartbeat yet of {', '.join(sorted(late)).lower()}.")
        return dagster_version()


class LocationError(ServerError):
    """The code location was loaded and failed: waiting longer does not help."""


def dagster_version() -> str:
    """The installed Dagster's version, without importing it."""
    from importlib.metadata import version

    return version("dagster")


def cancel_dangling(url: str, before: float) -> list[str]:
    """Mark runs as cancelled that no process works on any more: still underway, last heard of before the stack started.

    `before`: seconds since 1970. Returns their ids. Without this a power cut leaves runs that hold their slots for ever.
    """
    found = graphql(url, _UNDERWAY, before=before)["runsOrError"]["results"]
    ids = [str(run["runId"]) for run in found]
    if ids:
        graphql(url, _CANCEL, ids=ids)
    return ids


def graphql(url: str, query: str, **variables: Any) -> dict[str, Any]:
    """Answer to a GraphQL query from the webserver; raises `ServerError` when there is none."""
    question = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{url}/graphql", question, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            body: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ServerError(f"The Dagster webserver at {url} does not answer: {error}") from error
    if body.get("errors"):
        raise ServerError(f"The Dagster webserver answers with an error: {body['errors'][0]['message']}")
    data: dict[str, Any] = body["data"]
    return data


_LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { ... on PythonError { message errorChain { error { message stack } } } } } } } }"""
_UNDERWAY = """query Underway($before: Float!) { runsOrError(
  filter: {statuses: [STARTING, STARTED, CANCELING], updatedBefore: $before}) { ... on Runs { results { runId } } } }"""
_CANCEL = """mutation Cancel($ids: [String!]!) {
  terminateRuns(runIds: $ids, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required lastHeartbeatTime } } } }"
