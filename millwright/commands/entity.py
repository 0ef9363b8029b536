"""An entity as it is named on a command line: KEY=VALUE for each of its join keys. Does not: look whether it exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


def entity_of(keys: Sequence[str], types: Mapping[str, str]) -> dict[str, Any]:
    """Value by join key, of its type. Raises UsageError for what is missing, unknown or of another type."""
    row: dict[str, Any] = {}
    for pair in keys:
        name, found, text = pair.partition("=")
        if not found or name not in types:
            raise click.UsageError(f"{pair!r} names no join key: write {' '.join(f'{key}=…' for key in types)}")
        try:
            row[name] = int(text) if types[name] == "int64" else text
        except ValueError:
            raise click.UsageError(f"{name} is a whole number, not {text!r}") from None
    if missing := [name for name in types if name not in row]:
        raise click.UsageError(f"missing: {' '.join(f'{name}=…' for name in missing)}")
    return row
