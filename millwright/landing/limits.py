"""How much of a file is read: the settings that bound what one delivery may cost.

Belongs here: the numbers. Does not: what is refused with them (unpack.py, header.py, csv.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from millwright.settings import Settings


def _default(setting: str) -> Any:
    return Settings.model_fields[setting].default


@dataclass(frozen=True)
class Limits:
    """Unpacked bytes and their ratio to the packed ones, columns, bytes of one row."""

    unpacked_bytes: int = _default("max_unpacked_bytes")
    unpacked_ratio: int = _default("max_unpacked_ratio")
    columns: int = _default("max_columns")
    record_bytes: int = _default("max_record_bytes")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits as the settings have them."""
        return cls(
            settings.max_unpacked_bytes,
            settings.max_unpacked_ratio,
            settings.max_columns,
            settings.max_record_bytes,
        )
