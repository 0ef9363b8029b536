"""Runs a view's compiled SQL on DuckDB, from Arrow to Arrow.

Belongs here: the engine's session: threads, memory, spill folder.
Does not: the SQL (windows.py), where events come from (refresh.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from millwright.definitions.partials import Partial
from millwright.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


class OutOfMemory(RuntimeError):
    """A chunk of a refresh is larger than DuckDB may hold, also with what it spills to disk."""


Tables = tuple["pa.Table", "pa.Table"]


class Computation(Protocol):
    """features(events, prior tiles) → (feature rows, tiles), wherever it runs."""

    def results(self, inputs: Iterable[Tables]) -> Iterator[Tables]:
        """(rows, tiles) of each (events, prior), in order; inputs may all be read before the first result."""


class Engine:
    """features(events, prior tiles) → (feature rows, tiles) for one view."""

    def __init__(self, session: Any, script: str, settings: Settings) -> None:
        self._session, self._script, self._settings = session, script, settings

    def results(self, inputs: Iterable[Tables]) -> Iterator[Tables]:
        """(rows, tiles) of each (events, prior), in order."""
        for events, prior in inputs:
            yield self.run(events, prior)

    def run(self, events: pa.Table, prior: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Feature rows (entity_id, t, features, `tolerance:<feature>`) and all tiles, the prior ones among them.

        Tables as `windows.compile_view` describes them. Every event of a tile must be in `events`, or the tile in `prior`.
        Raises OutOfMemory.
        """
        import duckdb

        self._session.register("events", events)
        self._session.register("prior", prior)
        try:
            self._session.execute(self._script)
        except duckdb.OutOfMemoryException as error:
            raise OutOfMemory(
                f"{events.num_rows:,} rows at once are more than DuckDB can work on. Raise MILLWRIGHT_DUCKDB_MEMORY "
                f"({self._settings.duckdb_memory}), or lower MILLWRIGHT_REFRESH_ROWS_PER_CHUNK "
                f"({self._settings.refresh_rows_per_chunk}). Nothing was changed."
            ) from error
        rows = self._session.sql("from feature_rows").to_arrow_table()
        tiles = self._session.sql("from tiles").to_arrow_table()
        for (name,) in self._session.execute("select table_name from duckdb_tables() where temporary").fetchall():
            self._session.execute(f'drop table "{name}"')
        return rows, tiles


def no_tiles(partials: Iterable[Partial]) -> pa.Table:
    """A `prior` without tiles, for events that reach back as far as the windows."""
    import pyarrow as pa

    types = {"double": pa.float64(), "int64": pa.int64(), "string": pa.string(), "bool": pa.bool_()}
    place = [("entity_id", pa.int32()), ("tile_us", pa.int64()), ("tile", pa.int64())]
    return pa.schema([*place, *((partial.column, types[partial.type]) for partial in partials)]).empty_table()


@contextmanager
def engine(settings: Settings, script: str) -> Iterator[Engine]:
    """A session that is closed, and whose spilled files are removed, at the end of the block."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="millwright-duckdb-") as spill:
        session = duckdb.connect(
            ":memory:",
            config={
                "threads": settings.duckdb_threads,
                "memory_limit": settings.duckdb_memory,
                "temp_directory": spill,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        try:
            yield Engine(session, script, settings)
        finally:
            session.close()
