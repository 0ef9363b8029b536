"""Runs a view's computation on Spark, by way of Parquet on the lake.

Belongs here: the session, what is exported and read back. Does not: the queries (windows.py), the history (refresh.py).
Every step is written out and read again: a plan stays as long as its step, and nothing is computed twice.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millwright.definitions import Definitions, FeatureView
from millwright.features.compute import Tables
from millwright.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 1 << 20
"""Entities of one input are numbered from a multiple of it on, so that all inputs are one table."""


class NoSpark(RuntimeError):
    """Spark cannot be started here."""


class Spark:
    """features(events, prior tiles) → (feature rows, tiles) for one view, all inputs at once."""

    def __init__(self, session: Any, folder: Path, steps: Sequence[tuple[str, str]]) -> None:
        self._session, self._folder, self._steps = session, folder, steps

    def results(self, inputs: Iterable[Tables]) -> Iterator[Tables]:
        """(rows, tiles) of each (events, prior), in order. Every input is exported before the first result."""
        count = 0
        for count, (events, prior) in enumerate(inputs, 1):
            self._export("events", count - 1, events)
            self._export("prior", count - 1, prior)
        for name in ("events", "prior"):
            self._session.read.parquet(self._path(name)).createOrReplaceTempView(name)
        for name, query in self._steps:
            self._session.sql(query).write.parquet(self._path(name))
            self._session.read.parquet(self._path(name)).createOrReplaceTempView(name)
        for number in range(count):
            yield self._part("feature_rows", number), self._part("tiles", number)

    def _path(self, name: str) -> str:
        return str(self._folder / name)

    def _export(self, name: str, number: int, table: pa.Table) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        (self._folder / name).mkdir(parents=True, exist_ok=True)
        ids = pc.add(table.column("entity_id").cast(pa.int32()), pa.scalar(number * CHUNK, pa.int32()))
        pq.write_table(table.set_column(0, "entity_id", ids), self._folder / name / f"{number:06}.parquet")

    def _part(self, name: str, number: int) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        place, first = ds.field("entity_id"), number * CHUNK
        table = ds.dataset(self._path(name), format="parquet").to_table(filter=(place >= first) & (place < first + CHUNK))
        ids = pc.subtract(table.column("entity_id"), pa.scalar(first, pa.int32()))
        return table.set_column(0, "entity_id", ids)


@contextmanager
def spark(settings: Settings, definitions: Definitions, view: FeatureView) -> Iterator[Spark]:
    """A session that ends, and whose files leave the lake, at the end of the block. Every executor must see the lake.

    Raises NoSpark where the extra `spark` or a Java runtime is missing, or the master does not answer.
    """
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkRuntimeError
        from pyspark.sql import SparkSession

        from millwright.features.windows import spark_steps

        steps = spark_steps(definitions, view)
    except ImportError as error:
        raise NoSpark(f"Spark is not installed ({error}): pip install 'millwright[spark]'. Nothing was computed.") from error
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "false",  # a division by zero is null, as the definition of every aggregate has it
        **settings.spark_options,
    }
    builder = SparkSession.builder.master(settings.spark_master).appName(f"millwright {view.id}")
    for name, value in options.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkRuntimeError, Py4JError) as error:
        raise NoSpark(
            f"Spark did not start on {settings.spark_master}: {error}\nIt needs Java 17 or later (openjdk-17-jre-headless, "
            "or JAVA_HOME) and a master that answers; what Spark printed says more. Nothing was computed."
        ) from error
    folder = settings.lake_folder / "exports" / f"{view.id}-{uuid.uuid4().hex}"
    try:
        session.sparkContext.setLogLevel("ERROR")
        yield Spark(session, folder, steps)
    finally:
        session.stop()
        shutil.rmtree(folder, ignore_errors=True)
