"""One delivery, read and typed, on its way to Postgres: numbers of its series, its rejected lines, its figures.

Belongs here: source → rules → spool, and what the receipt says about it. Does not: transactions, states (load.py), SQL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millwright.definitions import Definitions
from millwright.landing.ahead import ahead
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


class Staged:
    """Reads a source once, block by block, into spools; afterwards its counts are final but for conflicts.

    `lines`: position, local (number of the series), event_timestamp, readings (JSON text). `rejected`: position, original bytes,
    errors (JSON text).
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
        self._hidden = frozenset(definition.sensitive)
        self._entity, self._word, self._dataset = definition.entity, definition.word, dataset
        self._keys = definitions.entities[definition.entity].keys
        self._series: dict[tuple[str, ...], int] = {}
        self._kinds: dict[tuple[str, str], tuple[int, int, str]] = {}
        self._kinds_read = self._kinds
        self.received = self.ignored = self.bytes = 0
        self.first_event: datetime | None = None
        self.last_event: datetime | None = None
        self.new_readings: list[str] = []
        self.warnings: list[ErrorKind] = []
        self._used: Sequence[int] | None = None
        self.preview: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.mapping: dict[str, Any] = {}
        self.lines, self.rejected = Spool(_LINES), Spool(_REJECTED)

    @property
    def unit(self) -> str:
        """What a position counts: line or offset."""
        return self._source.unit

    @property
    def repaired(self) -> dict[int, int]:
        """Of a repair: line → the position that it repairs."""
        return getattr(self._source, "repaired", {})

    def close(self) -> None:
        """Give back what the rules and the spools hold."""
        self._rules.close()
        self.lines.close()
        self.rejected.close()

    def fill(self) -> None:
        """Read to the end. Raises Refused, Unavailable, OSError."""
        for block in ahead(self._source.blocks()):
            self._take(block)
            if self._source.header is not None and self.received > self._settings.max_rows_per_file:
                raise Refused(
                    f"The file has more than {self._settings.max_rows_per_file:,} rows (setting max_rows_per_file). "
                    "Nothing was loaded; split it."
                )
        self.preview = [capped(row, self._settings) for row in self.preview]
        self.facts, self.mapping = self._source.facts(), self._rules.facts(self._source.header)
        self._judge()
        if self._rules.long:
            self.lines = by_key(self.lines)
        self._kinds_read = dict(self._kinds)

    def forget_conflicts(self) -> None:
        """Count conflicts anew: the transaction that found them was rolled back."""
        self._kinds = dict(self._kinds_read)

    def series(self) -> pa.Table:
        """Which series the local numbers are: local int32, entity, keys list<string>, sensor_type."""
        used = range(len(self._series)) if self._used is None else self._used
        names = sorted(self._series, key=self._series.__getitem__)
        keys = [names[local] for local in used]
        return pa.table(
            {
                "local": pa.array(used, pa.int32()),
                "entity": pa.array([self._entity] * len(keys), pa.string()),
                "keys": pa.array([list(key[:-1]) for key in keys], pa.list_(pa.string())),
                "sensor_type": pa.array([key[-1] for key in keys], pa.string()),
            }
        )

    def conflicting(self, conflicts: Sequence[merge.Conflict], batch_id: int) -> pa.Table:
        """Lines that contradict the warehouse, as rejected ones; they are counted."""
        originals = self._source.originals(np.array([conflict.position for conflict in conflicts], dtype=np.int64))
        lines = [
            Rejected(conflict.position, original, [self._told(cell, batch_id) for cell in conflict.cells])
            for conflict, original in zip(conflicts, originals, strict=True)
        ]
        self._count(lines)
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
                self._kinds.items(), key=lambda item: (-item[1][0], item[1][1], item[0])
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
            self._count(rejected)
            self.rejected.put(self._table(rejected))
        self._keep_others(positions)

    def _reject_further(self, table: pa.Table) -> npt.NDArray[np.int64]:
        """Write rejected lines again, with the further errors of those that have some; returns the positions of all."""
        further = {at: errors for lines in self._rules.several.failed(table["position"]) for at, errors in lines}
        if further:
            self._count([Rejected(position, b"", errors) for position, errors in further.items()])
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
        self._used = sorted(used)
        out = set(failed.to_pylist())
        self.preview = [row for row in self.preview if row[self._source.unit] not in out]

    def _note_bounds(self, moments: pa.Array) -> None:
        bounds = pc.min_max(moments).as_py()
        self.first_event = min(filter(None, (self.first_event, bounds["min"])))
        self.last_event = max(filter(None, (self.last_event, bounds["max"])))

    def _take(self, block: Block) -> None:
        typed = self._rules.apply(block)
        self.received += block.rows + len(block.rejected) - typed.ignored
        self.ignored += typed.ignored
        self.new_readings += [name for name in typed.new_readings if name not in self.new_readings]
        rejected = list(block.rejected)
        if typed.errors:
            positions = block.positions[list(typed.errors)]
            order = np.argsort(positions)
            cells = list(typed.errors.values())
            originals = self._source.originals(positions[order])
            rejected += [Rejected(int(positions[at]), original, cells[at]) for at, original in zip(order, originals, strict=True)]
        self._count(rejected)
        self.rejected.put(self._table(rejected))
        if not len(typed.good):
            return
        positions = block.positions[typed.good]
        columns = [pa.array(positions), pa.array(self._numbers(typed)), typed.event_timestamp, typed.readings]
        self.lines.put(pa.table(columns, schema=_LINES))
        self._note_bounds(typed.event_timestamp)
        self._show(typed, positions)

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

    def _show(self, typed: Typed, positions: npt.NDArray[np.int64]) -> None:
        for at in range(min(self._settings.preview_rows - len(self.preview), len(positions))):
            keys = {name: column[at].as_py() for name, column in typed.keys.items()}
            moment = typed.event_timestamp[at].as_py().isoformat()
            shown = {"event_timestamp": moment, **keys, **json.loads(typed.readings[at].as_py())}
            visible = {name: value for name, value in shown.items() if name not in self._hidden}
            self.preview.append({self._source.unit: int(positions[at]), **visible})

    def _count(self, lines: Sequence[Rejected]) -> None:
        for line in lines:
            for error in line.errors:
                kind = (error["code"], error["column"])
                count, first, message = self._kinds.get(kind, (0, line.position, error["message"]))
                if line.position < first:
                    first, message = line.position, error["message"]
                self._kinds[kind] = (count + 1, first, message)

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
