"""The command that takes a landed batch out again. Does not: how it is done (landing/undo.py)."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.output import command, rows
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.landing.undo import Undone

_COLUMNS = ("batch_id", "delivery", "removed", "restored", "shortened", "reopened")


def _undone_text(undone: Undone) -> Any:
    from rich.console import Group

    if undone.already:
        return f"Batch {undone.batch_id} was undone before, {undone.created_timestamp:%F %T} UTC. Nothing changed."
    days = {day for one in undone.batches for day in one.days}
    return Group(
        rows(undone.batches, _COLUMNS),
        f"\n{len(days)} days changed; features and Redis follow with the next run. "
        f"`millwright replay {undone.batch_id}` lands it again.",
    )


@command(text=_undone_text)
@click.argument("batch", type=int)
@click.option("--cascade", is_flag=True, help="Undo the later batches that met its rows too, newest first.")
def undo(batch: int, cascade: bool) -> Undone:
    """Take a landed batch's rows out again and put back what they replaced."""
    from millwright.landing.undo import undo as take_out
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        return take_out(conn, batch, cascade=cascade, by=getpass.getuser())
