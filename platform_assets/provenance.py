"""What a materialization says of its origin, for the UI's *unsynced*.

Belongs here: tags of events. Does not: numbers (metadata.py), events (events.py).

The UI calls an asset unsynced when its definition has changed since, and only then. Whether its data is behind is not for a
comparison of event times: the change log says so, and the planner acts on it. So every input has one and the same data version.
"""

from __future__ import annotations

import dagster as dg

SAME_DATA = "INITIAL"  # Dagster's own name for the version of data that nobody versions


def provenance(spec: dg.AssetSpec) -> dict[str, str]:
    """Code version, and for each dependency that its data is the same."""
    tags = {"dagster/code_version": spec.code_version or ""}
    for dep in spec.deps:
        name = dep.asset_key.to_user_string()
        tags |= {f"dagster/input_data_version/{name}": SAME_DATA, f"dagster/input_event_pointer/{name}": "NULL"}
    return tags
