"""The flow's steps as Dagster events: which asset, which days, which checks.

Belongs here: report → AssetMaterialization, AssetObservation, AssetCheckEvaluation, and what makes a run fail.
Does not: the steps (millwright/flow.py), when they run (refresh.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date

import dagster as dg

from millwright.checks import CheckResult
from millwright.features.refresh import RefreshReport
from millwright.flow import Checked, Failed, Step
from millwright.landing.batches import Receipt
from millwright.online.publish import PublishReport
from platform_assets import checks, keys, partitions, receipts
from platform_assets.metadata import Numbers
from platform_assets.provenance import provenance
from platform_assets.sensitive import Sensitive

# Files of one run often touch the same days: reports are added up until another asset's turn comes, and so long at most.
FLUSH_SECONDS = 10.0
Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation


class StepLog:
    """Turns steps into events and remembers what went wrong. A day is marked after its commit, if it was touched (I7)."""

    def __init__(self, specs: Iterable[dg.AssetSpec], tables: Mapping[str, str], sensitive: Sensitive) -> None:
        """`tables`: dataset → table of the warehouse. `sensitive`: what no metadata shows."""
        self._sensitive = sensitive
        self._tags = {spec.key: provenance(spec) for spec in specs}
        self._tables = tables
        self._key: dg.AssetKey | None = None
        self._numbers = Numbers()
        self._since = 0.0
        self.problems: list[str] = []

    def take(self, step: Step, requested: Iterable[date] = ()) -> Iterator[Event]:
        """Events of one step. `requested`: UTC days that were asked for; its commit touches them, even with 0 rows."""
        if isinstance(step, Receipt):
            yield receipts.observation(step)
            if step.state == "landed":
                yield from self._turn(keys.warehouse(self._tables[step.dataset]))
                self._add(step, step.quarantined)
                self._numbers.receipts.append(step)
            else:
                self.problems.append(f"{receipts.delivery(step)} was {step.state}: {step.error}")
        elif isinstance(step, RefreshReport | PublishReport):
            layer = keys.features if isinstance(step, RefreshReport) else keys.online
            yield from self._turn(layer(step.view_id))
            self._add(step)
            if not getattr(step, "more", False):
                self._numbers.days.update(dict.fromkeys(requested, 0))
        elif isinstance(step, Checked):
            yield from self.checked(step.results)
        elif isinstance(step, Failed):
            yield from self.flush()
            self.problems.append(f"{step.step} of {step.view_id} failed: {step.error}")
        if self._key and time.monotonic() - self._since > FLUSH_SECONDS:
            yield from self.flush()

    def checked(self, results: Sequence[CheckResult]) -> Iterator[Event]:
        """Evaluations; a blocking check that failed is a problem."""
        yield from self.flush()
        for result in results:
            if result.blocking and not result.passed:
                asset = "/".join(result.asset)
                self.problems.append(f"Check {result.name} of {asset}: {result.observed}; expected {result.expected}")
            yield checks.evaluation(result.model_copy(update={"offending": self._sensitive.rows(result.offending)}))

    def touched(self, key: dg.AssetKey, days: Iterable[date]) -> Iterator[Event]:
        """Mark requested days of an asset whose step has committed without a report of its own."""
        yield from self._turn(key)
        self._numbers.days.update(dict.fromkeys(days, 0))
        yield from self.flush()

    def flush(self) -> Iterator[Event]:
        """Materializations of everything taken so far."""
        key, numbers = self._key, self._numbers
        self._key, self._numbers = None, Numbers()
        if key is None:
            return
        for day in sorted(numbers.days):
            yield dg.AssetMaterialization(
                asset_key=key,
                partition=partitions.key(day),
                metadata=numbers.metadata(day),
                tags=self._tags[key],
            )

    def _turn(self, key: dg.AssetKey) -> Iterator[Event]:
        if key != self._key:
            yield from self.flush()
            self._key, self._since = key, time.monotonic()

    def _add(self, report: Receipt | RefreshReport | PublishReport, quarantined: int = 0) -> None:
        self._numbers.add(
            days=report.days,
            bytes=report.bytes,
            quarantined=quarantined,
            stages=report.stages,
            first_event=report.first_event,
            last_event=report.last_event,
            rows=self._sensitive.rows(report.preview),
        )
