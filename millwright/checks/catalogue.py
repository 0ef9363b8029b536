"""Which checks there are, by the kind of table they look at.

Belongs here: names, what each means, whether it blocks. Does not: how it is found out.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """One check. `blocking`: what comes after would mislead when it fails."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    blocking: bool = False


SCHEMA = Check(name="schema", description="The table has the columns and types that the definitions say.", blocking=True)
UNIQUE_KEY = Check(name="unique_key", description="A valid unique index holds the key: no row can be there twice.", blocking=True)
NON_EMPTY = Check(name="non_empty", description="There are rows.")
DECLARED_RANGES = Check(
    name="declared_ranges", description="Values have the declared type and lie in the declared range.", blocking=True
)
NEW_READINGS = Check(name="new_readings", description="Every reading that was delivered is declared in a dataset.")
QUARANTINE = Check(name="quarantine", description="At most one row in twenty of what was delivered is set aside.")
VOLUME = Check(name="volume", description="A file has between a tenth and ten times the rows of the dataset's earlier files.")
FRESHNESS = Check(name="freshness", description="The newest event is younger than the TTL within which features are served.")
PARITY = Check(
    name="parity",
    description="Redis holds the latest feature row of each of a sample of entities, value by value.",
    blocking=True,
)
PARITY_WHOLE = Check(
    name="parity_whole",
    description="Redis holds each entity's latest feature row, value by value, and no other entity's. Every night, and by hand.",
    blocking=True,
)

WAREHOUSE: dict[str, tuple[Check, ...]] = {
    "measurements": (SCHEMA, UNIQUE_KEY, NON_EMPTY, DECLARED_RANGES, NEW_READINGS, QUARANTINE, VOLUME, FRESHNESS),
    "events": (SCHEMA, UNIQUE_KEY, QUARANTINE, VOLUME),
    "feature_sets": (SCHEMA, UNIQUE_KEY, QUARANTINE, VOLUME),
}
VIEW: tuple[Check, ...] = (SCHEMA, UNIQUE_KEY, NON_EMPTY, DECLARED_RANGES, FRESHNESS)
ONLINE: tuple[Check, ...] = (PARITY,)
"""After each publish."""
ONLINE_WHOLE: tuple[Check, ...] = (PARITY_WHOLE,)
"""Once a night: every entity is read."""
