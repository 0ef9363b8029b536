"""The commands `compare …`. Does not: comparing (compare.py)."""

from __future__ import annotations

from typing import Any

import click
from pydantic import BaseModel, ConfigDict

from millwright.commands.output import Done, command, rows
from millwright.settings import Settings

_CAUSES = ("missing", "extra", "older", "newer", "different", "undecodable", "expired")


class Parity(BaseModel):
    """Views whose rows in the online store were compared with Postgres; `repaired`: whether differences were repaired first."""

    model_config = ConfigDict(frozen=True)
    same: bool
    repaired: bool
    views: list[Any]


def _text(report: Parity) -> Any:
    from rich.console import Group

    parts: list[Any] = []
    for view in report.views:
        before = view.before if report.repaired else view
        if report.repaired and not before.same:
            done = f"{view.written:,} rows sent again, {view.removed:,} removed"
            refused = f", {view.older:,} refused: Redis has a later snapshot than Postgres ever made" if view.older else ""
            parts.append(f"{view.view_id}: {_told(before)} Repaired: {done}{refused}. Now: {_told(view.after)}")
        else:
            parts.append(f"{view.view_id}: {_told(before)}")
        if (after := view.after if report.repaired else view).first_differences:
            parts += ["The first differences:", rows(after.first_differences)]
    return Group(*parts) if parts else "No view is served: `millwright features` lists them."


def _told(comparison: Any) -> str:
    if comparison.same:
        gone = f"; {comparison.expired:,} of them have expired" if comparison.expired else ""
        return f"all {comparison.entities:,} entities are the same in Redis as in Postgres{gone}."
    found = [f"{count:,} {cause}" for cause in _CAUSES if (count := getattr(comparison, cause))]
    return f"of {comparison.entities:,} entities {', '.join(found)}."


@click.group()
def compare() -> None:
    """Compare what should be equal."""


@command(text=_text)
@click.argument("views", nargs=-1, metavar="[VIEW]…")
@click.option("--repair", is_flag=True, help="Send what differs again, and take out what Postgres never had.")
def online(views: tuple[str, ...], repair: bool) -> Done:
    """Compare every entity's newest row in Postgres with Redis, byte by byte, and tell the differences by cause.

    VIEW is a version, or a name, which means its active version; without, all that are served.
    """
    from millwright.compare import compare_online, repair_online
    from millwright.platform import open_platform
    from millwright.registry import applied, keys_expire, resolve_view

    with open_platform(Settings()) as platform:
        wanted = [resolve_view(platform.conn, view) for view in views] or [
            view_id for view_id, view in applied(platform.conn).items() if view.status in ("active", "deprecated")
        ]
        run: Any = repair_online if repair else compare_online
        found = [
            run(
                platform.conn,
                platform.redis,
                platform.definitions,
                platform.definitions.feature_views[view_id],
                project=platform.settings.feast_project,
                expire=keys_expire(platform.settings),
            )
            for view_id in wanted
        ]
    same = all((view.after if repair else view).same for view in found)
    return Done(Parity(same=same, repaired=repair, views=found), code=0 if same else 3)


compare.add_command(online)
