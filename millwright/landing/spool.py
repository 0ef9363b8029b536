"""Keeps tables of one delivery in a temporary file, so that its memory is bounded and its transaction short.

Belongs here: Arrow in, the same Arrow out, as often as asked. Does not: what the tables mean.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa


class Spool:
    """Tables of one schema, in the order they were put in. Raises OSError when the disk is full."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._open = ExitStack()
        self._path = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="millwright-"))) / "spool.arrow"
        self._writer: pa.RecordBatchStreamWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def put(self, table: pa.Table) -> None:
        """Append a table; after the first `tables` nothing more may come."""
        if not table.num_rows:
            return
        if self._writer is None:
            self._writer = pa.ipc.new_stream(str(self._path), self.schema)
        self._writer.write_table(table)
        self.rows += table.num_rows

    def tables(self) -> Iterator[pa.Table]:
        """The tables, one at a time."""
        if self._writer is None:
            return
        self._writer.close()
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def close(self) -> None:
        """Remove the file."""
        if self._writer is not None:
            self._writer.close()
        self._open.close()
