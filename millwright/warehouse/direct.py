"""Copies lines that provably meet nothing straight into their table; only the others need the comparison of merge.py.

Belongs here: the proof, the copy, and what it touched. Does not: the comparison, the ledger.

A series of a piece of a delivery meets nothing if no row of it lies in the piece's span of event times, if no two lines of the
piece are of one instant unless each has one reading of its own (fold.py), and if none of its earlier lines had to be compared
(the first line of a key must stay the first). A row that another transaction commits after the proof ends the copy with
UniqueViolation; landing again without this way is right then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa

from millwright.warehouse import fold
from millwright.warehouse.copy import copy_in
from millwright.warehouse.relations import Relation, statement, table_of

Ints = npt.NDArray[np.int64]
_DAY = 86_400_000_000


class Direct:
    """The direct way of one delivery."""

    def __init__(self, conn: psycopg.Connection[Any], relation: Relation, batch_id: int) -> None:
        self._conn, self._relation, self._batch_id = conn, relation, batch_id
        self._ids = np.empty(0, dtype=np.int64)  # series_id by local number
        self._compared = np.empty(0, dtype=np.bool_)
        self._touched: list[Ints] = []
        self.rows = 0

    def take(self, lines: pa.Table, numbered: Ints) -> pa.Table:
        """Copy what meets nothing of `lines` (position, local, event_timestamp, readings); return the rest, in its order.

        `numbered`: (local, series_id) of the series that no piece before had, shape (n, 2).
        """
        self._know(numbered)
        local = lines["local"].to_numpy()
        times = lines["event_timestamp"].cast(pa.int64()).to_numpy()
        series = self._ids[local]
        order = np.lexsort((lines["position"].to_numpy(), times, series))
        series, times = series[order], times[order]
        starts = np.flatnonzero(np.diff(series, prepend=series[0] - 1))
        of_start = local[order[starts]]
        keys = fold.starts(series, times)
        if len(keys) < len(order):
            clash = fold.clashing(lines["readings"].take(pa.array(order)), keys)
            self._compared[local[order[clash]]] = True
        self._compared[of_start[self._meet(series[starts], times[starts], times[np.append(starts[1:], len(times)) - 1])]] = True
        compared = self._compared[local]
        direct = ~compared[order]
        if direct.any():
            self._copy(lines.take(pa.array(order[direct])), series[direct], times[direct])
            self._note(series[direct], times[direct])
        return lines.filter(pa.array(compared)) if compared.any() else lines.slice(0, 0)

    def touched(self) -> pa.Table:
        """What was copied: one row a series and UTC day: series_id, day, first, last, lines."""
        series, day, first, last, lines = np.concatenate([np.empty((5, 0), dtype=np.int64), *self._touched], axis=1)
        instant = pa.timestamp("us", "UTC")
        return pa.table(
            {
                "series_id": pa.array(series.astype(np.int32)),
                "day": pa.array(day.astype(np.int32)).cast(pa.date32()),
                "first": pa.array(first).cast(instant),
                "last": pa.array(last).cast(instant),
                "lines": pa.array(lines),
            }
        )

    def _know(self, numbered: Ints) -> None:
        more = int(numbered[:, 0].max(initial=-1)) + 1 - len(self._ids)  # a series of set aside lines alone has no number
        if more > 0:
            self._ids, self._compared = np.pad(self._ids, (0, more)), np.pad(self._compared, (0, more))
        self._ids[numbered[:, 0]] = numbered[:, 1]

    def _meet(self, series: Ints, first: Ints, last: Ints) -> Ints:
        """Indices of the spans in which the warehouse has a row."""
        bounds = {"from": _instant(first.min()), "to": _instant(last.max())}
        spans = {"series": _array(series), "first": _array(first), "last": _array(last)}
        met = self._conn.execute(statement("meets", self._relation), spans | bounds)
        return np.array([row[0] - 1 for row in met], dtype=np.int64)

    def _copy(self, lines: pa.Table, series: Ints, times: Ints) -> None:
        table, values = table_of(self._relation)
        self.rows += len(series)
        sources = None
        if len(keys := fold.starts(series, times)) < len(series):
            readings, sources = fold.fold(lines["readings"], lines["position"].to_numpy(), keys, self._batch_id)
            lines, series = lines.take(pa.array(keys)).set_column(3, "readings", readings), series[keys]
        rows = pa.table(
            {
                "series_id": pa.array(series.astype(np.int32)),
                "event_timestamp": lines["event_timestamp"],
                values: lines["readings"],
                "batch_id": pa.array(np.full(len(series), self._batch_id, dtype=np.int64)),
                "position": lines["position"],
            }
        )
        if sources is not None:
            rows = rows.append_column("sources", sources)
        copy_in(self._conn, table, rows, jsonb=[values, "sources"] if sources is not None else [values])

    def _note(self, series: Ints, times: Ints) -> None:
        days = times // _DAY
        starts = np.flatnonzero((np.diff(series, prepend=-1) != 0) | (np.diff(days, prepend=days[0]) != 0))
        ends = np.append(starts[1:], len(times))
        self._touched.append(np.stack([series[starts], days[starts], times[starts], times[ends - 1], ends - starts]))


def _array(numbers: Ints) -> str:
    """An array of Postgres as text: adapted one by one, a thousand numbers take longer than their query."""
    return "{" + ",".join(map(str, numbers.tolist())) + "}"


def _instant(micros: Any) -> datetime:
    return datetime.fromtimestamp(int(micros) // 1_000_000, UTC).replace(microsecond=int(micros) % 1_000_000)
