"""The event timestamp: text → instant.

Belongs here: which timestamps are accepted, their zone, the bounds of time. Does not: other values (values.py), what is told of
a text that is none (hints.py), how a format is read (formats.py).

Nothing is guessed: a time without an offset needs a zone; one that the clocks give twice or leave out is an error, unless the
delivery says which instant it means.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions.datasets import Numbers, Timestamps
from millwright.landing import formats, hints
from millwright.landing.arrays import Mask, mask, trimmed
from millwright.landing.casts import Casts
from millwright.landing.errors import Errors
from millwright.landing.rows import Cells, Kind

_TWICE = "occurs twice in {}: the clocks are set back; say which is meant with --ambiguous earliest|latest"
_NEVER = "does not exist in {}: the clocks are set forward; say what is meant with --nonexistent earliest|latest"
MICROSECONDS = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Bounds:
    """The first and the last instant (UTC) that rows may have: of the platform, and of the dataset where it has them."""

    first: datetime
    last: datetime
    not_before: datetime | None = None
    not_after: datetime | None = None

    def check(self, moment: pa.Array, text: pa.Array, name: str, found: Errors) -> None:
        """Note what lies outside."""
        early = f"is before {self.first:%Y-%m-%d}, the first day"
        found.add(mask(pc.less(moment, self.first)), name, "before_first_day", early, text)
        found.add(mask(pc.greater(moment, self.last)), name, "in_future", "lies in the future", text)
        if self.not_before is not None:
            told = f"is before {self.not_before.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, which the dataset names as its beginning"
            found.add(mask(pc.less(moment, self.not_before)), name, "too_early", told, text)
        if self.not_after is not None:
            told = f"is after {self.not_after.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, which the dataset names as its end"
            found.add(mask(pc.greater(moment, self.not_after)), name, "too_late", told, text)


class Moments:
    """Reads the event timestamps of a delivery."""

    def __init__(self, casts: Casts, how: Timestamps, numbers: Numbers, zone: str | None, bounds: Bounds) -> None:
        self._casts, self._how, self._zone, self._bounds = casts, how, zone, bounds
        self._format = how.format or "iso"
        self._read = formats.reader(casts, self._format, numbers.decimal)
        self._numeric = self._format == "excel" or self._format in formats.DIGITS

    def read(self, cells: Cells, name: str, found: Errors, missing_words: pa.Array | None = None) -> pa.Array:
        """Instants (microseconds, UTC) of the column `name`; null where an error was noted."""
        text, missing = trimmed(cells, missing_words)
        found.add(missing, name, "required", "is missing")
        kinds = (Kind.NUMBER, Kind.STRING) if self._numeric else (Kind.STRING,)
        wanted = f"a timestamp as {self._format}" if self._numeric else "a timestamp as text"
        usable = ~missing & ~found.kinds(cells, name, kinds, wanted, missing)
        micros, local = self._read(text, usable)
        if local is not None:
            micros = pc.coalesce(micros, self._instants(local, text, name, found))
        invalid = usable & ~found.in_column(name) & mask(pc.is_null(micros))
        if invalid.any():
            self._explain(invalid, text, name, found)
        moment = micros.cast(MICROSECONDS)
        self._bounds.check(moment, text, name, found)
        return moment

    def _instants(self, local: pa.Array, text: pa.Array, name: str, found: Errors) -> pa.Array:
        """Local times (microseconds, any zone's clock) as instants of the zone; null where there is none, or not one."""
        naive = mask(pc.is_valid(local))
        if self._zone is None:
            found.add(naive, name, "naive_timestamp", "has no offset and no time zone is given (--timezone)", text)
            return pa.nulls(len(local), pa.int64())
        clock = local.cast(pa.timestamp("us"))
        early = pc.assume_timezone(clock, self._zone, ambiguous="earliest", nonexistent="earliest")
        late = pc.assume_timezone(clock, self._zone, ambiguous="latest", nonexistent="latest")
        unsure = mask(pc.not_equal(early, late))
        if not unsure.any():
            return early.cast(pa.int64())
        twice = unsure & mask(pc.equal(pc.local_timestamp(early), clock))
        use_late = np.zeros(len(unsure), dtype=np.bool_)
        for where, policy, code, told in (
            (twice, self._how.ambiguous, "ambiguous_timestamp", _TWICE),
            (unsure & ~twice, self._how.nonexistent, "nonexistent_timestamp", _NEVER),
        ):
            if policy in (None, "error"):
                found.add(where, name, code, told.format(self._zone), text)
            elif policy == "latest":
                use_late |= where
        return pc.if_else(pa.array(use_late), late, early).cast(pa.int64())

    def _explain(self, invalid: Mask, text: pa.Array, name: str, found: Errors) -> None:
        if self._format == "iso":
            number = mask(pc.match_substring_regex(text, r"^[+-]?[0-9]+([.,][0-9]*)?$")) & invalid
            if number.any():
                value = self._casts(pc.replace_substring(text, ",", "."), number, "double")
                for unit, least, greatest in hints.epochs(self._bounds.first, self._bounds.last):
                    fits = number & mask(pc.and_(pc.greater_equal(value, least), pc.less_equal(value, greatest)))
                    told = f"is a number; as {unit} it is a believable date: give --timestamp-format {unit}"
                    found.add(fits, name, "not_a_timestamp", told, text)
            rest, explained = invalid & ~found.in_column(name), hints.ISO
            found.explain(rest, name, "not_a_timestamp", explained, hints.NOT_ISO, text)
        else:
            found.add(invalid, name, "not_a_timestamp", f"is no timestamp in the format {self._format}", text)
