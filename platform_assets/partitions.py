"""Partitions: UTC days of event time.

Belongs here: their definition and how days are written. Does not: which days a step touched (events.py).
"""

from __future__ import annotations

from datetime import date

import dagster as dg

# A month of days is one run: each day is committed and logged by itself, so a run that dies loses none that is done.
DAYS_PER_RUN = 31
BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN)


def days(first_day: date) -> dg.DailyPartitionsDefinition:
    """Every UTC day from `first_day` to today; today is one too, for machines do not wait for midnight."""
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), end_offset=1)


def key(day: date) -> str:
    """The partition of a day."""
    return day.isoformat()


def day(partition: str) -> date:
    """The day of a partition."""
    return date.fromisoformat(partition)
