"""`--wait`: follows deliveries until they are served, with a bar on a terminal and a line a stage elsewhere.

Belongs here: showing progress, and when waiting is given up. Does not: how far a batch is (millwright/progress.py).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from millwright.settings import Settings

if TYPE_CHECKING:
    import psycopg

    from millwright.definitions import Definitions
    from millwright.progress import Progress

UNTAKEN_SECONDS = 20.0
STILL_SECONDS = 60.0
_PAUSE = 0.1


def follow(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, batch_ids: Sequence[int]
) -> dict[int, Progress]:
    """The last progress of each batch: ended, or standing still for so long that waiting was given up, which is told.

    Raises ClickException when no run takes a batch.
    """
    from millwright.online import connect
    from millwright.progress import Follower, busy

    with ExitStack() as stack:
        clients: list[Any] = []

        def client() -> Any:
            if not clients:
                clients.append(stack.enter_context(connect.client(settings.require("redis_url"))))
            return clients[0]

        waiting = {number: Follower(definitions, number, client=client, project=settings.feast_project) for number in batch_ids}
        last: dict[int, Progress] = {}
        show = stack.enter_context(_shown(len(batch_ids)))
        since = time.monotonic()
        while waiting:
            for number, follower in list(waiting.items()):
                seen = follower.look(conn)
                if seen != last.get(number):
                    since = time.monotonic()
                    show(seen)
                last[number] = seen
                if seen.ended:
                    del waiting[number]
            still = time.monotonic() - since
            if still > min(UNTAKEN_SECONDS, STILL_SECONDS) and busy(conn):
                since = time.monotonic()
            elif still > UNTAKEN_SECONDS and (untaken := [number for number in waiting if not last[number].taken]):
                raise click.ClickException(_untaken(untaken))
            elif still > STILL_SECONDS:
                for number in waiting:
                    click.echo(_stands_still(last[number]), err=True)
                break
            if waiting:
                time.sleep(_PAUSE)
        return last


def _untaken(numbers: Sequence[int]) -> str:
    what = f"Batch {numbers[0]} is" if len(numbers) == 1 else f"{len(numbers)} batches are"
    return (
        f"{what} received and safe, but no run has taken it for {UNTAKEN_SECONDS:.0f} s: "
        "the Dagster daemon does not seem to run, or its sensor is off. `millwright status` tells, `millwright up` starts it."
    )


def _stands_still(progress: Progress) -> str:
    where = {3: "has landed, but is not in the features of", 4: "is in the features, but not in Redis for"}
    views = f" {', '.join(progress.waits_for)}" if progress.waits_for else ""
    what = where.get(progress.passed, f"is {progress.state}")
    return (
        f"Batch {progress.batch_id} {what}{views}, and nothing has moved for {STILL_SECONDS:.0f} s. Its run may have failed or a "
        "check may hold it back: the run's page in Dagster tells. Nothing is lost; the next run goes on."
    )


@contextmanager
def _shown(batches: int) -> Iterator[Callable[[Progress], None]]:
    """A function that shows one batch's progress, on stderr."""
    from millwright.progress import STAGES

    if not sys.stderr.isatty():
        told: dict[int, int] = {}

        def line(seen: Progress) -> None:
            for stage in STAGES[told.get(seen.batch_id, 0) : seen.passed]:
                click.echo(f"batch {seen.batch_id}: {stage}", err=True)
            told[seen.batch_id] = seen.passed
            if seen.ended and seen.passed < len(STAGES):
                click.echo(f"batch {seen.batch_id}: {seen.state}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("batch {task.fields[batch]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=batches > 1) as bars:
        tasks: dict[int, Any] = {}

        def bar(seen: Progress) -> None:
            if seen.batch_id not in tasks:
                tasks[seen.batch_id] = bars.add_task("", total=len(STAGES), batch=seen.batch_id)
            next_stage = STAGES[seen.passed] if seen.passed < len(STAGES) else "served"
            text = seen.state if seen.ended and seen.passed < len(STAGES) else next_stage
            bars.update(tasks[seen.batch_id], completed=seen.passed, description=text)

        yield bar
