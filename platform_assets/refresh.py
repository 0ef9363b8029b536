"""The multi_asset of the job `refresh`: warehouse, features and online in one step, because one flow computes them.

Belongs here: what is run with and without partitions, and that the run fails at its end when something failed. Does not: the
order of calls (millwright/flow.py), events (events.py).

Without a partition (the job `refresh`, asked for by the sensor) it runs the flow on the batches of its configuration and marks
exactly the days touched. With partitions (*materialize* and backfills in the UI) it rebuilds these days of the selected assets,
day by day: features are recomputed, online is republished, the warehouse lands the batches that wait and is checked again.
With checks alone it evaluates these on what is there.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of its functions as they are.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from millwright.checks.catalogue import PARITY, PARITY_WHOLE
from millwright.definitions import Definitions
from millwright.settings import Settings
from platform_assets import checks, keys, partitions, specs
from platform_assets.light import one_connection, without_pandas
from resources import PostgresResource, RedisResource
from sensors.planner import STEP


class Batches(dg.Config):
    """What the job `refresh` lands before it catches up."""

    batches: list[int] = Field(default=[], description="Batches of the ledger to land, in this order (millwright batches).")


def refresh_asset(settings: Settings, definitions: Definitions) -> dg.AssetsDefinition:
    """The multi_asset over every warehouse, features and online spec."""
    every = [
        *specs.warehouse(settings, definitions),
        *specs.features(settings, definitions),
        *specs.online(settings, definitions),
    ]
    tables = {name: dataset.relation for name, dataset in definitions.datasets.items()}

    @dg.multi_asset(
        name=STEP,
        specs=every,
        check_specs=checks.specs(definitions),
        can_subset=True,
        backfill_policy=partitions.BACKFILL,
        description="Land waiting batches, recompute what they change, publish it.",
    )
    def land_refresh_publish(
        context: dg.AssetExecutionContext, config: Batches, postgres: PostgresResource, online_store: RedisResource
    ) -> Iterator[Any]:
        # Imported here: the code location loads without the domain's engine.
        from platform_assets.events import StepLog
        from platform_assets.sensitive import Sensitive

        one_connection(context.instance)
        log = StepLog(every, tables, Sensitive(definitions))
        with _platform(definitions, postgres, online_store) as platform:
            try:
                if context.run.tags.keys() & _PARTITION_TAGS:
                    days = [partitions.day(key) for key in context.partition_keys]
                    yield from _rebuild(context, platform, log, days)
                elif not context.selected_asset_keys:
                    yield from _check_again(context, platform, log)
                else:
                    yield from _run(context, platform, log, config.batches)
            except Exception as error:
                # What was committed is marked, whatever came after it.
                yield from log.flush()
                raise dg.Failure(
                    f"Stopped by {type(error).__name__}: {error}\nEvery step before it is committed; the next run goes on there.",
                    allow_retries=False,
                ) from error
            yield from log.flush()
        if log.problems:
            raise _failure(log.problems)

    return land_refresh_publish


NEWEST_BATCHES = 20
_PARTITION_TAGS = frozenset({"dagster/partition", "dagster/asset_partition_range_start"})


@contextmanager
def _platform(definitions: Definitions, postgres: PostgresResource, online_store: RedisResource) -> Iterator[Any]:
    from millwright.platform import Platform

    with postgres.connect() as conn, online_store.connect() as client:
        yield Platform(postgres.settings(), definitions, conn, client)


def _run(context: dg.AssetExecutionContext, platform: Any, log: Any, batches: Sequence[int]) -> Iterator[Any]:
    without_pandas()
    from millwright import flow

    context.log.info("Batches to land: %s", ", ".join(map(str, batches)) or "none; catching up")
    for step in flow.run(platform, batches=batches, run_id=context.run.run_id):
        context.log.info("%s", _line(step))
        yield from log.take(step)


def _rebuild(context: dg.AssetExecutionContext, platform: Any, log: Any, days: list[date]) -> Iterator[Any]:
    from millwright import flow
    from millwright.registry import applied

    selected = context.selected_asset_keys
    targets = [target for target in keys.TARGETS if keys.warehouse(target) in selected]
    if targets:
        yield from _warehouse_again(context, platform, log, targets, days)
    known = applied(platform.conn)
    for view_id in platform.definitions.feature_views:
        features, online = keys.features(view_id) in selected, keys.online(view_id) in selected
        if not (features or online):
            continue
        if view_id not in known:
            log.problems.append(f"{view_id} is not applied: run `millwright apply`, then materialize it again.")
            continue
        if online and not known[view_id].published:
            log.problems.append(
                f"online/{view_id} was left as it is: the view is {known[view_id].status}. "
                f"`millwright activate {view_id}` publishes it."
            )
        for day in days:
            for step in flow.rebuild(platform, [view_id], (day, day), features=features, online=online):
                context.log.info("%s %s", day, _line(step))
                yield from log.take(step, requested=[day])
            yield from log.flush()


def _warehouse_again(
    context: dg.AssetExecutionContext, platform: Any, log: Any, targets: list[str], days: list[date]
) -> Iterator[Any]:
    """Land what waits (no landed file is read twice), then look at the requested days' rows again.

    Which days a batch touches is known once it has landed, so all that wait are landed. Their features follow by the sensor.
    """
    from millwright.checks import check_warehouse
    from millwright.landing.batches import waiting
    from millwright.landing.load import land

    receipts = []
    for batch in waiting(platform.conn, platform.settings.max_batches_per_run):
        receipt = land(platform.conn, platform.settings, platform.definitions, batch.batch_id, run_id=context.run.run_id)
        receipts.append(receipt)
        context.log.info("%s", _line(receipt))
        yield from log.take(receipt)
    yield from log.flush()
    span = min(days), max(days)
    results = check_warehouse(platform.conn, platform.definitions, receipts, days=span, targets=targets)
    if "measurements" in targets:
        from platform_assets.samples import check_sample

        results.append(check_sample(platform.conn, platform.definitions, span))
    for target in targets:
        yield from log.touched(keys.warehouse(target), days)
    yield from log.checked(results)


def _check_again(context: dg.AssetExecutionContext, platform: Any, log: Any) -> Iterator[Any]:
    """The checks that were chosen in the UI, on what is there: the newest batches, the current rows, Redis."""
    from millwright.checks import check_published, check_view, check_warehouse
    from millwright.landing.batches import batches, receipt
    from millwright.registry import keys_expire
    from platform_assets.samples import check_sample

    conn, definitions, project = platform.conn, platform.definitions, platform.settings.feast_project
    expire = keys_expire(platform.settings)
    wanted = {(*key.asset_key.path, key.name) for key in context.selected_asset_check_keys}
    tables = {path[1] for path in wanted if path[0] == "warehouse"}
    newest = [receipt(conn, line.batch_id) for line in batches(conn, NEWEST_BATCHES).batches if line.state == "landed"]
    results = check_warehouse(conn, definitions, newest, targets=tables) if tables else []
    if ("warehouse", "measurements", checks.SAMPLE.name) in wanted:
        days = sorted({day for one in newest for day in one.days}) or [platform.settings.first_day]
        results.append(check_sample(conn, definitions, (days[0], days[-1])))
    for view_id, view in definitions.feature_views.items():
        if any(path[:2] == ("features", view_id) for path in wanted):
            results += check_view(conn, definitions, view)
        for name, whole in ((PARITY.name, False), (PARITY_WHOLE.name, True)):
            if ("online", view_id, name) in wanted:
                results += check_published(conn, platform.redis, definitions, view, project=project, expire=expire, whole=whole)
    yield from log.checked([one for one in results if (*one.asset, one.name) in wanted])


def _line(step: Any) -> str:
    """One line of the run's log: the step and its plain figures."""
    found = {
        name: value
        for name, value in step
        if isinstance(value, int | str) and not isinstance(value, bool) and value not in ("", 0)
    }
    if results := getattr(step, "results", None):
        failed = [f"{'/'.join(one.asset)} {one.name}" for one in results if not one.passed]
        found = {"checks": len(results), "failed": ", ".join(failed) or "none"}
    return f"{type(step).__name__}: {', '.join(f'{name} {value}' for name, value in found.items())}"


def _failure(problems: Sequence[str]) -> dg.Failure:
    first = problems[0] if len(problems) == 1 else f"{len(problems)} things failed; the first: {problems[0]}"
    return dg.Failure(
        f"{first}\nEverything else is committed and marked. Receipts: `millwright batches`.",
        metadata={"problems": dg.MetadataValue.md("\n".join(f"- {problem}" for problem in problems))},
        allow_retries=False,
    )
