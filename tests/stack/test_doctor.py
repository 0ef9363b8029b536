"""`doctor` finds what keeps a stack from starting."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from millwright.features.refresh import refresh
from millwright.platform import open_platform
from millwright.registry import apply
from millwright.settings import Settings
from millwright.stack import doctor, jars
from millwright.stack.up import Stack
from tests import platforms
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


def test_tiles_that_the_rows_do_not_give_are_told_with_what_mends_them(tmp_path: Path, database: str, redis_url: str) -> None:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings, by="test")
    stack = Stack(settings)

    def tiles() -> list[doctor.Check]:
        return [check for check in doctor.examine(stack, tiles=True).checks if check.name == "tiles of machine_vitals_v1"]

    assert [check.result for check in tiles()] == ["ok"] and "never refreshed" in tiles()[0].found
    with open_platform(settings) as platform:
        view = platform.definitions.feature_views["machine_vitals_v1"]
        refresh(platform.conn, settings, platform.definitions, view)
        assert "0 tiles in 0 random stretches" in tiles()[0].found
        platform.conn.execute(
            "insert into features.machine_vitals_v1_tiles (k_machine_id, tile_us, tile) values ('press-01', 60000000, 29538720)"
        )
    (check,) = tiles()
    assert (check.result, check.found) == ("error", "press-01 from 2026-03-01 00:00:00 (60 s): of no row")
    assert check.advice.startswith("millwright backfill machine_vitals_v1 --from 2026-03-01 --to ")
    assert not [check for check in doctor.examine(stack).checks if check.name.startswith("tiles")]
