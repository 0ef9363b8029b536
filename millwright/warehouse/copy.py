"""Bulk movement between Arrow and Postgres: COPY BINARY in, ADBC out, both inside the caller's snapshot.

Belongs here: encoding and transport. Does not: what the tables mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from millwright.warehouse.connect import parameters_of

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK_ROWS = 65_536
_BATCH_BYTES = 1024 * 1024


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
    import adbc_driver_manager as adbc
    import adbc_driver_postgresql

    row = conn.execute("select pg_export_snapshot(), current_setting('transaction_isolation')").fetchone()
    assert row is not None
    if row[1] not in {"repeatable read", "serializable"}:
        raise psycopg.ProgrammingError("arrow_reader needs a repeatable read transaction; begin one before reading")
    with adbc_driver_postgresql.connect(parameters_of(conn)) as database, adbc.AdbcConnection(database) as second:
        second.set_autocommit(False)
        reader = ArrowReader(second)
        reader.run(sql.SQL("set transaction isolation level repeatable read, read only"))
        reader.run(sql.SQL("set transaction snapshot {}").format(sql.Literal(row[0])))
        yield reader


class ArrowReader:
    """Runs composed queries and returns Arrow. Not by way of ADBC's dbapi module, which imports pandas."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, statement: sql.Composable) -> None:
        """A statement without rows."""
        import adbc_driver_manager as adbc

        with adbc.AdbcStatement(self._connection) as prepared:
            prepared.set_sql_query(statement.as_string(None))
            prepared.execute_update()

    def fetch(self, query: sql.Composable) -> pa.Table:
        """The rows of `query` as an Arrow table; timestamps are timestamp[us, UTC]."""
        with self._rows(query) as reader:
            return reader.read_all()

    def batches(self, query: sql.Composable) -> Iterator[pa.RecordBatch]:
        """The rows of `query` as they come, about a MB at a time: bounded memory, and the first of them soon."""
        with self._rows(query, _BATCH_BYTES) as reader:
            yield from reader

    @contextmanager
    def _rows(self, query: sql.Composable, batch_bytes: int | None = None) -> Iterator[pa.RecordBatchReader]:
        import adbc_driver_manager as adbc
        import pyarrow as pa

        with adbc.AdbcStatement(self._connection) as statement:
            statement.set_sql_query(query.as_string(None))
            if batch_bytes is not None:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": batch_bytes})
            handle, _ = statement.execute_query()
            with pa.RecordBatchReader._import_from_c(handle.address) as reader:
                yield reader
