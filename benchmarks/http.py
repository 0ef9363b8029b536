"""How fast the API answers over HTTP; beside Feast's own feature server on the same Redis and the same rows.

Belongs here: closed-loop clients, in turns with the peer. Does not: reads without HTTP (read), filling the store (materialize).
Usage: python -m benchmarks.http [--entities 10000] [--seconds 20] [--repeat 5] [--json]

A client sends a request on a connection that it keeps, reads the whole answer, and sends the next. The clients are one process
of their own, so that they cost both servers the same; each server is one worker. The time is spent in `repeat` turns.
`feast serve` has no models: a prediction is set beside its answer with the features alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import redis
import uvloop

from benchmarks._measure import figure, show
from benchmarks._views import START, VIEWS, feast_store, fill, stores
from millwright.definitions import load
from millwright.online.publish import publish
from millwright.registry import deploy
from millwright.serving import keys
from millwright.settings import Settings
from millwright.stack.server import free_port
from millwright.warehouse.connect import connect

VIEW = "numbers_v1"
MODEL = "benchmark"
HOST = "127.0.0.1"
CLIENTS = (1, 16)
PEER = "feast serve"


@dataclass(frozen=True)
class Target:
    """One route of one server; `body(machine)` is what a request asks."""

    port: int
    path: str
    body: Callable[[str], dict[str, Any]]
    key: str = ""

    def requests(self, machines: list[str]) -> list[bytes]:
        """Whole requests, ready to be written."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        if self.key:
            head += f"Authorization: Bearer {self.key}\r\n"
        bodies = [json.dumps(self.body(machine)).encode() for machine in machines]
        return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def main() -> None:
    """Start the stores and both servers, measure in turns, stop them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clients", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.clients:
        uvloop.run(_drive(**json.loads(arguments.clients)))
        return
    with tempfile.TemporaryDirectory(prefix="millwright-bench-") as name:
        folder = Path(name)
        os.environ["MILLWRIGHT_HOME"] = str(folder / "home")
        with stores(folder) as settings:
            fill(settings, VIEW, arguments.entities)
            for result in _measures(settings, folder, arguments):
                show(result, arguments.json)


def _measures(settings: Settings, folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    with ExitStack() as servers:
        _deploy(settings, folder)
        ours = servers.enter_context(_ours(settings))
        targets = {"ours": ours, "feast": servers.enter_context(_feast(settings, folder))}
        _check_equal(targets)
        predict = Target(ours.port, f"/v1/models/{MODEL}/predict", lambda name: {"entities": {"machine_id": [name]}}, ours.key)
        random.seed(1)
        machines = [f"machine-{random.randint(1, arguments.entities)}" for _ in range(1000)]
        for clients in CLIENTS:
            yield from _measure("features", targets, machines, clients, arguments)
            yield from _measure("predict", targets | {"ours": predict}, machines, clients, arguments)


def _measure(
    what: str, targets: dict[str, Target], machines: list[str], clients: int, arguments: argparse.Namespace
) -> Iterator[dict[str, object]]:
    """p50, p99, requests a second and errors of a pair of targets, `ours` and `feast`, in turns."""
    seconds = arguments.seconds / arguments.repeat
    taken: dict[str, list[float]] = {name: [] for name in targets}
    failed = dict.fromkeys(targets, 0)
    for target in targets.values():
        _clients(target, machines, clients, min(1.0, seconds))  # warm
    for _ in range(arguments.repeat):
        for name, target in targets.items():
            found = _clients(target, machines, clients, seconds)
            taken[name] += found["taken"]
            failed[name] += found["failed"]
    label = f"{what}, {clients} client{'s' if clients > 1 else ''}"
    for quantile, goal in ((50, None), (99, 3)):
        ours, theirs = (float(np.percentile(taken[name], quantile)) * 1e3 for name in ("ours", "feast"))
        yield figure("http", f"{label}, p{quantile}", ours, "ms", "lower", goal=goal, peer=PEER, theirs=theirs)
    ours, theirs = (len(taken[name]) / arguments.seconds for name in ("ours", "feast"))
    yield figure("http", f"{label}, answers", ours, "/s", "higher", goal=5, peer=PEER, theirs=theirs)
    yield figure("http", f"{label}, errors", failed["ours"], "", "lower", goal=0)
    if failed["feast"]:
        yield figure("http", f"{label}, errors of {PEER}", failed["feast"], "", "lower")


def _clients(target: Target, machines: list[str], clients: int, seconds: float) -> dict[str, Any]:
    """What closed-loop clients saw: seconds of each good answer, and how many were none."""
    asked = {
        "port": target.port,
        "requests": [request.decode() for request in target.requests(machines)],
        "clients": clients,
        "seconds": seconds,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asked, file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.http", "--clients", json.dumps({"file": file.name})]
        done = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[1])
    return dict(json.loads(done.stdout))


async def _drive(file: str) -> None:
    asked = json.loads(Path(file).read_text(encoding="utf-8"))
    requests = [request.encode() for request in asked["requests"]]
    taken: list[float] = []
    failed = 0
    stop = time.perf_counter() + asked["seconds"]

    async def client(number: int) -> None:
        nonlocal failed
        connection: _Connection | None = None
        place = number * 61
        while time.perf_counter() < stop:
            place += 1
            began = time.perf_counter()
            try:
                if connection is None:
                    _, connection = await asyncio.get_running_loop().create_connection(_Connection, HOST, asked["port"])
                good = await connection.exchange(requests[place % len(requests)])
            except OSError:
                good, connection = False, None
            if good:
                taken.append(time.perf_counter() - began)
            else:
                failed += 1
        if connection is not None:
            connection.transport.close()

    await asyncio.gather(*map(client, range(asked["clients"])))
    print(json.dumps({"taken": taken, "failed": failed}))


class _Connection(asyncio.Protocol):
    """As little as a client can do, so that the servers are what is measured."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = b""
        self.answer: asyncio.Future[bool] | None = None

    def exchange(self, request: bytes) -> asyncio.Future[bool]:
        if self.transport.is_closing():
            raise ConnectionResetError
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.answer is None:
            return
        head = self.buffer[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self.buffer) < end + 4 + length:
            return
        answer, self.answer, self.buffer, body = self.answer, None, b"", self.buffer[end + 4 :]
        answer.set_result(head.startswith(b"http/1.1 200") and b'"PRESENT"' in body)

    def connection_lost(self, error: Exception | None) -> None:
        if self.answer is not None:
            self.answer.set_exception(error or ConnectionResetError())


