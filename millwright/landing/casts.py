"""Text whose form was checked before → numbers and instants, by DuckDB, a column at a time.

Belongs here: the casts, held against Python's own by property tests. Does not: which text may be cast.
"""

from __future__ import annotations

import pyarrow as pa

from millwright.landing.arrays import Mask, only
from millwright.landing.duck import cursor

_CASTS = {
    "double": "select try_cast(c as double) as v from cells",
    "int64": "select try_cast(c as bigint) as v from cells",
    "local": "select epoch_us(try_cast(c as timestamp)) as v from cells",
    "instant": "select epoch_us(try_cast(c as timestamptz)) as v from cells",
}


class Casts:
    """A DuckDB in memory that casts; `close` gives its memory back."""

    def __init__(self) -> None:
        self._caster = cursor()

    def __call__(self, text: pa.Array, where: Mask, to: str) -> pa.Array:
        """The rows of `where` as `double`, `int64`, or microseconds of a `local` time or an `instant`; null where impossible."""
        if not where.any():
            return pa.nulls(len(text), pa.float64() if to == "double" else pa.int64())
        self._caster.register("cells", pa.table({"c": only(text, where)}))
        try:
            return self._caster.sql(_CASTS[to]).to_arrow_table().column(0).combine_chunks()
        finally:
            self._caster.unregister("cells")

    def close(self) -> None:
        """Give back the memory."""
        self._caster.close()
