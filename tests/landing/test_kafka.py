"""Kafka ranges land through the same loader: exactly once, poison set aside with its bytes, gaps passed over."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from millwright.definitions import Topic
from millwright.landing.batches import Receipt, receipt, replay, waiting
from millwright.landing.export import export
from millwright.landing.kafka import Planned, observe
from millwright.landing.load import land
from millwright.landing.quarantine import quarantined
from millwright.landing.rows import Unavailable
from millwright.warehouse import ledger
from millwright.warehouse.connect import connect
from tests.landing.conftest import DEFINITIONS, Plant, counts

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka")]  # one broker for all workers


class Bus:
    """A topic of its own and what lands from it."""

    def __init__(self, plant: Plant, bootstrap: str) -> None:
        self.topic = f"telemetry-{uuid.uuid4().hex[:8]}"
        self.bootstrap = bootstrap
        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        plant.definitions = DEFINITIONS.model_copy(update={"topics": {self.topic: Topic(topic=self.topic, dataset="fleet")}})
        plant.settings = plant.settings.model_copy(update={"kafka_bootstrap": bootstrap})
        self.plant = plant

    def create(self, **configuration: str) -> None:
        for future in self.admin.create_topics([NewTopic(self.topic, 1, 1, config=configuration)]).values():
            future.result(30)

    def delete(self) -> None:
        for future in self.admin.delete_topics([self.topic]).values():
            future.result(30)

    def send(self, *values: object) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap})
        for value in values:
            producer.produce(self.topic, value if isinstance(value, bytes) else json.dumps(value).encode())
        assert producer.flush(30) == 0

    def observe(self) -> list[Planned]:
        return observe(self.plant.conn, self.plant.settings, self.plant.definitions)

    def land(self, planned: Planned):
        return land(self.plant.conn, self.plant.settings, self.plant.definitions, planned.batch_id)


@pytest.fixture
def bus(plant: Plant, kafka_bootstrap: str) -> Iterator[Bus]:
    yield Bus(plant, kafka_bootstrap)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def message(second: int, value: object, machine: str = "m") -> dict[str, object]:
    return {"timestamp": f"2026-03-01T00:00:{second:02d}Z", "machine_id": machine, "sensor_type": "press", "temperature": value}


def test_I1_messages_land_once_and_poison_is_kept_as_it_came(bus: Bus) -> None:
    plant = bus.plant
    assert bus.observe() == []
    bus.create()
    assert bus.observe() == []
    poison = [b"\xff\x00not json", b"[1]", b"", b'{"a": "\\u0000"}', json.dumps(message(1, "hot")).encode()]
    bus.send(message(0, 1), *poison, message(0, 1), message(0, 2), message(2, 3) | {"new": "x"})
    (planned,) = bus.observe()
    assert (planned.first_offset, planned.end_offset) == (0, 9)
    assert bus.observe() == []
    done = bus.land(planned)
    assert counts(done) == (9, 2, 0, 1, 6)
    assert (done.topic, done.partition, done.first_offset, done.end_offset, done.file_name) == (bus.topic, 0, 0, 9, None)
    assert done.new_readings == ["new"]
    assert [(at, original, codes) for at, original, codes in plant.quarantine(done.batch_id)] == [
        (1, poison[0], [":not_json"]),
        (2, poison[1], [":not_an_object"]),
        (3, poison[2], [":not_json"]),
        (4, poison[3], [":nul"]),
        (5, poison[4], ["temperature:wrong_type"]),
        (7, json.dumps(message(0, 2)).encode(), ["temperature:conflict"]),
    ]
    before = plant.state()
    assert bus.land(planned) == done == receipt(plant.conn, planned.batch_id)
    assert plant.state() == before


def test_an_undone_range_keeps_its_offsets_and_is_read_again_only_when_asked(bus: Bus) -> None:
    plant = bus.plant
    bus.create()
    bus.send(message(0, 1))
    first = bus.observe()[0]
    bus.land(first)
    plant.undo(first.batch_id)
    assert plant.measurements() == {}
    assert (bus.observe(), waiting(plant.conn, 10)) == ([], [])
    bus.send(message(1, 2))
    (second,) = bus.observe()
    assert (second.first_offset, counts(bus.land(second))) == (1, (1, 1, 0, 0, 0))
    replay(plant.conn, first.batch_id)
    assert counts(bus.land(first)) == (1, 1, 0, 0, 0)
    assert len(plant.measurements()) == 2


def test_messages_in_quarantine_are_exported_mended_and_landed(bus: Bus) -> None:
    plant = bus.plant
    bus.create()
    poison = [b"\xff\x00not json", b"=1+1", json.dumps(message(1, "hot")).encode()]
    bus.send(message(0, 1), *poison)
    first = bus.land(bus.observe()[0])
    out = io.StringIO(newline="")
    assert export(plant.conn, first.batch_id or 0, out).rows == 3
    rows = list(csv.reader(io.StringIO(out.getvalue(), newline="")))
    assert rows[0] == ["offset", "columns", "codes", "messages", "message"]
    assert [(row[0], row[4]) for row in rows[1:]] == [("1", "\\xff\\x00not json"), ("2", "'=1+1"), ("3", poison[2].decode())]

    def upload() -> Receipt:
        content = io.StringIO(newline="")
        csv.writer(content).writerows(rows)
        return plant.land(content.getvalue(), repairs=first.batch_id)

    unchanged = upload()
    assert counts(unchanged) == (3, 0, 0, 0, 3)
    assert [codes for _, _, codes in plant.quarantine(unchanged.batch_id)] == [
        ["message:encoding"],
        [":not_json"],
        ["temperature:wrong_type"],
    ]
    rows[1][4], rows[3][4] = json.dumps(message(5, 6)), json.dumps(message(1, 7))
    mended = upload()
    assert (counts(mended), mended.repaired) == ((3, 2, 0, 0, 1), 2)
    assert quarantined(plant.conn, first.batch_id or 0).repaired == {mended.batch_id: 2}
    assert {at[17:19]: row["temperature"] for (_, _, at), row in plant.measurements().items()} == {"00": 1, "01": 7, "05": 6}


def test_files_and_messages_meet_in_the_same_rows(bus: Bus) -> None:
    plant = bus.plant
    file = plant.land("timestamp,machine_id,sensor_type,vibration\n2026-03-01T00:00:00Z,m,press,5\n")
    bus.create()
    bus.send(message(0, 1))
    done = bus.land(bus.observe()[0])
    assert counts(done) == (1, 1, 0, 0, 0)
    assert done.met == [file.batch_id]
    assert list(plant.measurements().values()) == [{"vibration": 5, "temperature": 1}]


def test_gaps_of_transactions_are_passed_over(bus: Bus) -> None:
    bus.create()
    producer = Producer({"bootstrap.servers": bus.bootstrap, "transactional.id": bus.topic})
    producer.init_transactions()
    for number, end in enumerate((producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(bus.topic, json.dumps(message(number, number)).encode())
        producer.produce(bus.topic, json.dumps(message(10 + number, number)).encode())
        producer.flush(30)
        end()
    (planned,) = bus.observe()
    assert planned.end_offset == 9
    done = bus.land(planned)
    assert counts(done) == (4, 4, 0, 0, 0)
    assert {row["temperature"] for row in bus.plant.measurements().values()} == {0, 2}


def test_ranges_are_bounded_and_wait_for_the_earlier_one(bus: Bus) -> None:
    plant = bus.plant
    bus.create()
    bus.send(*(message(second, second) for second in range(10)))
    plant.settings = plant.settings.model_copy(update={"max_rows_per_kafka_batch": 4})
    planned = bus.observe()
    assert [(p.first_offset, p.end_offset) for p in planned] == [(0, 4), (4, 8), (8, 10)]
    early = bus.land(planned[1])
    assert (early.state, f"waits for batch {planned[0].batch_id}" in (early.error or "")) == ("planned", True)
    away = plant.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    ids = [p.batch_id for p in planned]
    assert [w.batch_id for w in waiting(plant.conn, 10)] == ids
    plant.conn.execute("update landing.batches set state = 'failed', attempts = 3 where batch_id = %s", (ids[0],))
    assert waiting(plant.conn, 10) == []
    plant.conn.execute("update landing.batches set state = 'planned', attempts = 0 where batch_id = %s", (ids[0],))
    failed = land(plant.conn, away, plant.definitions, ids[0])
    assert failed.state == "failed"
    assert "Nothing was changed" in (failed.error or "")
    assert plant.rows("select count(*) from landing.quarantine") == [(0,)]
    assert [w.state for w in waiting(plant.conn, 10)] == ["failed", "planned", "planned"]
    assert [counts(bus.land(p))[1] for p in planned] == [4, 4, 2]
    assert waiting(plant.conn, 10) == []


def test_I2_offsets_are_planned_once_by_observers_at_once(bus: Bus) -> None:
    bus.create()
    bus.send(*(message(second, second) for second in range(5)))
    found: list[Planned] = []

    def run() -> None:
        with connect(bus.plant.url, autocommit=True) as conn:
            found.extend(observe(conn, bus.plant.settings, bus.plant.definitions))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(p.first_offset, p.end_offset) for p in found] == [(0, 5)]
    (number,) = bus.plant.rows("select topic_partition_id from landing.topic_partitions")[0]
    with pytest.raises(psycopg.errors.ExclusionViolation):
        ledger.plan_range(
            bus.plant.conn, topic_partition_id=number, dataset="fleet", first=4, end=6, settings_hash="x", by="test"
        )


def test_a_topic_made_anew_begins_at_its_own_start(bus: Bus) -> None:
    bus.create()
    bus.send(message(0, 1), message(1, 1))
    old = bus.observe()[0]
    assert counts(bus.land(old)) == (2, 2, 0, 0, 0)
    bus.send(message(2, 1))
    gone = bus.observe()[0]
    bus.delete()
    until(lambda: bus.topic not in bus.admin.list_topics(timeout=10).topics)
    bus.create()
    bus.send(message(3, 1))
    (new,) = bus.observe()
    assert (new.first_offset, new.end_offset) == (0, 1)
    assert counts(bus.land(new)) == (1, 1, 0, 0, 0)
    lost = bus.land(gone)
    assert (lost.state, "made anew" in (lost.error or "")) == ("failed", True)


def test_a_broker_that_is_away_is_told(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millwright.landing.kafka._SECONDS", 1.0)
    bus.plant.settings = bus.plant.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        bus.observe()
