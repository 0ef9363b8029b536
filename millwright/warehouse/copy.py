"""Bulk movement between Arrow and Postgres: COPY BINARY in, ADBC out, both inside the caller's snapshot.

Belongs here: encoding and transport. Does not: what the tables mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 65_536


def copy_in(
    conn: psycopg.Connection[Any],
    target: sql.Composable,
    table: pa.Table,
    *,
    jsonb: Collection[str] = (),
    columns: Collection[str] = (),
) -> int:
    """Append `table` to the relation `target` by COPY BINARY, in the caller's transaction; returns the number of rows.

    Columns are matched by name (or by `columns`, in order). Arrow types: int → int2/4/8, double → float8, bool, string → text
    (jsonb where named in `jsonb`: the strings must be JSON), binary → bytea, timestamp[us, UTC] → timestamptz, list → array.
    The column types of `target` must be exactly these. Raises psycopg.Error as Postgres does.
    """
    import pgpq
    from pgpq import encoders, schema

    table = table.combine_chunks()
    builders = {name: pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(table.schema.field(name)) for name in table.schema.names}
    for name in jsonb:
        builders[name] = encoders.StringEncoderBuilder.new_with_output(table.schema.field(name), schema.Jsonb())
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(table.schema, builders)
    names = sql.SQL(", ").join(map(sql.Identifier, columns or table.schema.names))
    statement = sql.SQL("copy {} ({}) from stdin with (format binary)").format(target, names)
    with conn.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in table.to_batches(max_chunksize=_CHUNK_ROWS):
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
    return int(table.num_rows)


@contextmanager
def arrow_reader(conn: psycopg.Connection[Any]) -> Iterator[ArrowReader]:
    """Arrow reads that see exactly what `conn`'s open REPEATABLE READ transaction sees.

    They run on a second connection to the same server under the exported snapshot: rows that `conn` itself wrote
    in this transaction are not seen. Raises psycopg.Error when `conn` is not in such a transaction.
    """
    from adbc_driver_postgresql import dbapi

    row = conn.execute("select pg_export_snapshot(), current_setting('transaction_isolation')").fetchone()
    assert row is not None
    if row[1] not in {"repeatable read", "serializable"}:
        raise psycopg.ProgrammingError("arrow_reader needs a repeatable read transaction; begin one before reading")
    info = conn.info
    parameters: dict[str, Any] = {**info.get_parameters(), "password": info.password, "connect_timeout": 10}
    dsn = make_conninfo(**parameters)
    with dbapi.connect(dsn) as second, second.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        cursor.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(row[0])).as_string(None))
        yield ArrowReader(cursor)


class ArrowReader:
    """Runs composed queries and returns Arrow."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetch(self, query: sql.Composable) -> pa.Table:
        """The rows of `query` as an Arrow table; timestamps are timestamp[us, UTC]."""
        self._cursor.execute(query.as_string(None))
        return self._cursor.fetch_arrow_table()

    def batches(self, query: sql.Composable) -> Iterator[pa.RecordBatch]:
        """The rows of `query` as they come, a few MB at a time: bounded memory."""
        self._cursor.execute(query.as_string(None))
        yield from self._cursor.fetch_record_batch()