def _deploy(settings: Settings, folder: Path) -> None:
    """A logistic regression over the view's ten features: what is measured is the way to it, not the model."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(1).normal(size=(200, len(VIEWS[VIEW]))).astype(np.float32)
    model = to_onnx(LogisticRegression().fit(rows, rows.sum(axis=1) > 0), rows[:1], options={"zipmap": False})
    file = folder / "benchmark.onnx"
    file.write_bytes(model.SerializeToString())
    deploy(settings, file, name=MODEL, features=[VIEW])


@contextmanager
def _ours(settings: Settings) -> Iterator[Target]:
    definitions = load(settings.feature_repo)
    with (
        connect(settings.require("postgres_url"), autocommit=True) as conn,
        redis.Redis.from_url(settings.require("redis_url")) as client,
    ):
        publish(conn, client, definitions, definitions.feature_views[VIEW], project=settings.feast_project)
        key = keys.create_key(conn, name="benchmark", scopes=["read", "predict"]).key
    port = free_port()
    command = [sys.executable, "-m", "millwright.serving", "--port", str(port), "--workers", "1"]
    environment = {
        "MILLWRIGHT_PROJECT": str(settings.project),
        "MILLWRIGHT_POSTGRES_URL": settings.require("postgres_url"),
        "MILLWRIGHT_REDIS_URL": settings.require("redis_url"),
        "MILLWRIGHT_API_REQUESTS_PER_MINUTE": "100000000",
    }
    features = [f"{VIEW}:f{place}" for place in range(len(VIEWS[VIEW]))]
    with _server(command, environment, port, "/healthz"):
        yield Target(
            port, "/get-online-features", lambda machine: {"features": features, "entities": {"machine_id": [machine]}}, key
        )


@contextmanager
def _feast(settings: Settings, folder: Path) -> Iterator[Target]:
    """`feast serve` in a repository of its own, with Feast's own Redis store, filled by its own materialize."""
    import yaml

    store = feast_store(settings, VIEW)
    store.materialize(START - timedelta(days=1), datetime.now(UTC), feature_views=[VIEW])
    repository = folder / "peer"
    repository.mkdir()
    config = {
        "project": store.project,
        "provider": "local",
        "registry": str(settings.project / f"{VIEW}.db"),
        "online_store": {"type": "redis", "connection_string": store.config.online_store.connection_string},
        "entity_key_serialization_version": 3,
    }
    (repository / "feature_store.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(repository)]
    command += ["serve", "--host", HOST, "--port", str(port), "--workers", "1", "--no-access-log", "--max-requests", "0"]
    features = [f"{VIEW}:f{place}" for place in range(len(VIEWS[VIEW]))]
    with _server(command, {"FEAST_USAGE": "False"}, port, "/health"):
        yield Target(port, "/get-online-features", lambda machine: {"features": features, "entities": {"machine_id": [machine]}})


@contextmanager
def _server(command: list[str], environment: dict[str, str], port: int, health: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while not _answers(f"http://{HOST}:{port}{health}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise SystemExit(f"{command[:4]} did not start:\n{log.read().decode(errors='replace')[-3000:]}")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _check_equal(targets: dict[str, Target]) -> None:
    """Both servers give the same values, or there is nothing to compare."""
    values = {}
    for name, target in targets.items():
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.key}"}
        body = json.dumps(target.body("machine-4")).encode()
        with urllib.request.urlopen(urllib.request.Request(f"http://{HOST}:{target.port}{target.path}", body, headers)) as answer:
            found = json.load(answer)
        values[name] = dict(zip(found["metadata"]["feature_names"], [each["values"] for each in found["results"]], strict=True))
    if values["ours"] != values["feast"]:
        raise SystemExit(f"the servers differ: {values}")


if __name__ == "__main__":
    main()
