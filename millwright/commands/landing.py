"""Commands on deliveries: upload, batches, quarantine, replay. Does not: what they do (landing/)."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.output import Done, command, rows, size
from millwright.settings import Settings

if TYPE_CHECKING:
    import psycopg

    from millwright.landing.batches import Batches, Receipt
    from millwright.landing.quarantine import Quarantined

_ENDED = ("landed", "refused", "failed", "undone")
_UNTAKEN_SECONDS = 20.0
_SHOWN = 20


def _receipt_text(receipt: Receipt) -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    what = receipt.file_name or f"{receipt.topic}[{receipt.partition}], offsets {receipt.first_offset} to {receipt.end_offset}"
    number = "Dry run, nothing was changed" if receipt.batch_id is None else f"Batch {receipt.batch_id}"
    parts: list[Any] = [f"[bold]{number}: {receipt.state}[/bold]", escape(f"{what} → {receipt.dataset}, {size(receipt.bytes)}")]
    if receipt.error:
        parts += ["", escape(receipt.error)]
    if receipt.state in ("landed", "undone", "dry_run"):
        counts = Table(box=None, show_header=False, pad_edge=False)
        counts.add_column()
        counts.add_column(justify="right")
        for name in ("received", "loaded", "corrected", "deleted", "duplicate", "quarantined"):
            counts.add_row(name, f"{getattr(receipt, name):,}")
        parts += ["", counts, ""]
        if receipt.first_event and receipt.last_event:
            parts.append(
                f"{len(receipt.days)} days changed; events {receipt.first_event:%F %T} to {receipt.last_event:%F %T} UTC"
            )
        if receipt.new_readings:
            parts.append(escape(f"New readings: {', '.join(receipt.new_readings)}"))
        parts.append("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in receipt.stages.items()))
    if receipt.duplicates_of:
        parts += ["\n[bold]Duplicates of[/bold]", rows(receipt.duplicates_of)]
    if receipt.errors:
        parts += ["\n[bold]In quarantine[/bold]", rows(receipt.errors)]
        if receipt.batch_id is not None:
            parts.append(f"`millwright quarantine {receipt.batch_id} -o errors.csv` writes the rows with the reasons.")
    return Group(*parts)


def _received_text(received: Any) -> Any:
    if not hasattr(received, "already"):
        return _receipt_text(received)
    if received.already:
        return (
            f"This file was delivered before with the same options: batch {received.batch_id}, {received.state}. "
            f"Nothing changed. `millwright batches {received.batch_id}` shows its receipt."
        )
    return (
        f"Received as batch {received.batch_id} ({size(received.file_bytes)}). It lands with the next run; "
        f"`millwright batches {received.batch_id}` tells."
    )


def _pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        left, mark, right = value.partition("=")
        if not mark or not left or not right:
            raise click.BadParameter(f"{value!r}: write two names with = between them, such as {parameter.metavar}")
        if left in pairs:
            raise click.BadParameter(f"{left} is given twice")
        pairs[left] = right
    return pairs


@command(text=_received_text)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True))
@click.option("--dataset", "-d", help="Dataset that the file is a delivery of; needed if there is more than one.")
@click.option("--map", "columns", multiple=True, callback=_pairs, metavar="column=field", help="What a column means; repeatable.")
@click.option(
    "--set", "constants", multiple=True, callback=_pairs, metavar="field=value", help="A field for all rows; repeatable."
)
@click.option("--timezone", metavar="ZONE", help="Zone of timestamps that have no offset, such as Europe/Berlin.")
@click.option("--dry-run", is_flag=True, help="Do everything, tell what would happen, change nothing.")
@click.option("--correction", is_flag=True, help="Values may replace what is there; what they replace is kept.")
@click.option("--historical", is_flag=True, help="The rows were known at their event time.")
@click.option("--wait", is_flag=True, help="Wait until it has landed and print the receipt.")
def upload(
    file: Path,
    dataset: str | None,
    columns: dict[str, str],
    constants: dict[str, str],
    timezone: str | None,
    dry_run: bool,
    correction: bool,
    historical: bool,
    wait: bool,
) -> Done:
    """Land a CSV file."""
    from millwright.definitions import load
    from millwright.landing.load import dry_run as run_dry
    from millwright.landing.receive import Delivery, receive
    from millwright.warehouse.connect import connect

    settings = Settings()
    definitions = load(settings.feature_repo)
    if dataset is None:
        if len(definitions.datasets) != 1:
            names = ", ".join(sorted(definitions.datasets)) or "none is defined"
            raise click.UsageError(f"Which dataset is it? Add --dataset with one of: {names}.")
        dataset = next(iter(definitions.datasets))
    delivery = Delivery(columns=columns, constants=constants, timezone=timezone, correction=correction, historical=historical)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        if dry_run:
            return _done(run_dry(conn, settings, definitions, file, dataset=dataset, delivery=delivery))
        received = receive(
            conn,
            settings,
            definitions,
            file,
            dataset=dataset,
            file_name=file.name,
            delivery=delivery,
            channel="upload",
            by=getpass.getuser(),
        )
        if not wait:
            return Done(received)
        if received.already:
            click.echo(f"This file was delivered before with the same options, as batch {received.batch_id}.", err=True)
        return _done(_landed(conn, received.batch_id))


@command(text=lambda found: rows(found.batches) if hasattr(found, "batches") else _receipt_text(found))
@click.argument("batch", type=int, required=False)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many to list.")
def batches(batch: int | None, limit: int) -> Batches | Receipt:
    """The ledger of deliveries, newest first; with a number, its receipt."""
    from millwright.landing import batches as ledger
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        return ledger.batches(conn, limit) if batch is None else ledger.receipt(conn, batch)


def _quarantine_text(found: Any) -> Any:
    if not hasattr(found, "total"):
        return f"{found.rows:,} rows of batch {found.batch_id} written to {found.file}."
    if not found.rows:
        return f"Batch {found.batch_id} has no rows in quarantine."
    lines = []
    for row in found.rows:
        reasons = "; ".join(": ".join(filter(None, (e.column, e.code, e.message))) for e in row.errors)
        lines.append(f"{row.position}: {reasons}\n    {row.original[:200]}")
    more = f"\n… and {found.total - len(found.rows):,} more: add -o errors.csv." if found.total > len(found.rows) else ""
    from rich.text import Text

    return Text("\n".join(lines) + more)


@command(text=_quarantine_text)
@click.argument("batch", type=int)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False, writable=True), help="Write all rows to a CSV file."
)
def quarantine(batch: int, output: Path | None) -> Quarantined | Any:
    """Rows of a batch that were set aside, with the reasons."""
    from millwright.landing.quarantine import export, quarantined
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        if output is None:
            return quarantined(conn, batch, _SHOWN)
        with output.open("w", encoding="utf-8", newline="") as file:
            return export(conn, batch, file).model_copy(update={"file": str(output)})


@command(text=lambda receipt: f"Batch {receipt.batch_id} is planned again. It lands with the next run.")
@click.argument("batch", type=int)
def replay(batch: int) -> Receipt:
    """Plan a failed or refused batch again."""
    from millwright.landing.batches import replay as plan_again
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        return plan_again(conn, batch)


def _landed(conn: psycopg.Connection[Any], batch_id: int) -> Receipt:
    """The receipt once the batch has ended; raises ClickException when no run takes it."""
    from millwright.landing.batches import receipt
    from millwright.warehouse import ledger

    since = time.monotonic()
    while True:
        batch = ledger.get(conn, batch_id)
        assert batch is not None
        if batch.state in _ENDED:
            return receipt(conn, batch_id)
        if batch.plan is None and batch.state == "planned" and time.monotonic() - since > _UNTAKEN_SECONDS:
            raise click.ClickException(
                f"Batch {batch_id} is received and safe, but no run has taken it for {_UNTAKEN_SECONDS:.0f} s: "
                "the Dagster daemon does not seem to run, or its sensor is off. "
                "`millwright status` tells, `millwright up` starts it."
            )
        time.sleep(0.1)


def _done(receipt: Receipt) -> Done:
    if receipt.state not in ("landed", "dry_run"):
        return Done(receipt, 1)
    return Done(receipt, 3 if receipt.quarantined else 0)
