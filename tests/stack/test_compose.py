"""docker-compose.yml: valid by the Compose Specification, and every variable, port and secret in it is one that we read."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
import yaml

from millwright.settings import ENV_PREFIX, Settings
from millwright.stack import bootstrap, jars, secrets
from millwright.stack.api import MODULE as API
from millwright.stack.dagster import LOCATION, MODULE
from millwright.stack.postgres import Postgres
from tests.stack.project import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "build" in service}


def test_it_holds_to_the_compose_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose" / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_every_variable_of_ours_is_a_setting() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | {f"{ENV_PREFIX}SECRETS_DIR"}
    used = set(re.findall(rf"{ENV_PREFIX}[A-Z_]+", TEXT + (ROOT / "Dockerfile").read_text()))
    assert used <= known
    assert {"setup", "code-location", "webserver", "daemon", "api"} == OURS


def test_settings_read_what_a_container_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    secrets.write(tmp_path / "secrets")
    for name, value in SERVICES["webserver"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLWRIGHT_SECRETS_DIR", str(tmp_path / "secrets"))
    settings = Settings()
    for secret in SERVICES["webserver"]["secrets"]:
        assert settings.require(secret.removeprefix(ENV_PREFIX).lower()) == (tmp_path / "secrets" / secret).read_text()
    assert settings.require("dagster_postgres_url").startswith("postgresql+psycopg2://")
    assert settings.kafka_bootstrap == "kafka:9092"
    assert settings.home == Path("/var/lib/millwright")


@pytest.mark.parametrize(
    ("service", "field"), [("webserver", "webserver_port"), ("api", "api_port"), ("code-location", "code_server_port")]
)
def test_ports_of_commands_health_checks_and_settings_agree(service: str, field: str) -> None:
    port = SERVICES[service]["environment"][f"{ENV_PREFIX}{field.upper()}"]
    assert f"--port={port}" in SERVICES[service]["command"]
    assert port in " ".join(SERVICES[service]["healthcheck"]["test"])
    published = SERVICES[service].get("ports", [])
    assert published == ([] if service == "code-location" else [f"127.0.0.1:{port}:{port}"])


def test_commands_are_those_of_the_embedded_stack() -> None:
    assert f"--module-name={MODULE}" in SERVICES["code-location"]["command"]
    assert f"--location-name={LOCATION}" in SERVICES["code-location"]["command"]
    assert SERVICES["code-location"]["environment"]["MILLWRIGHT_CODE_SERVER_HOST"] == "code-location"
    assert API in SERVICES["api"]["command"]
    assert SERVICES["kafka"]["image"].endswith(f":{jars.VERSION}")
    assert SERVICES["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_everything_that_stays_has_a_health_check_and_waits_for_what_it_needs() -> None:
    for name, service in SERVICES.items():
        assert name == "setup" or "healthcheck" in service, name
        for needed, condition in service.get("depends_on", {}).items():
            assert condition["condition"] == ("service_completed_successfully" if needed == "setup" else "service_healthy")


def test_secrets_are_files_and_nothing_else() -> None:
    made = set(secrets.contents())
    assert set(COMPOSE["secrets"]) == made
    assert all(entry == {"file": f"./secrets/{name}"} for name, entry in COMPOSE["secrets"].items())
    assert {secret for service in SERVICES.values() for secret in service.get("secrets", [])} == made
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "MILLWRIGHT_POSTGRES_OWNER_URL" not in SERVICES["api"]["secrets"]


def test_the_secrets_folder_is_private_and_never_overwritten(tmp_path: Path) -> None:
    written = secrets.write(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    before = [path.read_text() for path in written]
    with pytest.raises(FileExistsError):
        secrets.write(tmp_path / "s")
    assert [path.read_text() for path in written] == before


def test_every_file_that_the_image_copies_is_there() -> None:
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, _ = [word for word in line.split()[1:] if not word.startswith("--")]
            assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_entrypoint_hands_the_secret_over_in_the_environment(tmp_path: Path) -> None:
    line = next(line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT"))
    shell, option, script, name = json.loads(line.removeprefix("ENTRYPOINT "))
    (tmp_path / "MILLWRIGHT_DAGSTER_POSTGRES_URL").write_text("postgresql+psycopg2://a b")
    script = script.replace("/run/secrets", str(tmp_path))
    done = subprocess.run(
        [shell, option, script, name, "printenv", "MILLWRIGHT_DAGSTER_POSTGRES_URL"],
        env={"PATH": os.environ["PATH"], "DAGSTER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "postgresql+psycopg2://a b\n"
    assert (tmp_path / "dagster.yaml").readlink() == Path("/app/dagster.yaml")


def test_setup_makes_roles_databases_and_tables(
    postgres_server: Postgres, empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of the service `setup`, against a PostgreSQL that has none of it but the shared roles."""
    import sys

    folder = tmp_path / "secrets"
    made = f"setup_{os.getpid()}"
    secrets.write(folder)
    for path in folder.glob("MILLWRIGHT_*POSTGRES*"):
        text = path.read_text().replace("@postgres:5432/", f"@127.0.0.1:{postgres_server.port}/{made}_")
        path.chmod(0o600)
        path.write_text(re.sub(r"://\w+:[^@]+@", lambda match: re.sub(r":[^:@]+@", ":test@", match.group()), text))
    (tmp_path / "password").write_text(postgres_server.password)
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MILLWRIGHT_SECRETS_DIR", str(folder))
    monkeypatch.setenv("MILLWRIGHT_PROJECT", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bootstrap", "--password-file", str(tmp_path / "password")])
    try:
        bootstrap.main()
        bootstrap.main()
        with psycopg.connect(Settings().require("postgres_owner_url")) as connection:
            assert connection.execute("SELECT to_regclass('landing.batches') IS NOT NULL").fetchone() == (True,)
        with psycopg.connect(Settings().require("postgres_reader_url")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (bootstrap.READER,)
    finally:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            for name in (bootstrap.DATABASE, bootstrap.DAGSTER_DATABASE):
                connection.execute(f'DROP DATABASE IF EXISTS "{made}_{name}" WITH (FORCE)')
