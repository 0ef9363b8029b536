"""Kafka as a source of lines: which offsets are new, and the messages of one range.

Belongs here: watermarks, explicit assignment, JSON objects as columns. Does not: rules (rules.py), what a column means, SQL.

Nothing joins a consumer group: the newest range in the ledger is the consumer's offset. A range is read by position, so gaps that
compaction and transactions leave are passed over; `received` counts messages. A topic is identified by its id, so one that
was made anew begins at its own first offset.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import orjson
import psycopg
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from millwright.definitions import Definitions
from millwright.landing.mapping import Delivery, dataset_of, settings_hash
from millwright.landing.rows import Block, Cells, Kind, Positions, Rejected, Unavailable
from millwright.settings import Settings
from millwright.warehouse import ledger

_SECONDS = 10.0
_SILENCE = 30.0


class Planned(BaseModel):
    """A range of offsets [first_offset, end_offset) that was planned as a batch."""

    model_config = ConfigDict(frozen=True)
    batch_id: int
    topic: str
    partition: int
    first_offset: int
    end_offset: int


def observe(conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions) -> list[Planned]:
    """Plan what the defined topics have beyond the ledger, at most `max_rows_per_kafka_batch` offsets a batch; wake.

    A topic that does not exist yet is passed over. Raises Unavailable (no answer), NotConfigured, psycopg.Error.
    """
    if not definitions.topics:
        return []
    planned: list[Planned] = []
    with _consumer(settings.require("kafka_bootstrap")) as consumer:
        for topic, (topic_id, partitions) in _describe(settings, list(definitions.topics)).items():
            dataset = dataset_of(definitions, definitions.topics[topic].dataset)
            for partition in partitions:
                low, high = _watermarks(consumer, topic, partition)
                known = ledger.next_offset(conn, topic_id, partition)
                if high <= (low if known is None else known):
                    continue
                with conn.transaction():
                    number, end = ledger.topic_partition(conn, topic, topic_id, partition)
                    first = low if end is None else end
                    while first < high:
                        upto = min(first + settings.max_rows_per_kafka_batch, high)
                        batch_id = ledger.plan_range(
                            conn,
                            topic_partition_id=number,
                            dataset=dataset.dataset,
                            first=first,
                            end=upto,
                            settings_hash=settings_hash(dataset, Delivery()),
                            by="kafka",
                        )
                        planned.append(
                            Planned(batch_id=batch_id, topic=topic, partition=partition, first_offset=first, end_offset=upto)
                        )
                        first = upto
                    ledger.notify(conn, "batch")
    return planned


class TopicRange:
    """The messages of one range as a Source. Raises Unavailable when the broker is away or does not have the range any more."""

    unit = "offset"
    header: Sequence[str] | None = None
    units: Mapping[str, str] = MappingProxyType({})

    def __init__(self, bootstrap: str, topic: str, topic_id: str, partition: int, first: int, end: int) -> None:
        self._bootstrap, self._topic, self._topic_id, self._partition = bootstrap, topic, topic_id, partition
        self._first, self._end = first, end
        self._messages: dict[int, bytes] = {}

    def facts(self) -> dict[str, Any]:
        """How it was read."""
        return {"encoding": "utf-8", "format": "json"}

    def blocks(self) -> Iterator[Block]:
        """All messages of the range; a range is bounded by `max_rows_per_kafka_batch`."""
        described = _describe_at(self._bootstrap, [self._topic])
        if self._topic not in described or described[self._topic][0] != self._topic_id:
            raise Unavailable(f"The topic {self._topic} was deleted or made anew: these offsets are gone.")
        with _consumer(self._bootstrap) as consumer:
            self._messages = dict(self._read(consumer))
        if self._messages:
            yield block(self._messages)

    def originals(self, positions: Positions) -> list[bytes]:
        """The messages' bytes as they came."""
        return [self._messages[int(position)] for position in positions]

    def _read(self, consumer: Any) -> Iterator[tuple[int, bytes]]:
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        low, high = _watermarks(consumer, self._topic, self._partition)
        if low > self._first or high < self._end:
            raise Unavailable(
                f"{self._topic}[{self._partition}] has offsets {low} to {high}, "
                f"not {self._first} to {self._end}: retention was faster."
            )
        here = TopicPartition(self._topic, self._partition, self._first)
        position, heard = self._first, time.monotonic()
        try:
            consumer.assign([here])
            while position < self._end:
                for message in consumer.consume(num_messages=min(5_000, self._end - position), timeout=0.2):
                    heard = time.monotonic()
                    if message.error() is not None and message.error().code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(message.error())
                    if message.error() is None and message.offset() < self._end:
                        yield message.offset(), message.value() or b""
                reached = consumer.position([here])[0].offset
                if reached > position:
                    position, heard = reached, time.monotonic()
                if time.monotonic() - heard > _SILENCE:
                    raise Unavailable(
                        f"{self._topic}[{self._partition}] gave nothing for {_SILENCE:.0f} s after offset {position}."
                    )
        except KafkaException as error:
            raise Unavailable(f"Kafka at {self._bootstrap}: {error.args[0].str()}.") from error


