"""The command `backfill`. Does not: how a range is recomputed (flow.py, features/refresh.py)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel, ConfigDict

from millwright.commands.output import Done, command
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.features.refresh import EngineName


class Backfill(BaseModel):
    """What a backfill did, over all its days. `done_to`: the last day whose step was committed; start there to resume."""

    model_config = ConfigDict(frozen=True)
    view_id: str
    first_day: date
    done_to: date | None
    computed: int
    inserted: int
    superseded: int
    unchanged: int
    online_written: int
    failed: list[str]


def _text(report: Backfill) -> Any:
    lines = [
        f"{report.view_id}: {report.computed:,} rows computed, {report.inserted:,} written, {report.superseded:,} superseded, "
        f"{report.unchanged:,} unchanged; {report.online_written:,} entities written online."
    ]
    if report.failed:
        lines += [f"[red]{failure}[/red]" for failure in report.failed]
        lines.append(f"Committed up to {report.done_to}; start there again." if report.done_to else "Nothing was committed.")
    return "\n".join(lines)


@command(text=_text)
@click.argument("view")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), required=True, help="First day, UTC.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), required=True, help="Last day, UTC, included.")
@click.option(
    "--engine", type=click.Choice(["duckdb", "spark"]), default="duckdb", show_default=True, help="Where it is computed."
)
def backfill(view: str, first: datetime, last: datetime, engine: EngineName) -> Done:
    """Recompute VIEW over a range of days, day by day, each committed and published; rows that come out equal stay.

    VIEW is a version (machine_vitals_v1) or a name, which means its active version. On Spark the whole range is one step.
    """
    from millwright import flow
    from millwright.features.refresh import RefreshReport
    from millwright.online.publish import PublishReport
    from millwright.platform import open_platform
    from millwright.registry import resolve_view

    if last < first:
        raise click.UsageError("--to lies before --from")
    totals = dict.fromkeys(("computed", "inserted", "superseded", "unchanged", "online_written"), 0)
    failed: list[str] = []
    done_to: date | None = None
    with open_platform(Settings()) as platform:
        view_id = resolve_view(platform.conn, view)
        for days in _steps(first.date(), last.date(), whole=engine == "spark"):
            for step in flow.rebuild(platform, [view_id], days, features=True, online=True, on=engine):
                match step:
                    case RefreshReport():
                        for name in ("computed", "inserted", "superseded", "unchanged"):
                            totals[name] += getattr(step, name)
                    case PublishReport():
                        totals["online_written"] += step.written
                    case flow.Failed():
                        failed.append(f"{days[0]}: {step.step}: {step.error}")
            if failed:
                break
            done_to = days[1]
    report = Backfill(view_id=view_id, first_day=first.date(), done_to=done_to, failed=failed, **totals)
    return Done(report, code=1 if failed else 0)


def _steps(first: date, last: date, *, whole: bool) -> list[tuple[date, date]]:
    """The range at once: a session of Spark costs more than a day; or its days."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [(first, last)] if whole else [(day, day) for day in days]
