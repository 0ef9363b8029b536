"""How a delivery was read, as lines of its receipt: dialect, columns, constants, units, zone and policies.

Belongs here: the dialect and the mapping of a receipt as text. Does not: counts and errors (landing.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millwright.landing.batches import Receipt

_MARKS = {"\t": "tab", " ": "space", "": "none"}
_SHOWN = 30


def meaning_text(receipt: Receipt) -> str:
    """What the cells were taken to mean, one line for each part that there is."""
    mapping, dialect = receipt.mapping, receipt.dialect
    units, times = mapping.get("units") or {}, mapping.get("timestamps") or {}
    columns = [f"{column} → {_with_unit(field, units)}" for column, field in (mapping.get("columns") or {}).items()]
    numbers = mapping.get("numbers") or {}
    lines = {
        "Read as": ", ".join(
            f"{name} {_mark(dialect[name])}" for name in ("encoding", "compression", "delimiter") if name in dialect
        ),
        "Columns": _listed(columns),
        "For all rows": _listed([f"{field} = {value}" for field, value in (mapping.get("constants") or {}).items()]),
        "Left out": _listed(mapping.get("ignored") or []),
        "Long": " = ".join((mapping.get("layout") or {}).values()),
        "Times": ", ".join([f"zone {mapping.get('timezone') or 'none'}", *(f"{name} {value}" for name, value in times.items())]),
        "Numbers": ", ".join(f"{name} {_mark(value)}" for name, value in numbers.items()),
        "Settings": receipt.settings_hash[:12],
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)


def _with_unit(field: str, units: dict[str, str]) -> str:
    return f"{field} [{units[field]}]" if field in units else field


def _mark(value: Any) -> str:
    return _MARKS.get(value, str(value))


def _listed(parts: list[str]) -> str:
    more = f", and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more
