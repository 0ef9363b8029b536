"""All settings of the platform, in one class.

Belongs here: every value that a deployment may change, its default and its meaning.
Does not: connections (resources/), definitions of data (feature_repo/), ports and passwords of the
embedded servers (millwright/stack/ writes them to `stack.env` in the state folder, which is read here).
"""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import DotEnvSettingsSource, SecretsSettingsSource

ENV_PREFIX = "MILLWRIGHT_"
STACK_ENV = "stack.env"


class Settings(BaseSettings):
    """Settings from, in this order: arguments, environment, secret files, the running stack, defaults.

    Environment variables are `MILLWRIGHT_<FIELD>`. Secret files are named like the variables and lie in
    `MILLWRIGHT_SECRETS_DIR`. Relative paths are relative to `project`.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", validate_default=True)

    project: Path = Field(
        default_factory=Path.cwd, description="Folder that holds feature_repo, dagster.yaml and workspace.yaml."
    )
    home: Path = Field(default=Path(".millwright"), description="State of this machine: servers, landing zone, logs.")
    feature_repo: Path = Field(default=Path("feature_repo"), description="The definitions, the only truth.")
    inbox: Path = Field(default=Path("inbox"), description="Files dropped into inbox/<dataset>/ are landed.")
    lake: Path | None = Field(default=None, description="Parquet that other engines read and write; <home>/lake by default.")
    landing_zone: Path | None = Field(default=None, description="Received bytes by sha256; <home>/landing by default.")

    postgres_url: SecretStr | None = Field(default=None, description="Warehouse, role app: what a run needs.")
    postgres_owner_url: SecretStr | None = Field(default=None, description="Warehouse, role owner: migrations and apply.")
    postgres_reader_url: SecretStr | None = Field(
        default=None, description="Warehouse, role reader: catalog, warehouse, features."
    )
    dagster_postgres_url: SecretStr | None = Field(default=None, description="Dagster's own database.")
    redis_url: SecretStr | None = Field(default=None, description="Online store: redis://[:password@]host:port/db.")
    kafka_bootstrap: str | None = Field(default=None, description="Kafka bootstrap servers, host:port[,host:port].")
    api_host: str = Field(default="127.0.0.1", description="Address that the API listens on.")
    api_port: int | None = Field(default=None, description="Port of the API.")
    api_workers: int = Field(default=1, gt=0, description="Processes of the API; they share its port.")
    api_requests_per_minute: int = Field(default=120_000, gt=0, description="A key that makes more is refused for a while.")
    webserver_port: int | None = Field(default=None, description="Port of the Dagster webserver.")
    code_server_host: str = Field(default="127.0.0.1", description="Host of the Dagster code server, as workspace.yaml asks.")
    code_server_port: int | None = Field(default=None, description="Port of the Dagster code server (gRPC).")

    feast_project: str = Field(
        default="millwright", description="Feast project: prefix of what is kept in Redis and the registry."
    )

    first_day: date = Field(default=date(2010, 1, 1), description="First daily partition; older rows are quarantined.")
    max_future: timedelta = Field(default=timedelta(hours=1), description="Rows further ahead of the clock are quarantined.")
    max_file_bytes: int = Field(default=4 * 1024**3, gt=0, description="A larger file is refused.")
    max_rows_per_file: int = Field(default=100_000_000, gt=0, description="A file with more rows is refused.")
    kept_error_kinds: int = Field(default=1000, gt=0, description="Kinds of error (code and column) that a receipt lists.")
    kept_errors_per_row: int = Field(default=100, gt=0, description="Errors that are kept with a row in quarantine.")
    preview_rows: int = Field(default=10, ge=0, description="Rows that a receipt shows; 0 keeps cell contents out of it.")
    preview_columns: int = Field(default=50, gt=0, description="Fields of a row that a receipt shows.")
    preview_characters: int = Field(default=200, gt=0, description="Characters of a text that a receipt shows.")
    keep_landed_files: int | None = Field(
        default=None, gt=0, description="Days that received bytes are kept after their batch ended; unset: for ever."
    )
    max_unpacked_bytes: int = Field(default=8 * 1024**3, gt=0, description="A gzip or zstd file that unpacks to more is refused.")
    max_unpacked_ratio: int = Field(
        default=500,
        gt=1,
        description="A gzip or zstd file of over 16 MB unpacked and more than so many times its size is refused.",
    )
    max_columns: int = Field(default=10_000, gt=0, description="A file with more columns is refused.")
    max_record_bytes: int = Field(default=4 * 1024**2, gt=0, description="A file with a longer row is refused.")
    max_rows_per_kafka_batch: int = Field(default=100_000, gt=0, description="Offsets in one Kafka batch of the ledger.")
    max_batches_per_run: int = Field(default=500, gt=0, description="Waiting batches taken into one run.")
    refresh_rows_per_chunk: int = Field(
        default=1_000_000, gt=0, description="Rows that a refresh computes at once: bounds its memory."
    )
    duckdb_threads: int = Field(default=1, gt=0, description="DuckDB threads of a refresh.")
    duckdb_memory: str = Field(default="1GB", description="DuckDB memory limit of a refresh.")
    spark_master: str = Field(default="local[*]", description="Spark master of `backfill --engine spark`.")
    spark_options: dict[str, str] = Field(default={}, description="More of Spark's options, as one JSON object.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add the secrets folder and the running stack's `stack.env`, both found by the earlier sources."""
        init = init_settings()
        project = Path(init.get("project") or os.environ.get(f"{ENV_PREFIX}PROJECT") or Path.cwd())
        home = Path(init.get("home") or os.environ.get(f"{ENV_PREFIX}HOME") or ".millwright")
        sources: list[PydanticBaseSettingsSource] = [init_settings, env_settings]
        if secrets := os.environ.get(f"{ENV_PREFIX}SECRETS_DIR"):
            sources.append(SecretsSettingsSource(settings_cls, secrets_dir=secrets))
        sources.append(DotEnvSettingsSource(settings_cls, env_file=project / home / STACK_ENV))
        return tuple(sources)

    @model_validator(mode="before")
    @classmethod
    def _absolute(cls, values: dict[str, Any]) -> dict[str, Any]:
        project = Path(values.get("project") or Path.cwd()).expanduser().resolve()
        values["project"] = project
        for name, default in (("home", ".millwright"), ("feature_repo", "feature_repo"), ("inbox", "inbox")):
            values[name] = project / Path(values.get(name) or default).expanduser()
        values["lake"] = project / Path(values.get("lake") or values["home"] / "lake").expanduser()
        values["landing_zone"] = project / Path(values.get("landing_zone") or values["home"] / "landing").expanduser()
        return values

    @property
    def zone(self) -> Path:
        """The landing zone, absolute."""
        assert self.landing_zone is not None  # set by _absolute
        return self.landing_zone

    @property
    def lake_folder(self) -> Path:
        """The lake, absolute."""
        assert self.lake is not None  # set by _absolute
        return self.lake

    def require(self, field: str) -> str:
        """The value of a connection field as text; raises `NotConfigured` with what to do when it is unset."""
        value = getattr(self, field)
        if value is None:
            raise NotConfigured(
                f"{ENV_PREFIX}{field.upper()} is not set and no running stack was found in {self.home}. "
                "Start one with `millwright up`, or point the variable at your server."
            )
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class NotConfigured(RuntimeError):
    """A connection is needed that nothing names."""
