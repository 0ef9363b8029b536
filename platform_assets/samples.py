"""dagster-pandas types, made from the datasets, held against a sample of landed rows.

Belongs here: dataset → DataFrame type, and the check that uses it. Does not: the rules that landing holds (millwright/landing/).
pandas and dagster-pandas are imported inside functions, and only for a partition that a person materializes: the sensor's runs
never pay the seconds that they take.
"""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dagster as dg
import psycopg

from millwright.checks.result import CheckResult, Seen, evaluate
from millwright.definitions import Dataset, Definitions
from platform_assets.checks import SAMPLE

ROWS = 1_000
_ROWS_OF_DAYS = """
select s.keys, s.sensor_type, m.event_timestamp, m.readings from warehouse.series s cross join lateral (
  select event_timestamp, readings from warehouse.measurements
  where series_id = s.series_id and event_timestamp >= %(first)s and event_timestamp < %(end)s
) m where s.relation = 'measurements' and s.entity = %(entity)s limit %(limit)s
"""


def dataframe_type(definitions: Definitions, dataset: Dataset) -> dg.DagsterType:
    """The dataset's rows as a dagster-pandas type: join keys, clocks and readings, with type, range and presence.

    Sensitive fields are left out: dagster-pandas shows whole rows that do not fit.
    """
    from dagster_pandas import PandasColumn, create_dagster_pandas_dataframe_type
    from dagster_pandas.constraints import InRangeColumnConstraint

    columns = [
        PandasColumn.string_column(key, non_nullable=True)
        if kind == "string"
        else PandasColumn.integer_column(key, non_nullable=True)
        for key, kind in definitions.entities[dataset.entity].join_keys.items()
        if key not in dataset.sensitive
    ]
    columns += [PandasColumn("event_timestamp"), PandasColumn.string_column("sensor_type", non_nullable=True)]
    for name, reading in dataset.readings.items():
        if name in dataset.sensitive:
            continue
        options: dict[str, Any] = {"non_nullable": reading.required, "is_required": reading.required}
        if reading.type in ("double", "int64"):
            low = float("-inf") if reading.min is None else reading.min
            high = float("inf") if reading.max is None else reading.max
            within = InRangeColumnConstraint(low, high, ignore_missing_vals=True)
            column = PandasColumn.numeric_column(name, **options)
            column.constraints.append(within)
        elif reading.type == "bool":
            column = PandasColumn(name, is_required=reading.required)
        else:
            column = PandasColumn.string_column(name, **options)
        columns.append(column)
    return create_dagster_pandas_dataframe_type(name=f"{dataset.dataset}_rows", columns=columns)


def check_sample(conn: psycopg.Connection[Any], definitions: Definitions, days: tuple[date, date]) -> CheckResult:
    """Hold ROWS rows of the inclusive UTC `days` against the type of each measurements dataset."""

    def look() -> Seen:
        looked, wrong = 0, []
        for name, dataset in sorted(definitions.datasets.items()):
            if dataset.target != "measurements":
                continue
            frame = _frame(conn, definitions, dataset, days)
            looked += len(frame)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.BetaWarning)  # of all that dagster-pandas offers
                answer = dataframe_type(definitions, dataset).type_check(None, frame)  # type: ignore[arg-type]
            if len(frame) and not answer.success:
                wrong.append({"dataset": name, "found": answer.description})
        return Seen(
            not wrong,
            f"{looked} rows, {len(wrong)} datasets whose type does not fit",
            "every dataset's type fits",
            offending=wrong,
            numbers={"rows_checked": looked},
        )

    return evaluate(("warehouse", "measurements"), SAMPLE, look)


def _frame(conn: psycopg.Connection[Any], definitions: Definitions, dataset: Dataset, days: tuple[date, date]) -> Any:
    """Sampled rows as a DataFrame: join keys, clocks, and the dataset's readings that occur."""
    import pandas as pd

    entity = definitions.entities[dataset.entity]
    start = datetime.combine(days[0], time(), UTC)
    end = datetime.combine(days[1], time(), UTC) + timedelta(days=1)
    found = conn.execute(_ROWS_OF_DAYS, {"first": start, "end": end, "entity": dataset.entity, "limit": ROWS}).fetchall()
    rows = [
        {
            **{
                key: int(value) if entity.join_keys[key] == "int64" else value
                for key, value in zip(entity.keys, keys, strict=True)
            },
            "event_timestamp": event,
            "sensor_type": sensor_type,
            **{name: value for name, value in readings.items() if name in dataset.readings},
        }
        for keys, sensor_type, event, readings in found
    ]
    return pd.DataFrame(rows).drop(columns=dataset.sensitive, errors="ignore")
