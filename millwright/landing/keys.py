"""What names a row beside its time: join keys and the target's word (sensor_type, kind).

Belongs here: their form and the allowed words. Does not: readings (values.py), series in Postgres.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Dataset, Entity
from millwright.landing.arrays import mask, trimmed
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind
from millwright.landing.values import Values

LONGEST_KEY = 200


class Keys:
    """Reads the keys of a delivery's rows."""

    def __init__(self, values: Values, dataset: Dataset, entity: Entity) -> None:
        self._values, self._dataset, self._entity = values, dataset, entity

    @property
    def names(self) -> list[str]:
        """The join keys, and the target's word if it has one."""
        return [*self._entity.keys, *filter(None, [self._dataset.word])]

    def read(self, cells: Cells, name: str, column: str, found: Errors) -> pa.Array:
        """Text of the key `name` in a column of that name; not to be used where an error was noted."""
        text, missing = trimmed(cells, self._values.missing)
        found.add(missing, column, "required", "is missing")
        number = self._entity.join_keys.get(name) == "int64"
        found.kinds(cells, column, (Kind.NUMBER,) if number else (Kind.STRING,), "a number" if number else "text", missing)
        if number:
            return pc.coalesce(
                pc.cast(self._values.integer(text, ~missing, column, found, json=cells.kinds is not None), pa.string()), ""
            )
        too_long = mask(pc.greater(pc.binary_length(text), LONGEST_KEY))
        found.add(too_long, column, "too_long", f"is longer than {LONGEST_KEY} bytes")
        if name == self._dataset.word and (words := self._dataset.sensor_types or self._dataset.kinds):
            known = mask(pc.is_in(text, pa.array(words)))
            found.add(~missing & ~known, column, f"unknown_{name}", f"is none of {', '.join(words)}", text)
        return text
