"""What of cells and errors may stand in receipts and quarantine: bounded by settings, however wide a file is.

Belongs here: cutting. Does not: which values may be shown at all (sensitive fields are left out before), reading (csv.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from millwright.landing.rows import CellError
from millwright.settings import Settings


def capped(row: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """A row of a preview: its first fields, long texts cut."""
    return {name: _cut(value, settings.preview_characters) for name, value in islice(row.items(), settings.preview_columns)}


def first_errors(errors: Sequence[CellError], kept: int) -> list[CellError]:
    """A row's errors, at most `kept`, and how many more there were."""
    if len(errors) <= kept:
        return list(errors)
    more: CellError = {"column": "", "code": "more_errors", "message": f"and {len(errors) - kept} more errors in this row"}
    return [*errors[:kept], more]


def _cut(value: Any, longest: int) -> Any:
    return f"{value[:longest]}…" if isinstance(value, str) and len(value) > longest else value
