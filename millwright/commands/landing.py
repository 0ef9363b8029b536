"""Commands on what was delivered: batches, quarantine, replay. Does not: upload (upload.py), what they do (landing/)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from millwright.commands.meaning import meaning_text
from millwright.commands.output import command, rows, size
from millwright.settings import Settings

if TYPE_CHECKING:
    from millwright.landing.batches import Batches, Receipt
    from millwright.landing.quarantine import Quarantined

_SHOWN = 20


def receipt_text(receipt: Receipt) -> Any:
    """A receipt for a person."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    what = receipt.file_name or f"{receipt.topic}[{receipt.partition}], offsets {receipt.first_offset} to {receipt.end_offset}"
    number = "Dry run, nothing was changed" if receipt.batch_id is None else f"Batch {receipt.batch_id}"
    parts: list[Any] = [f"[bold]{number}: {receipt.state}[/bold]", escape(f"{what} → {receipt.dataset}, {size(receipt.bytes)}")]
    if receipt.error:
        parts += ["", escape(receipt.error)]
    if receipt.proposal:
        from millwright.commands.proposals import mapping_text

        parts += ["", mapping_text(receipt.proposal)]
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
        if receipt.repaired:
            parts.append(f"{receipt.repaired:,} rows of batch {receipt.options.get('repairs')} are repaired")
        if receipt.new_readings:
            parts.append(escape(f"New readings: {', '.join(receipt.new_readings)}"))
        if receipt.mapping:
            parts.append(escape(meaning_text(receipt)))
        parts.append("Seconds: " + ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in receipt.stages.items()))
    if receipt.duplicates_of:
        parts += ["\n[bold]Duplicates of[/bold]", rows(receipt.duplicates_of)]
    if receipt.warnings:
        parts += ["\n[bold]Landed, but look[/bold]", rows(receipt.warnings)]
    if receipt.undone:
        note = receipt.undone
        together = "" if note.with_batch == receipt.batch_id else f" with batch {note.with_batch}"
        parts += [
            f"\nUndone{together} by {escape(note.by)}, {note.created_timestamp:%F %T} UTC, on {len(note.days)} days:",
            rows([note], ("removed", "restored", "shortened", "reopened")),
        ]
    if receipt.errors:
        aside = receipt.state != "refused"
        parts += [f"\n[bold]{'In quarantine' if aside else 'Errors'}[/bold]", rows(receipt.errors)]
        if receipt.batch_id is not None and aside:
            parts.append(f"`millwright quarantine {receipt.batch_id} -o errors.csv` writes the rows with the reasons.")
    return Group(*parts)


@command(text=lambda found: rows(found.batches) if hasattr(found, "batches") else receipt_text(found))
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
        return (
            f"{found.rows:,} rows of batch {found.batch_id} written to {found.file}. "
            f"Mend them there, then: `millwright upload {found.file} --repairs {found.batch_id}`"
        )
    repaired = ", ".join(f"{count:,} by batch {batch}" for batch, count in found.repaired.items())
    if not found.rows:
        return f"Batch {found.batch_id} has no open rows in quarantine." + (f" Repaired: {repaired}." if repaired else "")
    lines = [f"{found.open:,} of {found.total:,} rows are open. Repaired: {repaired}."] if repaired else []
    for row in found.rows:
        reasons = "; ".join(": ".join(filter(None, (e.column, e.code, e.message))) for e in row.errors)
        lines.append(f"{row.position}: {reasons}\n    {row.original[:200]}")
    more = f"\n… and {found.open - len(found.rows):,} more: add -o errors.csv." if found.open > len(found.rows) else ""
    from rich.text import Text

    return Text("\n".join(lines) + more)


@command(text=_quarantine_text)
@click.argument("batch", type=int)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path, dir_okay=False, writable=True), help="Write all open rows to a CSV file."
)
def quarantine(batch: int, output: Path | None) -> Quarantined | Any:
    """Rows of a batch that were set aside and are still open, with the reasons."""
    from millwright.landing.export import export
    from millwright.landing.quarantine import quarantined
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        if output is None:
            return quarantined(conn, batch, _SHOWN)
        with output.open("w", encoding="utf-8", newline="") as file:
            return export(conn, batch, file).model_copy(update={"file": str(output)})


@command(text=lambda receipt: f"Batch {receipt.batch_id} is planned again. It lands with the next run.")
@click.argument("batch", type=int)
def replay(batch: int) -> Receipt:
    """Plan a failed, refused or undone batch again."""
    from millwright.landing.batches import replay as plan_again
    from millwright.warehouse.connect import connect

    with connect(Settings().require("postgres_url"), autocommit=True) as conn:
        return plan_again(conn, batch)


def _pruned_text(pruned: Any) -> str:
    what = "Would remove" if pruned.dry_run else "Removed"
    strays = f" and {pruned.strays:,} of no delivery" if pruned.strays else ""
    return f"{what} {pruned.files:,} received files{strays}, {size(pruned.bytes)}. Receipts, quarantine and rows stay."


@command(text=_pruned_text)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(dry_run: bool) -> Any:
    """Remove received files that are older than the setting keep_landed_files says."""
    from millwright.landing.zone import prune as remove
    from millwright.warehouse.connect import connect

    settings = Settings()
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        return remove(conn, settings, dry_run=dry_run)
