"""All that a view can say at once, on other engines: events beside readings, kept rows, expressions (I5)."""

from __future__ import annotations

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import sqlglot
from psycopg import sql
from psycopg.rows import dict_row

from millwright.definitions.partials import partials
from millwright.features.compute import engine, no_tiles
from millwright.features.windows import DIALECTS, compile_view, warehouse_script
from millwright.settings import Settings
from millwright.warehouse.copy import copy_in
from tests.features.oracle import Wanted
from tests.features.plant import BASE, definitions

SECOND = 1_000_000
FEATURES = [
    Wanted("hour", "mean", "a", 3600 * SECOND),
    Wanted("quarter", "stddev", "a", 900 * SECOND),
    Wanted("failures", "count", "failure", 30 * 86400 * SECOND, "events"),
    Wanted("since", "age", "failure", 3600 * SECOND, "events"),
]
EXPRESSIONS = {
    "ratio": "quarter / hour",
    "failing": "failures > 2 and coalesce(since < 600, false)",
    "rest": "round(hour, 1) - floor(hour)",
}
DEFINITIONS, VIEW = definitions(FEATURES, every="5m", expressions=EXPRESSIONS)
NAMES = [feature.name for feature in VIEW.features]


def made_events(rows: int = 800) -> pa.Table:
    """Measurements of three entities, and among them failures that give no row."""
    random = np.random.default_rng(7)
    t = (BASE // SECOND + random.integers(0, 30_000, rows)) * SECOND
    failed = random.random(rows) < 0.05
    return pa.table(
        {
            "entity_id": pa.array(random.integers(0, 3, rows), pa.int32()),
            "t": t,
            "sensor_type": np.where(failed, "failure", "press"),
            "r_a": pa.array(random.normal(50, 9, rows), mask=failed | (random.random(rows) < 0.1)),
            "r_events:failure": pa.array(failed, mask=~failed),
            "own": ~failed,
        }
    )


def test_i5_postgres_computes_a_whole_view_as_duckdb_does(database: str):
    events = made_events()
    with engine(Settings(), compile_view(DEFINITIONS, VIEW)["duckdb"]) as run:
        ours = {
            (row["entity_id"], row["t"]): row for row in run.run(events, no_tiles(partials(DEFINITIONS, VIEW)))[0].to_pylist()
        }
    with psycopg.connect(database) as conn:
        conn.execute(
            'create temporary table events (entity_id int, t bigint, sensor_type text, r_a float8, "r_events:failure" boolean, own boolean)'
        )
        copy_in(conn, sql.Identifier("events"), events)
        conn.execute(warehouse_script(DEFINITIONS, VIEW, "postgres"))
        with conn.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute("select * from feature_rows").fetchall()
    theirs = {(row["entity_id"], row["t"]): row for row in rows}
    times = events.filter(events.column("own")).group_by(["entity_id"]).aggregate([("t", "max")]).to_pylist()
    assert ours.keys() == theirs.keys() and 200 < len(ours) < 303
    assert not any((row["entity_id"], row["t_max"]) in ours for row in times)  # no later row closes the last bucket
    for place, row in ours.items():
        for name in NAMES:
            value, other = row[name], theirs[place][name]
            same = value == other or (
                isinstance(value, float) and other is not None and abs(value - other) <= 1e-9 * max(1, abs(value))
            )
            assert same or (name == "rest" and abs(abs(value - other) - 0.1) < 1e-9), (place, name, value, other)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_has_every_column_of_a_whole_view(dialect: str):
    statements = sqlglot.parse(warehouse_script(DEFINITIONS, VIEW, dialect), dialect=dialect)
    (written,) = (one for one in statements if isinstance(one, sqlglot.exp.Insert) and one.this.name == "feature_rows")
    assert {*NAMES, "closed:by"} <= set(written.expression.named_selects)
