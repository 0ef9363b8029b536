"""Puts the lines of a long delivery into the order of their keys, so that those of one key can be folded (warehouse/fold.py).

Belongs here: the sort, on disk. Does not: what becomes of the lines.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from millwright.landing.spool import Spool

_PIECE = 250_000
_ADD = "insert into lines select position, local, moment, readings from added"


def by_key(lines: Spool) -> Spool:
    """A new spool with the same lines by series, time and position, no key cut by two of its tables; `lines` is closed."""
    ordered = Spool(lines.schema)
    with lines, tempfile.TemporaryDirectory(prefix="millwright-") as folder, duckdb.connect(str(Path(folder) / "lines")) as db:
        db.execute("set threads = 1")
        db.execute("set memory_limit = '256MB'")
        db.execute("create table lines (position bigint, local int, moment bigint, readings varchar)")
        for table in lines.tables():
            db.register("added", table.set_column(2, "moment", table["event_timestamp"].cast(pa.int64())))
            db.execute(_ADD)
            db.unregister("added")
        carry = lines.schema.empty_table()
        for batch in db.sql("select * from lines order by local, moment, position").to_arrow_reader(_PIECE):
            moment = batch.column(2).cast(lines.schema.field("event_timestamp").type)
            found = pa.table([batch.column(0), batch.column(1), moment, batch.column(3)], schema=lines.schema)
            carry = pa.concat_tables([carry, found]).combine_chunks()
            whole = _last_key(carry)
            ordered.put(carry.slice(0, whole))
            carry = carry.slice(whole)
        ordered.put(carry)
    return ordered


def _last_key(lines: pa.Table) -> int:
    """Where the lines of the last key begin."""
    local, moment = lines["local"].to_numpy(), lines["event_timestamp"].cast(pa.int64()).to_numpy()
    others = np.flatnonzero((local != local[-1]) | (moment != moment[-1]))
    return int(others[-1]) + 1 if others.size else 0
