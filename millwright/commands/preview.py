"""The command `preview`. Does not: how a definition is computed (features/preview.py)."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.output import command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.definitions import Definitions, FeatureView
    from millwright.features.preview import Preview

DIALECTS = ("duckdb", "postgres", "bigquery", "snowflake")


def _text(report: Preview) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = []
    if report.first_event and report.last_event:
        parts.append(
            f"{report.view_id} from {report.first_event:%Y-%m-%d %H:%M:%S} to {report.last_event:%Y-%m-%d %H:%M:%S} UTC: "
            f"{report.rows:,} rows of {report.entities:,} entities, from {report.events_read:,} events. Nothing was written."
        )
        parts += ["", rows(report.features)]
    if report.newest:
        grid = Table(*report.newest[0], box=None, pad_edge=False, header_style="bold dim")
        for row in report.newest:
            grid.add_row(
                *("" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value) for value in row.values())
            )
        parts += ["", "The newest:", grid]
    if report.sql is not None:
        parts += ["", Text(report.sql)] if parts else [Text(report.sql)]
    return Group(*parts)


@command(text=_text)
@click.argument("view")
@click.argument("keys", nargs=-1, metavar="[KEY=VALUE…]")
@click.option(
    "--last", default="1d", show_default=True, metavar="DURATION", help="How long before the newest event, such as 6h or 7d."
)
@click.option("--rows", "count", default=10, show_default=True, type=click.IntRange(0, 1000), help="How many rows to show.")
@click.option("--sql", "as_sql", is_flag=True, help="Show the SQL too.")
@click.option("--dialect", type=click.Choice(DIALECTS), help="With --sql: the SQL alone, as a script for this warehouse.")
def preview(view: str, keys: tuple[str, ...], last: str, count: int, as_sql: bool, dialect: str | None) -> Preview:
    """Compute VIEW from its file, applied or not, and show rows and statistics; nothing is written.

    VIEW is a version (machine_vitals_v2), or a name, which means its newest version. KEY=VALUE (machine_id=press-07) takes these
    entities only; a key may be given again.
    """
    from millwright.definitions import durations, load
    from millwright.features.preview import Preview, find_view
    from millwright.features.preview import preview as run
    from millwright.features.windows import compile_view, warehouse_script
    from millwright.warehouse.connect import connect

    if dialect and not as_sql:
        raise click.UsageError("--dialect says which SQL: give --sql with it")
    try:
        length: timedelta = durations.parse(last)
    except ValueError as error:
        raise click.UsageError(f"--last: {error}") from None
    settings = Settings()
    definitions = load(settings.feature_repo)
    found = find_view(definitions, view)
    wanted = _wanted(definitions, found, keys)
    if dialect:
        return Preview(view_id=found.id, sql=warehouse_script(definitions, found, dialect))
    script = compile_view(definitions, found)["duckdb"]
    role = "postgres_reader_url" if settings.postgres_reader_url else "postgres_url"
    with connect(settings.require(role), autocommit=True) as conn:
        report = run(conn, settings, definitions, found, script=script, last=length, keys=wanted, rows=count)
    return report.model_copy(update={"sql": script}) if as_sql else report


def _wanted(definitions: Definitions, view: FeatureView, pairs: tuple[str, ...]) -> dict[str, set[str]]:
    known = definitions.entity_of(view).keys
    wanted: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or name not in known:
            raise click.UsageError(f"{pair!r} names no join key: write {' '.join(f'{key}=…' for key in known)}")
        wanted[name].add(value)
    return wanted
