"""One delivery, read and typed, on its way to Postgres: numbers of its series, its rejected lines, its figures.

Belongs here: source → rules → spool, and what the receipt says about it. Does not: transactions, states (load.py), SQL.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.ahead import ahead
from millwright.definitions import Definitions
from millwright.landing.batches import ErrorKind
from millwright.landing.by_key import by_key
from millwright.landing.caps import capped, first_errors
from millwright.landing.mapping import Delivery, dataset_of
from millwright.landing.rows import Block, CellError, Refused, Rejected, Source
from millwright.landing.rules import Rules, Typed
from millwright.landing.spool import Spool
from millwright.settings import Settings
from millwright.warehouse import merge

_LINES = pa.schema(
    [("position", pa.int64()), ("local", pa.int32()), ("event_timestamp", pa.timestamp("us", "UTC")), ("readings", pa.string())]
)
_REJECTED = pa.schema([("position", pa.int64()), ("original", pa.binary()), ("errors", pa.string())])

_Kinds = dict[tuple[str, str], tuple[int, int, str]]
"""Code and column → how many, position and message of the first."""


class Staged:
    """Reads a source once, block by block, into spools; afterwards its counts are final but for conflicts.

    `lines`: position, local (number of the series), event_timestamp, readings (JSON text). `rejected`: position, original bytes,
    errors (JSON text). `streams`: its lines can be merged while it is read: no later line decides about an earlier one.
    """

    def __init__(
        self,
        settings: Settings,
        definitions: Definitions,
        dataset: str,
        delivery: Delivery,
        source: Source,
        *,
        now: datetime,
    ) -> None:
        definition = dataset_of(definitions, dataset)
        self._source, self._settings = source, settings
        self._rules = Rules(
            settings,
            definitions,
            definition,
            delivery,
            now=now,
            fixed=source.header is not None,
            units=source.units,
            unit=source.unit,
        )
        self._columns = self._rules.mapped(source.header) if source.header is not None else None
        # Of a topic nothing streams: no transaction waits for another server.
        self.streams = source.header is not None and not self._rules.several.decide and not self._rules.long
        self._typed = ahead(self._take(block) for block in ahead(source.blocks()))
        self._begun = self._complete = False
        self._hidden = frozenset(definition.sensitive)
        self._entity, self._word, self._dataset = definition.entity, definition.word, dataset
        self._keys = definitions.entities[definition.entity].keys
        self._series: dict[tuple[str, ...], int] = {}
        self._kinds: _Kinds = {}
        self._conflicts: _Kinds = {}
        self.received = self.ignored = self.bytes = 0
        self.first_event: datetime | None = None
        self.last_event: datetime | None = None
        self.new_readings: list[str] = []
        self.warnings: list[ErrorKind] = []
        self._used: npt.NDArray[np.int32] | None = None
        self.preview: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.mapping: dict[str, Any] = {}
        self.lines, self.rejected = Spool(_LINES), Spool(_REJECTED)

    @property
    def unit(self) -> str:
        """What a position counts: line or offset."""
        return self._source.unit

    def close(self) -> None:
        """Give back what the reading, the rules and the spools hold."""
        self._typed.close()
        self._rules.close()
        self.lines.close()
        self.rejected.close()

    def fill(self) -> None:
        """Read to the end. Raises Refused, Unavailable, OSError."""
        for _ in self._read():
            pass

    def pieces(self) -> Iterator[merge.Piece]:
        """The lines with the series that are new in them; the first time, if it streams, while they are read. Raises as fill."""
        if self.streams and not self._begun:
            yield from self._read()
            return
        self.fill()
        used = np.arange(len(self._series), dtype=np.int32) if self._used is None else self._used
        series = self._numbered(used)
        for table in self.lines.tables():
            yield merge.Piece(series, table)
            series = series.slice(0, 0)

    def _read(self) -> Iterator[merge.Piece]:
        """What is not yet read, spooled and counted before it is told."""
        self._begun = True
        yield from filter(None, self._typed)
        if not self._complete:
            self._complete = True
            self._conclude()

    def _conclude(self) -> None:
        self.preview = [capped(row, self._settings) for row in self.preview]
        self.facts, self.mapping = self._source.facts(), self._rules.facts(self._source.header)
        self._judge()
        if self._rules.long:
            self.lines = by_key(self.lines)

    def forget_conflicts(self) -> None:
        """Count conflicts anew: the transaction that found them was rolled back."""
        self._conflicts = {}

    def conflicting(self, conflicts: Sequence[merge.Conflict], batch_id: int) -> pa.Table:
        """Lines that contradict the warehouse, as rejected ones; they are counted."""
        originals = self._source.originals(np.array([conflict.position for conflict in conflicts], dtype=np.int64))
        lines = [
            Rejected(conflict.position, original, [self._told(cell, batch_id) for cell in conflict.cells])
            for conflict, original in zip(conflicts, originals, strict=True)
        ]
        _count(self._conflicts, lines)
        return self._table(lines)

    def kinds(self) -> list[ErrorKind]:
        """The errors by kind, most frequent first, as many as are kept."""
        found = [
            ErrorKind(
                code=code,
                column=column,
                count=count,
                share=round(count / self.received, 6),
                first_position=first,
                message=message,
            )
            for (code, column), (count, first, message) in sorted(
                (self._kinds | self._conflicts).items(), key=lambda item: (-item[1][0], item[1][1], item[0])
            )
        ]
        return found[: self._settings.kept_error_kinds]

    def _judge(self) -> None:
        """Set aside the lines that break a rule over several lines; a line that is set aside already gets its further errors."""
        self.warnings = [
            ErrorKind(share=round(warned.count / self.received, 6), **vars(warned)) for warned in self._rules.several.judge()
        ]
        failed = [position for lines in self._rules.several.failed() for position, _ in lines]
        if not failed:
            return
        positions = pa.array(failed, pa.int64())
        before, self.rejected = self.rejected, Spool(_REJECTED)
        with before:
            known = [self._reject_further(table) for table in before.tables()]
        fresh = np.setdiff1d(np.array(failed, dtype=np.int64), np.concatenate([np.zeros(0, dtype=np.int64), *known]))
        for lines in self._rules.several.failed(pa.array(fresh)):
            originals = self._source.originals(np.array([position for position, _ in lines], dtype=np.int64))
            rejected = [Rejected(at, original, errors) for (at, errors), original in zip(lines, originals, strict=True)]
            _count(self._kinds, rejected)
            self.rejected.put(self._table(rejected))
        self._keep_others(positions)

    def _reject_further(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Write rejected lines again, with the further errors of those that have some; returns the positions of all."""
        further = {at: errors for lines in self._rules.several.failed(table["position"]) for at, errors in lines}
        if further:
            _count(self._kinds, [Rejected(position, b"", errors) for position, errors in further.items()])
            kept = self._settings.kept_errors_per_row
            told = [
                json.dumps(first_errors(json.loads(errors) + further[at], kept), ensure_ascii=False) if at in further else errors
                for at, errors in zip(table["position"].to_pylist(), table["errors"].to_pylist(), strict=True)
            ]
            table = table.set_column(2, _REJECTED.field("errors"), pa.array(told, pa.string()))
        self.rejected.put(table)
        return np.asarray(table["position"].to_numpy())

    def _keep_others(self, failed: pa.Array) -> None:
        """Leave lines out of what lands, and out of what is told of it."""
        before, self.lines = self.lines, Spool(_LINES)
        self.first_event = self.last_event = None
        used: set[int] = set()
        with before:
            for table in before.tables():
                kept = table.filter(pc.invert(pc.is_in(table["position"], failed)))
                if kept.num_rows:
                    self.lines.put(kept)
                    self._note_bounds(kept["event_timestamp"])
                    used.update(pc.unique(kept["local"]).to_pylist())
        self._used = np.array(sorted(used), dtype=np.int32)
        out = set(failed.to_pylist())
        self.preview = [row for row in self.preview if row[self._source.unit] not in out]

    def _note_bounds(self, moments: pa.Array) -> None:
        bounds = pc.min_max(moments).as_py()
        self.first_event = min(filter(None, (self.first_event, bounds["min"])))
        self.last_event = max(filter(None, (self.last_event, bounds["max"])))

    def _take(self, block: Block) -> merge.Piece | None:
        """Type a block and spool it; None where no line of it is good. Runs in the thread that reads ahead."""
        typed = self._rules.apply(block)
        self.received += block.rows + len(block.rejected) - typed.ignored
        self.ignored += typed.ignored
        if self._source.header is not None and self.received > self._settings.max_rows_per_file:
            raise Refused(
                f"The file has more than {self._settings.max_rows_per_file:,} rows (setting max_rows_per_file). "
                "Nothing was loaded; split it."
            )
        self.new_readings += [name for name in typed.new_readings if name not in self.new_readings]
        rejected = list(block.rejected)
        if typed.errors:
            positions = block.positions[list(typed.errors)]
            order = np.argsort(positions)
            cells = list(typed.errors.values())
            originals = self._source.originals(positions[order])
            rejected += [Rejected(int(positions[at]), original, cells[at]) for at, original in zip(order, originals, strict=True)]
        _count(self._kinds, rejected)
        self.rejected.put(self._table(rejected))
        if not len(typed.good):
            return None
        positions, known = block.positions[typed.good], len(self._series)
        columns = [pa.array(positions), pa.array(self._numbers(typed)), typed.event_timestamp, typed.readings]
        lines = pa.table(columns, schema=_LINES)
        self.lines.put(lines)
        self._note_bounds(typed.event_timestamp)
        self._show(typed, positions)
        return merge.Piece(self._numbered(np.arange(known, len(self._series), dtype=np.int32)), lines)

    def _numbers(self, typed: Typed) -> npt.NDArray[np.int32]:
        """The number of each row's series in this delivery; new series get the next ones."""
        combined = np.zeros(len(typed.good), dtype=np.int64)
        columns = [typed.keys[name] for name in self._keys]
        columns.append(typed.keys[self._word] if self._word else pa.repeat(pa.scalar(self._dataset), len(typed.good)))
        for column in columns:
            encoded = column.dictionary_encode()
            combined = combined * len(encoded.dictionary) + encoded.indices.to_numpy()
            _, combined = np.unique(combined, return_inverse=True)
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        names = zip(*(column.take(pa.array(first)).to_pylist() for column in columns), strict=True)
        locals_ = np.array([self._series.setdefault(name, len(self._series)) for name in names], dtype=np.int32)
        return locals_[inverse]

    def _numbered(self, locals_: npt.NDArray[np.int32]) -> pa.Table:
        """Which series these local numbers are."""
        names = list(self._series)
        keys = [names[local] for local in locals_]
        return pa.table(
            {
                "local": pa.array(locals_, pa.int32()),
                "entity": pa.array([self._entity] * len(keys), pa.string()),
                "keys": pa.array([list(key[:-1]) for key in keys], pa.list_(pa.string())),
                "sensor_type": pa.array([key[-1] for key in keys], pa.string()),
            }
        )

    def _show(self, typed: Typed, positions: npt.NDArray[np.int64]) -> None:
        for at in range(min(self._settings.preview_rows - len(self.preview), len(positions))):
            keys = {name: column[at].as_py() for name, column in typed.keys.items()}
            moment = typed.event_timestamp[at].as_py().isoformat()
            shown = {"event_timestamp": moment, **keys, **json.loads(typed.readings[at].as_py())}
            visible = {name: value for name, value in shown.items() if name not in self._hidden}
            self.preview.append({self._source.unit: int(positions[at]), **visible})

    def _told(self, cell: dict[str, Any], batch_id: int) -> CellError:
        where = (
            f"{self._source.unit} {cell['position']}"
            if cell["batch"] == batch_id
            else f"batch {cell['batch']}, position {cell['position']}"
        )
        column = self._columns.name_of(cell["column"]) if self._columns else cell["column"]
        message = f"{json.dumps(cell['here'])[:60]} contradicts {json.dumps(cell['there'])[:60]} of {where}"
        if cell["column"] in self._hidden:
            message = f"the value contradicts that of {where}"
        return {"column": column, "code": "conflict", "message": message}

    def _table(self, lines: Sequence[Rejected]) -> pa.Table:
        kept = self._settings.kept_errors_per_row
        columns = [
            [line.position for line in lines],
            [line.original for line in lines],
            [json.dumps(first_errors(line.errors, kept), ensure_ascii=False) for line in lines],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _REJECTED, strict=True)]
        return pa.table(arrays, schema=_REJECTED)


def _count(kinds: _Kinds, lines: Sequence[Rejected]) -> None:
    for line in lines:
        for error in line.errors:
            kind = (error["code"], error["column"])
            count, first, message = kinds.get(kind, (0, line.position, error["message"]))
            if line.position < first:
                first, message = line.position, error["message"]
            kinds[kind] = (count + 1, first, message)
