"""What the stack keeps: ports, passwords, stack.env, and how a user's own servers replace ours."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from millwright.settings import Settings
from millwright.stack.children import build, chosen
from millwright.stack.server import ServerError
from millwright.stack.state import State

FOUR = (
    "MILLWRIGHT_POSTGRES_URL",
    "MILLWRIGHT_POSTGRES_OWNER_URL",
    "MILLWRIGHT_POSTGRES_READER_URL",
    "MILLWRIGHT_DAGSTER_POSTGRES_URL",
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in (*FOUR, "MILLWRIGHT_REDIS_URL", "MILLWRIGHT_KAFKA_BOOTSTRAP", "MILLWRIGHT_API_PORT", "MILLWRIGHT_WEBSERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return Settings(project=tmp_path)


def test_ports_and_passwords_are_found_once(settings: Settings) -> None:
    first = State(settings)
    ports, passwords = first.ports, first.passwords
    assert len(set(ports.values())) == len(ports)
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports["postgres"]))
        other.listen()
        again = State(settings)
        assert (again.ports, again.passwords) == (ports, passwords)
    assert (settings.home / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_a_taken_port_is_passed_over(settings: Settings) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert State(settings)._find(taken, set()) > taken


def test_a_port_of_the_environment_wins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_API_PORT", "8123")
    assert State(settings).ports["api"] == 8123


def test_stack_env_is_private_and_read_by_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(settings)
    monkeypatch.setenv("MILLWRIGHT_REDIS_URL", "redis://:it's \\ odd@cache.example:6379/3")
    state.write_connections(state.connections({"postgres", "kafka"}))
    monkeypatch.delenv("MILLWRIGHT_REDIS_URL")
    assert state.stack_env.stat().st_mode & 0o777 == 0o600
    read = Settings(project=settings.project)
    assert read.require("redis_url") == "redis://:it's \\ odd@cache.example:6379/3"
    assert read.require("kafka_bootstrap") == f"127.0.0.1:{state.ports['kafka']}"
    assert read.require("postgres_url").startswith("postgresql://millwright_app:")
    assert read.require("dagster_postgres_url").startswith("postgresql+psycopg2://dagster:")
    assert read.webserver_port == state.ports["webserver"]


def test_servers_of_the_user_replace_ours(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in FOUR:
        monkeypatch.setenv(name, "postgresql://me:secret@db.example/x")
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "MILLWRIGHT_KAFKA_BOOTSTRAP").write_text("kafka.example:9092\n")
    monkeypatch.setenv("MILLWRIGHT_SECRETS_DIR", str(secrets))
    state = State(settings)
    assert [child.name for child in build(state, chosen(()))] == ["redis", "code-server", "runner", "webserver", "daemon", "api"]
    connections = state.connections({"redis"})
    assert connections["MILLWRIGHT_KAFKA_BOOTSTRAP"] == "kafka.example:9092"
    assert connections["MILLWRIGHT_DAGSTER_POSTGRES_URL"] == "postgresql+psycopg2://me:secret@db.example/x"


def test_half_a_postgres_is_refused_by_name(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLWRIGHT_POSTGRES_URL", "postgresql://me:secret@db.example/x")
    with pytest.raises(ServerError, match="MILLWRIGHT_DAGSTER_POSTGRES_URL") as refused:
        State(settings).external()
    assert "secret" not in str(refused.value)


def test_our_own_addresses_in_a_shell_are_not_a_server_of_the_user(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(settings)
    for name, value in state.embedded().items():
        monkeypatch.setenv(name, value)
    assert state.external() == {}


def test_only_takes_along_what_is_needed() -> None:
    assert chosen(["postgres", "redis"]) == {"postgres", "redis"}
    assert chosen(["api"]) == {"api", "postgres", "redis"}
    assert chosen(["dagster"]) == {"code-server", "runner", "webserver", "daemon", "postgres"}
    assert "kafka" in chosen([])
    with pytest.raises(ServerError, match="There are: postgres"):
        chosen(["oracle"])


def test_passwords_are_cut_out_of_other_programs_messages(settings: Settings) -> None:
    state = State(settings)
    assert state.redact(f"could not log in with {state.passwords['app']}") == "could not log in with …"
