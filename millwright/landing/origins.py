"""Finds the bytes of lines that landed, long after: in the landing zone's file, or in the topic while it keeps them.

Belongs here: reading a delivery again for some of its lines. Does not: which lines, quarantined ones (quarantine.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import psycopg

from millwright.definitions import Dataset, Definitions
from millwright.landing import batches, export
from millwright.landing.csv import CsvFile
from millwright.landing.kafka import TopicRange
from millwright.landing.limits import Limits
from millwright.landing.mapping import Delivery
from millwright.landing.receive import zone_path
from millwright.landing.rows import Refused, Source, Unavailable
from millwright.settings import NotConfigured, Settings
from millwright.warehouse.ledger import Batch


def lines(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, batch: Batch, positions: Collection[int]
) -> dict[int, bytes]:
    """The bytes of these lines (or messages) of a landed batch as they came. Reads the delivery up to the last of them.

    Raises Unavailable when the file was pruned, or the topic keeps them no more.
    """
    wanted = np.array(sorted(positions), dtype=np.int64)
    try:
        source = _source(conn, settings, definitions.datasets.get(batch.dataset), batch, wanted)
        for block in source.blocks():
            if len(block.positions) and block.positions[-1] >= wanted[-1]:
                break
        return dict(zip(wanted.tolist(), source.originals(wanted), strict=True))
    except (Refused, NotConfigured, OSError) as error:
        raise Unavailable(str(error)) from error


def _source(conn: psycopg.Connection[Any], settings: Settings, dataset: Dataset | None, batch: Batch, wanted: Any) -> Source:
    if batch.sha256 is None:
        assert batch.topic is not None and batch.topic_id is not None and batch.partition is not None
        first, end = int(wanted[0]), int(wanted[-1]) + 1
        return TopicRange(settings.require("kafka_bootstrap"), batch.topic, batch.topic_id, batch.partition, first, end)
    delivery = Delivery.model_validate(batch.options)
    if delivery.repairs is not None:
        names = export.header(batches.receipt(conn, delivery.repairs))
        form = delivery.format.over(export.FORMAT).model_copy(update={"header": [f"c{place}" for place in range(len(names))]})
    else:
        form = delivery.format if dataset is None else delivery.format.over(dataset.format)
    return CsvFile(zone_path(settings, batch.sha256), form, sha256=batch.sha256, limits=Limits.of(settings))
