"""Expressions: the value that plain Python gives of the same row's features, whatever they are, and rewritten when these are."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from millwright.definitions import Dataset, Definitions, Entity, FeatureView, Reading
from millwright.definitions.expressions import parse
from millwright.features.expressions import with_expressions
from millwright.features.script import Script
from tests.budget import examples
from tests.features.oracle import Event, Wanted
from tests.features.plant import BASE, Plant

SECOND = 1_000_000
Row = dict[str, Any]
TYPES = {"x": "double", "y": "double", "n": "int64", "s": "string", "b": "bool"}
NUMBERS = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.5,
    -2.5,
    0.5,
    1e-300,
    1e300,
    -1e300,
    1e7,
    710.0,
    -800.0,
    4503599627370497.5,
    0.49999999999999994,
    None,
]


def finite(function: Callable[..., float]) -> Callable[..., float | None]:
    """Null of null, and where there is no finite value."""

    def made(*values: float | None) -> float | None:
        if None in values:
            return None
        try:
            value = float(function(*map(float, values)))  # type: ignore[arg-type]
        except (ValueError, ZeroDivisionError, OverflowError):
            return None
        return value if math.isfinite(value) else None

    return made


def strict(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: None if None in values else function(*values)


def half_away(x: float, digits: int = 0) -> float:
    scaled = abs(x) * 10.0**digits
    whole = float(math.floor(scaled)) if math.isfinite(scaled) else scaled
    return math.copysign((whole + (scaled - whole >= 0.5)) / 10.0**digits, x) if scaled < 2.0**52 else x


def both(one: bool | None, other: bool | None) -> bool | None:
    return False if False in (one, other) else None if None in (one, other) else True


def either(one: bool | None, other: bool | None) -> bool | None:
    return True if True in (one, other) else None if None in (one, other) else False


CASES: dict[str, Callable[[Row], Any]] = {
    "x / y": lambda r: finite(operator.truediv)(r["x"], r["y"]),
    "1 / (x * y)": lambda r: finite(operator.truediv)(1.0, finite(operator.mul)(r["x"], r["y"])),
    "coalesce(x / y, -1)": lambda r: -1.0 if (v := finite(operator.truediv)(r["x"], r["y"])) is None else v,
    "(x + y) * (x - 2) - n": lambda r: finite(lambda x, y, n: (x + y) * (x - 2.0) - n)(r["x"], r["y"], r["n"]),
    "-(x * x)": lambda r: finite(lambda x: -(x * x))(r["x"]),
    "-(-(x * x)) > 0": lambda r: strict(lambda v: v > 0)(finite(lambda x: x * x)(r["x"])),
    "sqrt(x)": lambda r: finite(math.sqrt)(r["x"]),
    "ln(x)": lambda r: finite(math.log)(r["x"]),
    "exp(x)": lambda r: finite(lambda x: math.exp(x) if x <= 709.78 else math.inf)(r["x"]),
    "power(x, y)": lambda r: finite(math.pow)(r["x"], r["y"]) if not (r["x"] == 0 and (r["y"] or 0) < 0) else None,
    "floor(x) + ceil(x)": lambda r: finite(lambda x: (x if abs(x) >= 2.0**52 else math.floor(x)) + (x if abs(x) >= 2.0**52 else math.ceil(x)))(r["x"]),
    "round(x)": lambda r: finite(half_away)(r["x"]),
    "round(x, 2)": lambda r: finite(lambda x: half_away(x, 2))(r["x"]),
    "sign(x)": lambda r: finite(lambda x: (x > 0) - (x < 0))(r["x"]),
    "abs(n)": lambda r: strict(abs)(r["n"]),
    "least(x, y, 3)": lambda r: strict(lambda x, y: min(x, y, 3.0))(r["x"], r["y"]),
    "greatest(n, 2)": lambda r: strict(lambda n: max(n, 2))(r["n"]),
    "nullif(n, 0)": lambda r: r["n"] or None,
    "coalesce(n, 7)": lambda r: 7 if r["n"] is None else r["n"],
    "x > y and not b": lambda r: both(strict(operator.gt)(r["x"], r["y"]), strict(operator.not_)(r["b"])),
    "x is null or b": lambda r: either(r["x"] is None, r["b"]),
    "x between y and 1": lambda r: both(strict(operator.ge)(r["x"], r["y"]), strict(lambda x: x <= 1.0)(r["x"])),
    "n in (1, 2)": lambda r: strict(lambda n: n in (1, 2))(r["n"]),
    "s <> 'it''s'": lambda r: strict(lambda s: s != "it's")(r["s"]),
    "case when x > 0 then s when x < 0 then 'below' end": lambda r: None if r["x"] is None else r["s"] if r["x"] > 0 else "below" if r["x"] < 0 else None,
    "case n when 1 then x when 2 then n else null end": lambda r: {1: r["x"], 2: 2.0}.get(r["n"]),
}  # fmt: skip


def compiled(expressions: dict[str, str], dialect: str = "duckdb") -> str:
    """The script that adds expressions to a table `given` of x, y, n, s and b."""
    import ibis

    columns = [{"name": name} for name in TYPES] + [{"name": name, "expression": text} for name, text in expressions.items()]
    view = FeatureView.model_validate(
        {"feature_view": "v", "version": 1, "entity": "m", "ttl": "1h", "source": {"feature_set": "given"}, "features": columns}
    )
    dataset = Dataset(
        dataset="given", entity="m", target="feature_set", features={n: Reading(type=kind) for n, kind in TYPES.items()}
    )
    definitions = Definitions(entities={"m": Entity(entity="m", join_keys={"k": "string"})}, datasets={"given": dataset})
    script = Script(dialect)
    kinds = {"double": "float64", "int64": "int64", "string": "string", "bool": "boolean"}
    table = ibis.table({"id": "int64", **{name: kinds[kind] for name, kind in TYPES.items()}}, name="given")
    rows = with_expressions(script, definitions, view, table)
    script.step("answer", rows.select("id", *expressions))
    return script.sql()


def run(script: str, rows: list[Row]) -> list[Row]:
    schema = pa.schema(
        [("id", pa.int64()), ("x", pa.float64()), ("y", pa.float64()), ("n", pa.int64()), ("s", pa.string()), ("b", pa.bool_())]
    )
    with duckdb.connect(":memory:") as session:
        session.register("given", pa.Table.from_pylist([{"id": place, **row} for place, row in enumerate(rows)], schema=schema))
        session.execute(script)
        return session.sql("from answer order by id").to_arrow_table().to_pylist()


@cache
def cases() -> str:
    return compiled({f"e{place}": text for place, text in enumerate(CASES)})


def close(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and isinstance(got, float):
        return got == wanted or math.isclose(got, wanted, rel_tol=1e-14)
    return got == wanted and type(got) is type(wanted)


numbers = st.one_of(st.sampled_from(NUMBERS), st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 3).map(float))
rows_of_values = st.fixed_dictionaries(
    {
        "x": numbers,
        "y": numbers,
        "n": st.one_of(st.none(), st.integers(-2, 3), st.sampled_from([10**17, -(10**17)])),
        "s": st.sampled_from([None, "it's", "a", ""]),
        "b": st.sampled_from([None, True, False]),
    }
)


@pytest.mark.property
@settings(max_examples=examples(20), deadline=None)
@given(rows=st.lists(rows_of_values, min_size=1, max_size=60))
def test_each_operation_gives_what_plain_python_gives(rows: list[Row]):
    for row, found in zip(rows, run(cases(), rows), strict=True):
        for place, (text, wanted) in enumerate(CASES.items()):
            assert close(found[f"e{place}"], wanted(row)), (text, row, found[f"e{place}"], wanted(row))


@dataclass(frozen=True)
class Tree:
    """A random expression of exactly computable operations: its text, and its value of a row."""

    text: str
    value: Callable[[Row], float | None]


leaves = st.sampled_from(
    [
        Tree("x", lambda r: r["x"]),
        Tree("y", lambda r: r["y"]),
        Tree("n", lambda r: r["n"]),
        Tree("3", lambda r: 3.0),
        Tree("0.25", lambda r: 0.25),
    ]
)


def grown(below: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    binary = st.sampled_from([("+", operator.add), ("-", operator.sub), ("*", operator.mul), ("/", operator.truediv)])
    called = st.sampled_from([("least", min), ("greatest", max)])
    return st.one_of(
        st.builds(lambda a, o, b: Tree(f"({a.text} {o[0]} {b.text})", lambda r: finite(o[1])(a.value(r), b.value(r))), below, binary, below),
        st.builds(lambda f, a, b: Tree(f"{f[0]}({a.text}, {b.text})", lambda r: finite(f[1])(a.value(r), b.value(r))), called, below, below),
        st.builds(lambda a: Tree(f"sqrt({a.text})", lambda r: finite(math.sqrt)(a.value(r))), below),
        st.builds(lambda a: Tree(f"abs(-{a.text})", lambda r: finite(abs)(a.value(r))), below),
        st.builds(lambda a, b: Tree(f"coalesce({a.text}, {b.text})", lambda r: b.value(r) if a.value(r) is None else a.value(r)), below, below),
    )  # fmt: skip


@pytest.mark.property
@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=st.recursive(leaves, grown, max_leaves=12), rows=st.lists(rows_of_values, min_size=1, max_size=20))
def test_any_expression_gives_what_plain_python_gives(tree: Tree, rows: list[Row]):
    text = f"({tree.text}) + 0 * x" if not {"x", "y", "n"} & set(tree.text) else tree.text
    if len(text) > 1000:
        return
    for row, found in zip(rows, run(compiled({"e": text}), rows), strict=True):
        wanted = tree.value(row)
        wanted = finite(lambda v, x: v + 0 * x)(wanted, row["x"]) if text != tree.text else wanted
        assert found["e"] == wanted, (text, row, found["e"], wanted)


def test_postgres_computes_what_plain_python_computes(database: str):
    """All but overflow: where DuckDB goes on with infinity, which we make null, Postgres stops."""
    moderate = [value for value in NUMBERS if value is None or value == 0 or 1e-9 < abs(value) < 1e16]
    rows = [
        {"x": x, "y": y, "n": n, "s": s, "b": b}
        for x in moderate
        for y, n, s, b in [
            (0.0, 1, "a", True),
            (2.5, 0, "it's", None),
            (-1.0, -2, None, False),
            (None, None, "", True),
            (3.0, 2, "b", False),
        ]
        if not (x is not None and x > 700 and y == 3.0)
    ]
    with psycopg.connect(database) as conn:
        conn.execute("create temporary table given (id bigint, x float8, y float8, n bigint, s text, b boolean)")
        with conn.cursor() as cursor:
            cursor.executemany(
                "insert into given values (%s, %s, %s, %s, %s, %s)", [(place, *row.values()) for place, row in enumerate(rows)]
            )
        conn.execute(compiled({f"e{place}": text for place, text in enumerate(CASES)}, "postgres"))
        with conn.cursor(row_factory=dict_row) as cursor:
            answers = cursor.execute("select * from answer order by id").fetchall()
    for row, found in zip(rows, answers, strict=True):
        for place, (text, wanted) in enumerate(CASES.items()):
            assert close(found[f"e{place}"], wanted(row)), (text, row, found[f"e{place}"], wanted(row))


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake"])
def test_expressions_compile_for_other_warehouses(dialect: str):
    script = compiled({f"e{place}": text for place, text in enumerate(CASES)}, dialect)
    assert len(sqlglot.parse(script, dialect=dialect)) >= 4


def test_a_deep_nest_stays_small():
    """Written out where it is used, this would be 2^40 values."""
    text = "x"
    for _ in range(40):
        text = f"sqrt({text})"
    script = compiled({"e": text, "f": "e + e", "g": "least(f, f, f)"})
    assert len(script) < 200_000
    assert run(script, [{"x": 1.0}])[0] == {"id": 0, "e": 1.0, "f": 2.0, "g": 2.0}


FEATURES = [
    Wanted("mean_1h", "mean", "a", 3600 * SECOND),
    Wanted("mean_6h", "mean", "a", 6 * 3600 * SECOND),
    Wanted("count_1h", "count", "a", 3600 * SECOND),
]
EXPRESSIONS = {"ratio": "mean_1h / mean_6h", "rising": "ratio > 1 and count_1h >= 2", "share": "count_1h / 60"}


@pytest.fixture
def plant(database: str) -> Iterator[Plant]:
    made = Plant(database, FEATURES, expressions=EXPRESSIONS)
    yield made
    made.close()


def agree(plant: Plant) -> None:
    for place, row in plant.rows().items():
        ratio = finite(operator.truediv)(row["mean_1h"], row["mean_6h"])
        assert row["ratio"] == ratio, place
        assert row["rising"] == both(strict(lambda v: v > 1)(ratio), row["count_1h"] >= 2), place
        assert row["share"] == row["count_1h"] / 60


def test_i5_an_expressions_row_is_rewritten_with_its_inputs_and_only_then(plant: Plant):
    """A stored expression is always that of the stored features beside it, also where a recomputation differs within I5."""
    events = [Event("press-01", "press", BASE + n * 600 * SECOND, (("a", float(n % 5 + 1) / 3),)) for n in range(30)]
    plant.deliver([*events, Event("press-01", "press", BASE + 31 * 600 * SECOND, ())])
    plant.refresh()
    agree(plant)
    plant.conn.execute(
        "update features.vitals_v1_history set mean_1h = mean_1h + 1e-12, ratio = (mean_1h + 1e-12) / nullif(mean_6h, 0)"
    )
    plant.conn.execute("update features.vitals_v1_history set rising = ratio > 1 and count_1h >= 2")
    again = plant.refresh(days=(from_day(), from_day()))
    assert (again.inserted, again.superseded, again.unchanged) == (0, 0, 31)
    plant.deliver([Event("press-01", "press", BASE + 29 * 600 * SECOND, (("a", 50.0),))])
    assert plant.refresh().inserted == 2
    agree(plant)
    assert parse("mean_1h / mean_6h").features == {"mean_1h": 1, "mean_6h": 11}


def from_day() -> Any:
    from millwright.warehouse.timestamps import from_us

    return from_us(BASE).date()
