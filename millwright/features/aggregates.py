"""The aggregates' algebra: prepare an instant, merge instants and tiles, finalize a window, say how exact it is.

Belongs here: one small class for each kind of partial, one for each aggregate, as Ibis expressions (in the manner of
Chronon's aggregators). Does not: windows and tiles (windows.py), which partials an aggregate keeps (definitions/partials.py).
A partial of nothing is null, a count's 0. No partial is ever subtracted: what leaves a window cannot leave a rest behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from millwright.definitions.features import Aggregate

Expression = Any  # an Ibis value: ibis is not imported by a refresh
RELATIVE_TOLERANCE = 1e-9
TIGHT_TOLERANCE = 1e-12


class PartialAlgebra(Protocol):
    """How one kind of partial comes about."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""

    def merge(self, partial: Expression) -> Expression:
        """Over instants or tiles: an aggregate, or one over a window."""

    def join(self, whole: Expression, head: Expression) -> Expression:
        """Two partials, the earlier first."""


class Count:
    """Non-null values."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return value.count()

    def merge(self, partial: Expression) -> Expression:
        """Over instants or tiles."""
        return partial.sum()

    def join(self, whole: Expression, head: Expression) -> Expression:
        """Two partials."""
        return (whole.fill_null(0) + head.fill_null(0)).cast("int64")


class Sum:
    """Sum in double precision."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return value.cast("float64").sum()

    def merge(self, partial: Expression) -> Expression:
        """Over instants or tiles."""
        return partial.sum()

    def join(self, whole: Expression, head: Expression) -> Expression:
        """Two partials."""
        return (whole + head).fill_null(whole).fill_null(head)


class Min:
    """Smallest value."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return value.min()

    def merge(self, partial: Expression) -> Expression:
        """Over instants or tiles."""
        return partial.min()

    def join(self, whole: Expression, head: Expression) -> Expression:
        """Two partials; engines differ in what `least` does with a null."""
        import ibis

        return ibis.least(whole, head).fill_null(whole).fill_null(head)


class Max:
    """Greatest value."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return value.max()

    def merge(self, partial: Expression) -> Expression:
        """Over instants or tiles."""
        return partial.max()

    def join(self, whole: Expression, head: Expression) -> Expression:
        """Two partials; engines differ in what `greatest` does with a null."""
        import ibis

        return ibis.greatest(whole, head).fill_null(whole).fill_null(head)


class AbsMax(Max):
    """Largest absolute value, as a double: what tolerances are relative to."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return value.cast("float64").abs().max()


class LastTime(Max):
    """Time of the last non-null value, microseconds."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return t.max(where=value.notnull())


class FirstTime(Min):
    """Time of the first non-null value, microseconds."""

    def prepare(self, value: Expression, sensor_type: Expression, t: Expression) -> Expression:
        """Over the rows of one instant."""
        return t.min(where=value.notnull())


# The values at FirstTime and LastTime are not merged in windows: not every engine skips nulls there, and a look-up by time is as
# fast. What deviations and slopes keep is merged in moments.py.
ALGEBRA: Mapping[str, PartialAlgebra] = {
    "n": Count(),
    "sum": Sum(),
    "min": Min(),
    "max": Max(),
    "absmax": AbsMax(),
    "firstt": FirstTime(),
    "lastt": LastTime(),
}


class Finalizer(Protocol):
    """From a window's partials (and the event's time, `t`) to the feature's value."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The value; null where DESIGN says so."""

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """How far two computations of the same events may lie apart (I5), or None where they are equal."""


class Exact:
    """The partial is the value: count, min, max, first, last."""

    def __init__(self, name: str) -> None:
        self._name = name

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The value."""
        return partial[self._name]

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """Exact."""
        return None


class Mean:
    """sum / n."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The mean; null of none and where it is not finite."""
        return finite(partial["sum"] / partial["n"].nullif(0))

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """1e-9 of the largest absolute input."""
        return finite(partial["absmax"] * RELATIVE_TOLERANCE)


class Total:
    """The sum; null of none."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The sum; null where it is not finite."""
        return finite(partial["sum"])

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """1e-9 of the largest absolute input, for each input."""
        return finite(partial["absmax"] * partial["n"] * RELATIVE_TOLERANCE)


class Range:
    """max - min, in double precision."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The difference; null where it is not finite."""
        return finite(partial["max"].cast("float64") - partial["min"].cast("float64"))

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """Exact."""
        return None


class Deviation:
    """The sample's standard deviation."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The deviation; null below two values and where a square is not finite."""
        import ibis

        enough = ibis.ifelse(partial["n"] > 1, partial["n"] - 1, ibis.null("int64"))
        return finite((ibis.greatest(partial["m2"], 0.0) / enough).sqrt())

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """1e-12 of the largest absolute input."""
        return finite(partial["absmax"] * TIGHT_TOLERANCE)


class Slope:
    """Change per second, by least squares over the values' times."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The slope; null below two distinct times."""
        return finite(partial["mtx"] / _positive(partial["mtt"]) * 1e6)

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """1e-12 of the largest absolute input, over the standard deviation of the times in seconds."""
        deviation = (_positive(partial["mtt"]) / partial["n"]).sqrt() / 1e6
        return finite(partial["absmax"] * TIGHT_TOLERANCE / deviation)


class Age:
    """Seconds from the last non-null value to the event."""

    def finalize(self, partial: Mapping[str, Expression]) -> Expression:
        """The age; null of none."""
        return (partial["t"] - partial["lastt"]).cast("float64") / 1e6

    def tolerance(self, partial: Mapping[str, Expression]) -> Expression | None:
        """Exact."""
        return None


FINALIZERS: Mapping[Aggregate, Finalizer] = {
    "count": Exact("n"),
    "sum": Total(),
    "mean": Mean(),
    "min": Exact("min"),
    "max": Exact("max"),
    "range": Range(),
    "stddev": Deviation(),
    "first": Exact("first"),
    "last": Exact("last"),
    "slope": Slope(),
    "age": Age(),
}


def finite(value: Expression) -> Expression:
    """The value, or null where it is infinite or not a number."""
    import ibis

    return ibis.ifelse(value.isinf() | value.isnan(), ibis.null("float64"), value)


def tile_index(t: Expression, size: int) -> Expression:
    """floor(t / size) for integers of either sign. The division is of an exact multiple, so doubles in it do no harm."""
    return (t - (t % size + size) % size) // size


def _positive(value: Expression) -> Expression:
    import ibis

    return ibis.ifelse(value > 0, value, ibis.null("float64"))
