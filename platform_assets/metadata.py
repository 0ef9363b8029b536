"""Metadata that every materialization carries: the same plottable numbers, and a preview.

Belongs here: reports → numbers, rows → a table. Does not: which asset and day they belong to (events.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from millwright.landing.batches import Receipt
from platform_assets import receipts

PREVIEW_ROWS = 10


@dataclass
class Numbers:
    """What steps on one asset add up to. `days`: rows per UTC day; `stages`: seconds by name; times are UTC."""

    days: Counter[date] = field(default_factory=Counter)
    bytes: int = 0
    quarantined: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    first_event: datetime | None = None
    last_event: datetime | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)

    def add(
        self,
        *,
        days: Mapping[date, int],
        bytes: int = 0,
        quarantined: int = 0,
        stages: Mapping[str, float],
        first_event: datetime | None,
        last_event: datetime | None,
        rows: Sequence[dict[str, Any]],
    ) -> None:
        """Add one report."""
        self.days.update(days)
        self.bytes += bytes
        self.quarantined += quarantined
        self.stages.update(stages)
        self.first_event = min(filter(None, (self.first_event, first_event)), default=None)
        self.last_event = max(filter(None, (self.last_event, last_event)), default=None)
        self.rows = [*self.rows, *rows][:PREVIEW_ROWS]

    def metadata(self, day: date) -> dict[str, Any]:
        """Metadata of one day. `rows` is the day's; the other numbers are those of all the steps that touched it."""
        found: dict[str, Any] = {
            "rows": self.days[day],
            "bytes": self.bytes,
            "quarantined": self.quarantined,
            "seconds": round(sum(self.stages.values()), 4),
            **{f"seconds_{name}": round(value, 4) for name, value in self.stages.items()},
        }
        if self.receipts:
            found["batches"] = ", ".join(str(receipt.batch_id) for receipt in self.receipts)
            found |= receipts.of_many(self.receipts)
        if self.first_event and self.last_event:
            found["first_event"] = dg.MetadataValue.timestamp(self.first_event)
            found["last_event"] = dg.MetadataValue.timestamp(self.last_event)
            found["lag_seconds"] = round((datetime.now(UTC) - self.last_event).total_seconds(), 3)
        if self.rows:
            found |= receipts.shown("preview", self.rows)
        return found


def preview(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; a column for every name that one of them has."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
