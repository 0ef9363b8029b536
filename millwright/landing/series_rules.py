"""Rules over several lines of a delivery: `unique`, `counter`, `max_step`. They need the whole of it, in the order of time.

Belongs here: what these rules mean, and the lines that break them. Does not: rules of one cell (values.py), setting lines aside
(staged.py).

The values that such a rule looks at are kept in a DuckDB file beside the delivery's spools: its memory is bounded, and a dataset
without such rules has none of this. A line that broke a rule before does not judge others, but is judged itself, so that all its
errors are told. Of several lines with one key and time, only the one that would land takes part: the first, in a correction the
last. Afterwards the lines that land hold every rule: no value twice, no counter that falls.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import duckdb
import numpy as np
import pyarrow as pa
from psycopg import sql

from millwright.definitions import Reading
from millwright.landing.arrays import Mask
from millwright.landing.rows import CellError, Positions

_TYPES: dict[str, LiteralString] = {"double": "double", "int64": "bigint", "string": "varchar", "bool": "varchar"}
_AT_ONCE = 10_000
_CREATE = "create table {watched} (position bigint, good boolean, series varchar[], moment bigint, value {type})"
_ADD = "insert into {watched} select position, good, series, moment, cast(value as {type}) from added where value is not null"
# Lines as they stand after the rules so far.
_NOW = (
    "with now as (select w.* exclude (good), w.good and f.position is null as good"
    " from {watched} w left join (select distinct position from failed) f using (position))"
)
_UNIQUE = (
    _NOW + " insert into failed select position, {number}, 'unique', null, first from"
    " (select position, min(position) filter (where good) over (partition by value) as first from now) where first < position"
)
_LANDING = (
    ", landing as (select * from now where moment is not null"
    " qualify row_number() over (partition by series, moment order by good desc, {order} position) = 1)"
)
_COUNTER = (
    _NOW
    + _LANDING
    + " insert into failed select position, {number}, 'counter_fell', value || ' is less than ' || high.value, high.position"
    " from (select position, value, max({{'value': value, 'position': position}}) filter (where good) over"
    " (partition by series order by moment rows between unbounded preceding and 1 preceding) as high from landing) as judged"
    " where value < high.value and not exists"
    " (select 1 from failed f where f.position = judged.position and f.number = {number} and f.code = 'counter_fell')"
)
_STEPS = (
    _NOW + _LANDING + ", steps as (select position, lag(position) over before as earlier,"
    " cast(value as double) - cast(lag(value) over before as double) as step"
    " from landing where good window before as (partition by series order by moment))"
    " select count(*), min(position), arg_min(step, position), arg_min(earlier, position) from steps where abs(step) > {most}"
)
_FAILED = (
    "select position, list({'number': number, 'code': code, 'value': value, 'other': other} order by number, code) from failed"
)


@dataclass(frozen=True)
class Warned:
    """A kind of oddity in rows that land: how many rows have it, the first of them, and what it says."""

    code: str
    column: str
    count: int
    first_position: int
    message: str


class SeriesRules:
    """The rules over several lines of one delivery. `unit`: what a position counts; `hidden`: readings that no message shows."""

    def __init__(self, readings: Mapping[str, Reading], *, unit: str, correction: bool, hidden: frozenset[str]) -> None:
        self._readings = [(name, r) for name, r in readings.items() if r.unique or r.counter or r.max_step is not None]
        self._numbers = {name: number for number, (name, _) in enumerate(self._readings)}
        self._columns = dict.fromkeys(self._numbers, "")
        self._unit, self._hidden = unit, hidden
        self._order = sql.SQL("-" if correction else "+")
        self._open = ExitStack()
        self._db: duckdb.DuckDBPyConnection | None = None

    @property
    def decide(self) -> bool:
        """Whether a line may be set aside for another; without, no more than warnings are told in the end."""
        return any(reading.unique or reading.counter for _, reading in self._readings)

    def watches(self, name: str) -> bool:
        """Whether a reading has such a rule."""
        return name in self._numbers

    def add(
        self,
        name: str,
        column: str,
        positions: Positions,
        keys: Sequence[pa.Array],
        moment: pa.Array,
        value: pa.Array,
        good: Mask,
    ) -> None:
        """Values (JSON text or null) of a reading in a column of that name; `moment` is null where time or series is not sure."""
        self._columns[name] = column
        reading = self._readings[self._numbers[name]][1]
        series = pa.ListArray.from_arrays(
            pa.array(np.arange(len(positions) + 1, dtype=np.int32) * len(keys)),
            pa.concat_arrays([pa.array([], pa.string()), *keys]).take(
                pa.array(np.arange(len(keys) * len(positions)).reshape(len(keys), len(positions)).T.ravel())
            ),
        )
        added = pa.table(
            {"position": positions, "good": good, "series": series, "moment": moment.cast(pa.int64()), "value": value}
        )
        db = self._opened()
        db.register("added", added)
        db.execute(self._query(_ADD, name, type=sql.SQL(_TYPES[reading.type])))
        db.unregister("added")

    def judge(self) -> list[Warned]:
        """Apply the rules, once, after the last line; then `failed` tells the lines. Returns what is odd in those that land."""
        if self._db is None:
            return []
        for name, reading in self._readings:
            if reading.unique:
                self._db.execute(self._query(_UNIQUE, name))
        self._judge_counters(self._db)
        return [
            warned for name, reading in self._readings if reading.max_step is not None for warned in self._steps(name, reading)
        ]

    def _judge_counters(self, db: duckdb.DuckDBPyConnection) -> None:
        """Until nothing more falls: where a line is set aside, another line of its key and time may be the one to land."""
        counters = [name for name, reading in self._readings if reading.counter]
        before = -1
        while counters and (found := _failures(db)) != before:
            before = found
            for name in counters:
                db.execute(self._query(_COUNTER, name))

    def failed(self, positions: pa.Array | None = None) -> Iterator[list[tuple[int, list[CellError]]]]:
        """Lines that break a rule with their errors, by position, some thousand at a time; of these positions, or all."""
        if self._db is None:
            return
        query = _FAILED
        if positions is not None:
            self._db.register("these", pa.table({"position": positions}))
            query += " semi join these using (position)"
        result = self._db.execute(query + " group by position order by position")
        while rows := result.fetchmany(_AT_ONCE):
            yield [(position, [self._told(error) for error in errors]) for position, errors in rows]

    def close(self) -> None:
        """Remove what is kept."""
        self._open.close()

    def _opened(self) -> duckdb.DuckDBPyConnection:
        if self._db is None:
            folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="millwright-"))
            self._db = self._open.enter_context(duckdb.connect(str(Path(folder) / "rules.duckdb")))
            self._db.execute("set threads = 1")
            self._db.execute("set memory_limit = '256MB'")
            self._db.execute("create table failed (position bigint, number int, code varchar, value varchar, other bigint)")
            for name, reading in self._readings:
                self._db.execute(self._query(_CREATE, name, type=sql.SQL(_TYPES[reading.type])))
        return self._db

    def _query(self, query: LiteralString, name: str, **parts: sql.Composable) -> str:
        number = self._numbers[name]
        given = {"watched": sql.Identifier(f"watched_{number}"), "number": sql.Literal(number), "order": self._order, **parts}
        return sql.SQL(query).format(**given).as_string(None)

    def _steps(self, name: str, reading: Reading) -> Iterator[Warned]:
        assert self._db is not None
        row = self._db.execute(self._query(_STEPS, name, most=sql.Literal(reading.max_step))).fetchone()
        if row is None or not row[0]:
            return
        count, first, step, earlier = row
        told = "the value" if name in self._hidden else f"{step:+g}"
        message = f"{told} against {self._unit} {earlier} is a greater step than {reading.max_step:g} {reading.unit}".rstrip()
        yield Warned("max_step", self._columns[name], count, first, message)

    def _told(self, error: dict[str, Any]) -> CellError:
        name = self._readings[error["number"]][0]
        where = f"{self._unit} {error['other']}"
        if error["code"] == "unique":
            message = f"is the same as in {where}, and the value must be unique"
        else:
            than = "is less than the value" if name in self._hidden else error["value"]
            message = f"{than} of {where}, which is earlier, and the counter must not fall"
        return {"column": self._columns[name], "code": error["code"], "message": message}


def _failures(db: duckdb.DuckDBPyConnection) -> int:
    row = db.execute("select count(*) from failed").fetchone()
    assert row is not None
    return int(row[0])
