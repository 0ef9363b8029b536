"""Commands on definitions and features: apply, schemas, features, activate, deprecate, retire, online. Does not: what they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel, ConfigDict

from millwright.commands.entity import entity_of
from millwright.commands.output import command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.definitions.schemas import SchemaFiles
    from millwright.online.read import OnlineAnswer
    from millwright.registry import ApplyReport, CatalogReport, StatusReport


def _apply_text(report: ApplyReport) -> Any:
    from rich.console import Group

    head = "Would be done (nothing was changed):" if report.plan else f"Applied; schema revision {report.revision}."
    missing = [view.view_id for view in report.views if view.action == "missing"]
    missing += [model.model_id for model in report.models if model.action == "missing"]
    lines = [f"Feast: {line}" for line in report.feast] or ([] if report.plan else ["Feast: no change"])
    if missing:
        lines.append(f"No file defines {', '.join(missing)} any more. Nothing was deleted: `millwright retire` stops a version.")
    tables = [
        rows(report.views) if report.views else "No feature view is defined.",
        *([rows(report.models)] if report.models else []),
    ]
    return Group(head, *tables, "", *lines, f"Dagster: {report.reload}")


@command(text=_apply_text)
@click.option("--plan", is_flag=True, help="Only say what would be done.")
def apply(plan: bool) -> ApplyReport:
    """Migrate, validate definitions, register them, reload Dagster."""
    from millwright.registry import apply as run

    return run(Settings(), plan=plan)


@command(text=lambda written: "\n".join(["Written:", *written.files]))
def schemas() -> SchemaFiles:
    """Write JSON Schemas of the definition files into feature_repo/schemas, for editors."""
    from millwright.definitions.schemas import write_schemas

    return write_schemas(Settings().feature_repo)


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    view: str
    status: str
    feature: str
    type: str
    unit: str
    description: str


def _features_text(report: CatalogReport) -> Any:
    lines = [
        _Line(
            view=view.view_id, status=view.status, feature=each.name, type=each.type, unit=each.unit, description=each.description
        )
        for view in report.views
        for each in view.features
    ]
    return rows(lines) if lines else "The catalog is empty: `millwright apply` fills it."


@command(text=_features_text)
@click.argument("view", required=False)
def features(view: str | None) -> CatalogReport:
    """The catalog of features; VIEW is a name or one version."""
    from millwright.registry import read_catalog
    from millwright.warehouse.connect import connect

    settings = Settings()
    role = "postgres_reader_url" if settings.postgres_reader_url else "postgres_url"
    with connect(settings.require(role), autocommit=True) as conn:
        return read_catalog(conn, view)


def _status_text(report: StatusReport) -> str:
    also = f"; {report.also} is deprecated now" if report.also else ""
    return f"{report.view_id}: {report.before} → {report.status}{also}."


@command(text=_status_text)
@click.argument("version")
def activate(version: str) -> StatusReport:
    """Make VERSION (machine_vitals_v2, or press_failures_v2) the active one; the one before is deprecated, still served."""
    from millwright.registry import set_status

    return set_status(Settings(), version, "active")


@command(text=_status_text)
@click.argument("version")
def deprecate(version: str) -> StatusReport:
    """Mark VERSION of a feature view or a model as deprecated; it is still computed and served."""
    from millwright.registry import set_status

    return set_status(Settings(), version, "deprecated")


@command(text=_status_text)
@click.argument("version")
def retire(version: str) -> StatusReport:
    """Stop computing and serving VERSION of a feature view or a model. Its rows stay in Postgres."""
    from millwright.registry import set_status

    return set_status(Settings(), version, "retired")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)

    feature: str
    value: str
    status: str
    event_timestamp: str


def _online_text(answer: OnlineAnswer) -> Any:
    lines = [
        _Value(
            feature=name,
            value="" if each.value is None else f"{each.value}",
            status=each.status,
            event_timestamp=each.event_timestamp.isoformat() if each.event_timestamp else "",
        )
        for name, each in answer.rows[0].features.items()
    ]
    return rows(lines)


@command(text=_online_text)
@click.argument("view")
@click.argument("keys", nargs=-1, required=True, metavar="KEY=VALUE…")
def online(view: str, keys: tuple[str, ...]) -> OnlineAnswer:
    """Read an entity's features from the online store; VIEW is a name, a version, or view:feature."""
    from millwright.online.connect import client as redis_client
    from millwright.online.read import answer
    from millwright.online.served import Served
    from millwright.warehouse.connect import connect

    settings = Settings()
    role = "postgres_url" if settings.postgres_url else "postgres_reader_url"
    with connect(settings.require(role), autocommit=True) as conn:
        served = Served.from_catalog(conn)
    wanted = served.wanted([view])
    row = entity_of(keys, dict(wanted[0].view.join_keys))
    with redis_client(settings.require("redis_url")) as client:
        return answer(client, wanted, [row], project=settings.feast_project)
