"""The event timestamp: text → instant.

Belongs here: what a timestamp is, its zone, the bounds of time. Does not: other values (values.py).

Nothing is guessed: a time without an offset needs a zone, one that the clocks give twice or leave out is an error. Digits after
the microsecond are cut.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from millwright.landing.arrays import Mask, mask, trimmed
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind

_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)$"
_LOCAL = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]{1,9})?)?"
_TIMESTAMP = _LOCAL + r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?$"
MICROSECONDS = pa.timestamp("us", "UTC")


class Moments:
    """Reads the event timestamps of a delivery; `first` and `last` (UTC) bound them."""

    def __init__(self, casts: Casts, zone: str | None, first: datetime, last: datetime) -> None:
        self._casts, self._zone, self._first, self._last = casts, zone, first, last

    def read(self, cells: Cells, name: str, found: Errors) -> pa.Array:
        """Instants (microseconds, UTC) of the column `name`; null where an error was noted."""
        text, missing = trimmed(cells)
        found.add(missing, name, "required", "is missing")
        wrong = found.kinds(cells, name, (Kind.STRING,), "a timestamp as text") | missing
        fits = mask(pc.match_substring_regex(text, _TIMESTAMP)) & ~wrong
        aware = mask(pc.match_substring_regex(text, _OFFSET)) & fits
        plain = pc.replace_substring(text, ",", ".")
        micros = self._casts(plain, aware, "instant")
        if (naive := fits & ~aware).any():
            micros = pc.coalesce(micros, self._local(plain, naive, name, found))
        invalid = ~wrong & ~found.in_column(name) & mask(pc.is_null(micros))
        found.add(invalid, name, "not_a_timestamp", "is not an ISO 8601 timestamp such as 2026-03-01T12:00:00Z", text)
        moment = micros.cast(MICROSECONDS)
        early = f"is before {self._first:%Y-%m-%d}, the first day"
        found.add(mask(pc.less(moment, self._first)), name, "before_first_day", early, text)
        found.add(mask(pc.greater(moment, self._last)), name, "in_future", "lies in the future", text)
        return moment

    def _local(self, text: pa.Array, naive: Mask, name: str, found: Errors) -> pa.Array:
        if self._zone is None:
            found.add(naive, name, "naive_timestamp", "has no offset and no time zone is given (--timezone)", text)
            return pa.nulls(len(text), pa.int64())
        local = self._casts(text, naive, "local").cast(pa.timestamp("us"))
        early = pc.assume_timezone(local, self._zone, ambiguous="earliest", nonexistent="earliest")
        late = pc.assume_timezone(local, self._zone, ambiguous="latest", nonexistent="latest")
        unsure = mask(pc.not_equal(early, late))
        if unsure.any():
            twice = unsure & mask(pc.equal(pc.local_timestamp(early), local))
            found.add(twice, name, "ambiguous_timestamp", f"occurs twice in {self._zone}: the clocks are set back", text)
            missing = f"does not exist in {self._zone}: the clocks are set forward"
            found.add(unsure & ~twice, name, "nonexistent_timestamp", missing, text)
        return early.cast(pa.int64())
