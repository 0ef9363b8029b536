"""`doctor` finds what keeps a stack from starting."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from millwright.settings import Settings
from millwright.stack import doctor, jars
from millwright.stack.up import Stack
from tests.stack.project import ROOT


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    for name in ("dagster.yaml", "workspace.yaml", "feature_repo", "platform_assets"):
        (tmp_path / name).symlink_to(ROOT / name)
    return Stack(Settings(project=tmp_path))


def found(stack: Stack, name: str) -> doctor.Check:
    return next(check for check in doctor.examine(stack).checks if check.name == name)


def test_a_sound_machine(stack: Stack) -> None:
    report = doctor.examine(stack)
    assert {check.name for check in report.checks} >= {"disk", "PostgreSQL", "Valkey", "Java", "Kafka's jars", "permissions"}
    assert not [check for check in report.checks if check.result == "error"]
    assert report.code in (0, 3)


def test_a_taken_port(stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.state.ports["redis"]))
        other.listen()
        check = found(stack, "port of redis")
    assert check.result == "error"
    assert "ports.json" in check.advice


def test_a_readable_secret(stack: Stack) -> None:
    assert stack.state.passwords
    (stack.state.home / "secrets.json").chmod(0o644)
    check = found(stack, "permissions")
    assert check.result == "error"
    assert "chmod 600" in check.advice


def test_missing_jars_and_little_disk(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_KAFKA_JARS", str(tmp_path / "none"))
    monkeypatch.setattr(doctor, "LITTLE_DISK", 10**18)
    assert found(stack, "Kafka's jars").found.startswith(f"{len(jars.pinned())} of {len(jars.pinned())}")
    assert found(stack, "disk").result == "warning"
    assert doctor.examine(stack).code == 3
