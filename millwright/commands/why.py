"""The command `why`. Does not: what a value is made of (why.py)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.entity import entity_of
from millwright.commands.output import command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.why import Why

_ROW = ["event_timestamp", "sensor_type", "value", "batch_id", "position"]


def _text(report: Why) -> Any:
    from rich.console import Group
    from rich.markup import escape

    whose = " ".join(f"{name}={value}" for name, value in report.entity.items())
    head = [
        f"[bold]{report.view_id}:{report.feature}[/bold] of {escape(whose)}: [bold]{escape(str(report.value))}[/bold], "
        f"{escape(report.definition)}.",
        f"Of the row at {report.event_timestamp:%Y-%m-%d %H:%M:%S.%f} UTC, computed {report.created_timestamp:%Y-%m-%d %H:%M:%S} "
        f"(definition {report.definition_hash[:12]}).",
    ]
    if report.online is not None:
        event = report.online.event_timestamp
        at = f" of the row at {event:%Y-%m-%d %H:%M:%S.%f}" if event else ""
        head.append(f"Online now: {escape(str(report.online.value))} ({report.online.status}{at}).")
    if report.made_of:
        head.append("Made of " + escape(", ".join(f"{name} = {value}" for name, value in report.made_of.items())) + ".")
    verdict = "the same" if report.agrees else "[bold red]not the same[/bold red]"
    rows_of = (
        f"{report.rows:,} rows with a value from {report.window_begin:%Y-%m-%d %H:%M:%S} on"
        if report.window_begin
        else "Its rows"
    )
    head.append(f"{rows_of} give {escape(str(report.recomputed))}: {verdict}.")
    if report.without:
        head.append(f"{report.without:,} more rows in the window have no such value.")
    parts: list[Any] = ["\n".join(head)]
    for title, found, names in (
        ("The newest of them:", report.origins, _ROW),
        ("Left out, because corrections replaced them:", report.replaced, [*_ROW, "replaced_by"]),
    ):
        if found:
            parts += ["", title, rows(found, [*names, "line" if any(one.line for one in found) else "lost"])]
    if report.deliveries:
        parts += ["", "Delivered by:", rows(report.deliveries)]
    return Group(*parts)


@command(text=_text)
@click.argument("feature", metavar="VIEW:FEATURE")
@click.argument("keys", nargs=-1, required=True, metavar="KEY=VALUE…")
@click.option(
    "--at", metavar="TIME", help="The row at this time or the last before it, such as 2026-03-01T12:00:00Z; else the newest."
)
@click.option(
    "--rows", "count", default=10, show_default=True, type=click.IntRange(0, 1000), help="How many rows to trace to their lines."
)
def why(feature: str, keys: tuple[str, ...], at: str | None, count: int) -> Why:
    """Say where a value comes from: its row, the rows of its window, their deliveries, the lines as they came.

    VIEW is a version (machine_vitals_v1), or a name, which means its active version.
    """
    from millwright.platform import open_platform
    from millwright.registry import resolve_view
    from millwright.why import why as explain

    view, colon, name = feature.partition(":")
    if not colon:
        raise click.UsageError(f"{feature!r} names no feature: write VIEW:FEATURE, such as machine_vitals:temperature_mean_1h")
    moment = _moment(at) if at else None
    with open_platform(Settings()) as platform:
        found = platform.definitions.feature_views[resolve_view(platform.conn, view)]
        entity = entity_of(keys, platform.definitions.entity_of(found).join_keys)
        return explain(
            platform.conn, platform.redis, platform.settings, platform.definitions, found, name, entity, at=moment, shown=count
        )


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError(f"--at: {text!r} is no time such as 2026-03-01T12:00:00Z") from None
    if moment.tzinfo is None:
        raise click.UsageError(f"--at: {text!r} has no zone: end it with Z for UTC")
    return moment.astimezone(UTC)
