"""Instants as integers: microseconds since 1970-01-01 UTC.

Belongs here: the conversion, exact. Does not: time zones other than UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """µs of an aware datetime."""
    return (instant - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """UTC datetime of µs."""
    return EPOCH + us * _MICROSECOND


def day_us(day: date) -> int:
    """µs of the first instant of a UTC day."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))
