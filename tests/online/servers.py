"""Redis as it is run elsewhere: with users, TLS, Sentinel, as a Cluster; and lines to it that are slow or are cut.

Belongs here: starting them. Does not: what is tested (test_servers.py, test_faults.py).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import redis

from millwright.stack.redis import Valkey
from millwright.stack.server import LOOPBACK, free_port
from tests.servers import PASSWORD, DebianRedis, running

KINDS: dict[str, type[Valkey]] = {"valkey": Valkey, "debian": DebianRedis}


def configured(
    kind: str, lines: Sequence[str] = (), *, port: int | None = None, sentinel: bool = False
) -> Callable[[Path], Valkey]:
    """What makes a server of the kind with more lines in its configuration; `sentinel`: with these lines alone."""
    base = KINDS[kind]

    class Configured(base):  # type: ignore[misc, valid-type]
        @property
        def command(self) -> list[str]:
            return [*super().command, *(["--sentinel"] if sentinel else [])]

        def prepare(self) -> None:
            super().prepare()
            kept = "" if sentinel else self.configuration.read_text()
            if sentinel:
                kept = f'port {self.port}\nbind {LOOPBACK}\ndir "{self.folder}"\n'
            self.configuration.write_text(kept + "".join(f"{line}\n" for line in lines))

        def check(self) -> str:
            with socket.create_connection((LOOPBACK, self.port), 1):
                return ""

    return lambda folder: Configured(folder, port or free_port(), PASSWORD, max_memory="256mb")


@contextmanager
def cluster(kind: str) -> Iterator[list[Valkey]]:
    """Three primaries, each with a third of the slots."""
    with ExitStack() as stack:
        lines = ("cluster-enabled yes", "cluster-node-timeout 1000", "appendonly no")
        nodes = [stack.enter_context(running(configured(kind, [*lines, f"cluster-port {free_port()}"]))) for _ in range(3)]
        clients = [stack.enter_context(redis.Redis(port=node.port, password=PASSWORD)) for node in nodes]
        cuts = [0, 5461, 10923, 16384]
        for client, first, end in zip(clients, cuts[:-1], cuts[1:], strict=True):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        bus = [client.config_get("cluster-port")["cluster-port"] for client in clients]
        for node, port in zip(nodes[1:], bus[1:], strict=True):
            clients[0].execute_command("CLUSTER MEET", LOOPBACK, node.port, port)
        until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients))
        until(lambda: all(len(client.execute_command("CLUSTER SHARDS")) == 3 for client in clients))
        yield nodes


def cluster_url(nodes: Sequence[Valkey]) -> str:
    return f"redis+cluster://:{PASSWORD}@{','.join(f'{LOOPBACK}:{node.port}' for node in nodes)}"


@contextmanager
def sentinels(kind: str) -> Iterator[tuple[str, list[Valkey]]]:
    """URL, and a primary and its replica, watched by one Sentinel that promotes after half a second."""
    with ExitStack() as stack:
        first = stack.enter_context(running(configured(kind, [f"masterauth {PASSWORD}", "repl-diskless-sync-delay 0"])))
        replica = stack.enter_context(running(configured(kind, [f"masterauth {PASSWORD}", f"replicaof {LOOPBACK} {first.port}"])))
        lines = [
            f"sentinel monitor features {LOOPBACK} {first.port} 1",
            f"sentinel auth-pass features {PASSWORD}",
            "sentinel down-after-milliseconds features 500",
            "sentinel failover-timeout features 2000",
        ]
        watcher = stack.enter_context(running(configured(kind, lines, sentinel=True)))
        with redis.Redis(port=watcher.port) as client, redis.Redis(port=replica.port, password=PASSWORD) as second:
            until(lambda: second.info("replication").get("master_link_status") == "up")
            until(lambda: len(client.execute_command("SENTINEL REPLICAS", "features")) == 1)
        yield f"redis+sentinel://:{PASSWORD}@{LOOPBACK}:{watcher.port}/features", [first, replica, watcher]


@contextmanager
def tls(kind: str) -> Iterator[str]:
    """URL of a server that speaks TLS alone, with a certificate of an authority made for the test."""
    with folder() as place:
        key, cert = place / "key.pem", place / "cert.pem"
        command = (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {cert}"
        )
        subprocess.run(command.split(), check=True, capture_output=True)
        port = free_port()
        lines = ["port 0", f"tls-port {port}", f"tls-cert-file {cert}", f"tls-key-file {key}", "tls-auth-clients no"]
        with running(configured(kind, lines, port=port)):
            yield f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/0?ssl_ca_certs={cert}"


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for as long as it is needed."""
    place = Path(tempfile.mkdtemp(prefix="millwright-redis-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


class Line:
    """A line to a server: in pieces of at most `piece` bytes, cut once after `cut_after` bytes, or standing still after so many."""

    def __init__(self, port: int, *, piece: int = 65_536, cut_after: int | None = None, still_after: int | None = None) -> None:
        self.target, self.piece, self.cut_after, self.still_after = port, piece, cut_after, still_after
        self.cuts = 0
        self._sent = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((LOOPBACK, self.target))
            self._open += [near, far]
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(self.piece):
                if counted:
                    self._sent += len(data)
                    if self.still_after is not None and self._sent > self.still_after:
                        return
                    if self.cut_after is not None and self._sent > self.cut_after and not self.cuts:
                        self.cuts += 1
                        target.sendall(data[: len(data) - (self._sent - self.cut_after)])
                        break
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Ask until it is true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