def block(messages: dict[int, bytes]) -> Block:
    """Messages, by their positions, as columns; what is no JSON object is rejected."""
    rejected: list[Rejected] = []
    objects: list[dict[str, Any]] = []
    positions: list[int] = []
    for offset, value in messages.items():
        problem = None
        try:
            row = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            problem = ("not_json", f"the message is not JSON: {error}")
        else:
            if not isinstance(row, dict):
                problem = ("not_an_object", "the message is JSON, but not an object")
            elif any(not name or len(name.encode()) > 63 or "\0" in name for name in row):
                problem = ("bad_field_name", "a field name is empty, longer than 63 bytes, or has a NUL")
            elif any(isinstance(cell, str) and "\0" in cell for cell in row.values()):
                problem = ("nul", "a text has a NUL character")
        if problem:
            rejected.append(Rejected(offset, value, [{"column": "", "code": problem[0], "message": problem[1]}]))
        else:
            objects.append(row)
            positions.append(offset)
    names = dict.fromkeys(name for row in objects for name in row)
    return Block(
        {name: _cells([row.get(name) for row in objects]) for name in names}, np.array(positions, dtype=np.int64), rejected
    )


def _cells(values: list[Any]) -> Cells:
    texts, kinds = zip(*map(_cell, values), strict=True)
    return Cells(pa.array(texts, pa.string()), np.array(kinds, dtype=np.int8))


def _cell(value: Any) -> tuple[str, Kind]:
    match value:
        case None | "":
            return "", Kind.MISSING
        case str():
            return value, Kind.STRING
        case bool():
            return ("true" if value else "false"), Kind.BOOL
        case int() | float():
            return repr(value), Kind.NUMBER
        case _:
            return orjson.dumps(value).decode(), Kind.OTHER


@dataclass
class _consumer:
    """A consumer that belongs to no group and commits nothing."""

    bootstrap: str

    def __enter__(self) -> Any:
        from confluent_kafka import Consumer

        self._consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "millwright",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
            },
            logger=_quiet(),
        )
        return self._consumer

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


def _quiet() -> Any:
    import logging

    return logging.getLogger(__name__)


def _describe(settings: Settings, topics: list[str]) -> dict[str, tuple[str, list[int]]]:
    return _describe_at(settings.require("kafka_bootstrap"), topics)


def _describe_at(bootstrap: str, topics: list[str]) -> dict[str, tuple[str, list[int]]]:
    """Topic → (its id, its partitions), of those that exist."""
    from confluent_kafka import KafkaError, KafkaException, TopicCollection
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": bootstrap}, logger=_quiet())
    found: dict[str, tuple[str, list[int]]] = {}
    for topic, future in admin.describe_topics(TopicCollection(topics), request_timeout=_SECONDS).items():
        try:
            description = future.result(timeout=_SECONDS + 5)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise Unavailable(f"Kafka at {bootstrap}: {error.args[0].str()}.") from error
        found[topic] = (str(description.topic_id), sorted(partition.id for partition in description.partitions))
    return found


def _watermarks(consumer: Any, topic: str, partition: int) -> tuple[int, int]:
    from confluent_kafka import KafkaException, TopicPartition

    try:
        found: tuple[int, int] | None = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=_SECONDS, cached=False
        )
    except KafkaException as error:
        raise Unavailable(f"Kafka: {error.args[0].str()}.") from error
    if found is None:
        raise Unavailable(f"Kafka did not answer in {_SECONDS:.0f} s.")
    return found
