"""A receipt as Dagster shows it: numbers, and tables of errors, warnings, duplicates, days and first rows.

Belongs here: receipt → metadata and the observation of what arrived. Does not: what a receipt says (landing/batches.py), which
asset and day are marked (events.py). Cells come from the receipt's preview alone, which leaves sensitive fields out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from millwright.landing.batches import ErrorKind, Receipt
from platform_assets import keys

COUNTS = ("received", "loaded", "corrected", "deleted", "duplicate", "quarantined")
LONGEST = 50
Value = str | int | float | bool


def observation(receipt: Receipt) -> dg.AssetObservation:
    """What arrived, on the external asset that it arrived at, with the whole receipt."""
    key = keys.landing_csv(receipt.dataset) if receipt.topic is None else keys.landing_kafka(receipt.topic)
    return dg.AssetObservation(asset_key=key, metadata=of_one(receipt), description=f"{delivery(receipt)}: {receipt.state}")


def delivery(receipt: Receipt) -> str:
    """Which delivery it is, in words."""
    what = receipt.file_name or f"{receipt.topic}/{receipt.partition} from offset {receipt.first_offset}"
    return f"Batch {receipt.batch_id} ({what}, dataset {receipt.dataset})"


def of_one(receipt: Receipt) -> dict[str, Any]:
    """A receipt as metadata: counts that can be plotted, and its tables where they have lines."""
    found: dict[str, Any] = {
        "batch": receipt.batch_id or 0,
        "state": receipt.state,
        "bytes": receipt.bytes,
        **{name: getattr(receipt, name) for name in COUNTS},
        "seconds": round(sum(receipt.stages.values()), 4),
        **{f"seconds_{name}": round(value, 4) for name, value in receipt.stages.items()},
        "settings_hash": receipt.settings_hash,
    }
    if receipt.topic is None:
        found |= {"file": receipt.file_name or "", "sha256": receipt.sha256 or ""}
    else:
        found |= {"offsets": f"{receipt.first_offset} to {receipt.end_offset} of partition {receipt.partition}"}
    if receipt.first_event and receipt.last_event:
        found["first_event"] = dg.MetadataValue.timestamp(receipt.first_event)
        found["last_event"] = dg.MetadataValue.timestamp(receipt.last_event)
    if receipt.error:
        found["error"] = receipt.error
    if receipt.proposal:
        found["proposal"] = receipt.proposal.command
        if receipt.proposal.questions:
            found["questions"] = dg.MetadataValue.md("\n".join(f"- {each.text}" for each in receipt.proposal.questions))
    if receipt.dialect:
        found["dialect"] = dg.MetadataValue.json({name: value for name, value in receipt.dialect.items() if name != "columns"})
    return found | _tables([receipt], named=False) | _days(receipt.days) | shown("preview", receipt.preview)


def of_many(receipts: Sequence[Receipt]) -> dict[str, Any]:
    """What the batches that a day's mark stands for have in common to tell: one line a batch, and their tables together."""
    lines = [
        {
            "batch": receipt.batch_id or 0,
            "delivery": receipt.file_name or f"{receipt.topic}/{receipt.partition}",
            **{name: getattr(receipt, name) for name in COUNTS},
            "seconds": round(sum(receipt.stages.values()), 3),
            "settings_hash": receipt.settings_hash[:12],
        }
        for receipt in receipts
    ]
    return {**shown("receipts", lines), **_tables(receipts, named=True)}


def shown(name: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A table as metadata, nothing without lines; at most 50 lines, a column for every name that one of them has."""
    if not lines:
        return {}
    columns = list(dict.fromkeys(column for line in lines for column in line))
    records = [{column: _plain(line.get(column)) for column in columns} for line in lines[:LONGEST]]
    schema = dg.TableSchema([dg.TableColumn(column, _type(record[column] for record in records)) for column in columns])
    return {name: dg.MetadataValue.table([dg.TableRecord(record) for record in records], schema)}


def _tables(receipts: Sequence[Receipt], *, named: bool) -> dict[str, Any]:
    """Errors, warnings, duplicates and new readings of some batches; `named`: each line says which batch it is of."""

    def batch(receipt: Receipt) -> dict[str, Any]:
        return {"batch": receipt.batch_id or 0} if named else {}

    def kinds(receipt: Receipt, found: Sequence[ErrorKind]) -> list[dict[str, Any]]:
        return [{**batch(receipt), **kind.model_dump()} for kind in found]

    duplicates = [
        {**batch(receipt), "same_as_batch" if named else "batch": each.batch_id, **each.model_dump(exclude={"batch_id"})}
        for receipt in receipts
        for each in receipt.duplicates_of
    ]
    new = list(dict.fromkeys(name for receipt in receipts for name in receipt.new_readings))
    return {
        **shown("errors", [line for receipt in receipts for line in kinds(receipt, receipt.errors)]),
        **shown("warnings", [line for receipt in receipts for line in kinds(receipt, receipt.warnings)]),
        **shown("duplicates_of", duplicates),
        **({"new_readings": ", ".join(new[:LONGEST]) + (", …" if len(new) > LONGEST else "")} if new else {}),
    }


def _days(days: Mapping[date, int]) -> dict[str, Any]:
    return shown("days", [{"day": day.isoformat(), "rows": rows} for day, rows in sorted(days.items(), reverse=True)])


def _plain(value: Any) -> Value:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return value if isinstance(value, str | int | float | bool) else str(value)


def _type(values: Any) -> str:
    kinds = {type(value) for value in values} - {str}
    return {bool: "bool", int: "int", float: "float"}.get(kinds.pop(), "string") if len(kinds) == 1 else "string"
