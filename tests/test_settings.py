"""Settings: where values come from, in which order, and that secrets do not show."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwright.settings import NotConfigured, Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("MILLWRIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_paths_are_below_the_project(tmp_path: Path):
    settings = Settings()
    assert (settings.project, settings.home, settings.inbox) == (tmp_path, tmp_path / ".millwright", tmp_path / "inbox")
    assert settings.zone == tmp_path / ".millwright/landing"


def test_the_environment_wins_over_secret_files_and_they_over_the_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".millwright").mkdir()
    (tmp_path / ".millwright/stack.env").write_text(
        "MILLWRIGHT_REDIS_URL=redis://stack\nMILLWRIGHT_POSTGRES_URL=postgresql://stack\nMILLWRIGHT_KAFKA_BOOTSTRAP=stack:1\n"
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "millwright_redis_url").write_text("redis://secret")
    (secrets / "millwright_postgres_url").write_text("postgresql://secret")
    monkeypatch.setenv("MILLWRIGHT_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("MILLWRIGHT_POSTGRES_URL", "postgresql://environment")
    settings = Settings()
    assert settings.require("postgres_url") == "postgresql://environment"
    assert settings.require("redis_url") == "redis://secret"
    assert settings.require("kafka_bootstrap") == "stack:1"


def test_another_home_is_another_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/stack.env").write_text("MILLWRIGHT_REDIS_URL=redis://other\n")
    monkeypatch.setenv("MILLWRIGHT_HOME", str(tmp_path / "other"))
    assert Settings().require("redis_url") == "redis://other"


def test_what_is_not_configured_says_what_to_do():
    with pytest.raises(NotConfigured, match="MILLWRIGHT_REDIS_URL is not set.*millwright up"):
        Settings().require("redis_url")


def test_urls_do_not_show_their_passwords(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MILLWRIGHT_POSTGRES_URL", "postgresql://app:hunter2@127.0.0.1/db")
    assert "hunter2" not in f"{Settings()!r}{Settings()}{Settings().model_dump_json()}"
