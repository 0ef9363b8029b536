"""The result of a check, and how a check becomes one even when it breaks.

Belongs here: the model and the guard. Does not: any particular check.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from millwright.checks.catalogue import Check

log = logging.getLogger(__name__)
MAX_OFFENDING = 10


class CheckResult(BaseModel):
    """What a check saw. `asset`: the parts of the asset's key; `failing_days`: UTC days; `offending`: at most 10 rows."""

    model_config = ConfigDict(frozen=True)

    asset: tuple[str, ...]
    name: str
    passed: bool
    blocking: bool
    observed: str
    expected: str
    description: str
    failing_days: list[date] = []
    offending: list[dict[str, Any]] = []
    numbers: dict[str, int | float] = {}


@dataclass
class Seen:
    """What a check found, before it is given a name."""

    passed: bool
    observed: str
    expected: str
    days: list[date] = field(default_factory=list)
    offending: list[dict[str, Any]] = field(default_factory=list)
    numbers: dict[str, int | float] = field(default_factory=dict)


def evaluate(asset: tuple[str, ...], check: Check, look: Callable[[], Seen]) -> CheckResult:
    """Run `look`; an exception is a failed check whose observation is the error."""
    try:
        seen = look()
    except Exception as error:  # a check that cannot run has failed, and says why
        log.exception("check %s of %s could not run", check.name, "/".join(asset), exc_info=error)
        seen = Seen(False, f"the check could not run: {type(error).__name__}: {error}", "a result")
    return CheckResult(
        asset=asset,
        name=check.name,
        passed=seen.passed,
        blocking=check.blocking,
        observed=seen.observed,
        expected=seen.expected,
        description=check.description,
        failing_days=sorted(set(seen.days)),
        offending=seen.offending[:MAX_OFFENDING],
        numbers=seen.numbers,
    )


def span(value: timedelta) -> str:
    """A duration for a person, in its two greatest units: `3 d 4 h`."""
    seconds = int(abs(value).total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    text = " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
    return f"-{text}" if value < timedelta(0) else text
