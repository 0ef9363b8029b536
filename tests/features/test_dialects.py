"""The one definition on other engines: what a warehouse's SQL computes is what DuckDB computes (I5)."""

from __future__ import annotations

import re

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
WINDOWS = {"count": 1, "sum": 90, "mean": 3600, "min": 3600, "max": 7 * 86400, "range": 90, "stddev": 21600}
WINDOWS |= {"first": 3600, "last": 7 * 86400, "slope": 3600, "age": 21600}
FEATURES = [Wanted(f"{kind}_a", kind, "a", seconds * SECOND) for kind, seconds in WINDOWS.items()]
DEFINITIONS, VIEW = definitions(FEATURES)


def made_events(rows: int = 600) -> pa.Table:
    """Three entities and two sensor types with ties, gaps, nulls, 1e6 ± 1e-3 and a jump to 1e7, from before 1970 on."""
    random = np.random.default_rng(5)
    t = np.where(random.random(rows) < 0.1, -3600, BASE // SECOND + random.integers(0, 30_000, rows)) * SECOND
    value = np.where(random.random(rows) < 0.1, 1e7, 1e6 + random.normal(0, 1e-3, rows))
    events = pa.table(
        {
            "entity_id": pa.array(random.integers(0, 3, rows), pa.int32()),
            "t": t,
            "sensor_type": random.choice(["press", "gauge"], rows),
            "r_a": pa.array(value, mask=random.random(rows) < 0.2),
        }
    )
    return (
        events.group_by(["entity_id", "t", "sensor_type"], use_threads=False)
        .aggregate([("r_a", "min")])
        .rename_columns(events.column_names)
    )


@pytest.fixture(scope="module")
def events() -> pa.Table:
    return made_events()


def by_duckdb(events: pa.Table) -> pa.Table:
    with engine(Settings(), compile_view(DEFINITIONS, VIEW)["duckdb"]) as run:
        return run.run(events, no_tiles(partials(DEFINITIONS, VIEW)))[0]


def agree(found: list[dict[str, object]], expected: pa.Table) -> None:
    """Keys, times and values, each within the tolerance that DuckDB's row tells."""
    theirs = {(row["entity_id"], row["t"]): row for row in found}
    ours = {(row["entity_id"], row["t"]): row for row in expected.to_pylist()}
    assert theirs.keys() == ours.keys()
    for place, row in ours.items():
        for name in (feature.name for feature in FEATURES):
            value, other, tolerance = row[name], theirs[place][name], row.get(f"tolerance:{name}") or 0
            assert (value is None) == (other is None), (place, name, value, other)
            assert value is None or abs(value - other) <= tolerance, (place, name, value, other)


def test_i5_postgres_computes_what_duckdb_computes(database: str, events: pa.Table):
    script = warehouse_script(DEFINITIONS, VIEW, "postgres")
    with psycopg.connect(database) as conn:
        conn.execute("create temporary table events (entity_id int, t bigint, sensor_type text, r_a double precision)")
        copy_in(conn, sql.Identifier("events"), events)
        conn.execute(script)
        with conn.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute("select * from feature_rows").fetchall()
    agree(found, by_duckdb(events))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialects_script_reads_events_and_ends_in_feature_rows(dialect: str):
    statements = sqlglot.parse(warehouse_script(DEFINITIONS, VIEW, dialect), dialect=dialect)
    made = [one.this.this.name for one in statements if isinstance(one, sqlglot.exp.Create)]
    assert (made[0], made[-1]) == ("prior", "feature_rows")
    read = {table.name for one in statements if one for table in one.find_all(sqlglot.exp.Table)}
    assert {name for name in read if not re.fullmatch(r"t\d+", name)} == {*made, "events"}
    (written,) = (one for one in statements if isinstance(one, sqlglot.exp.Insert) and one.this.name == "feature_rows")
    assert {"count_a", "slope_a", "tolerance:slope_a"} <= set(written.expression.named_selects)
