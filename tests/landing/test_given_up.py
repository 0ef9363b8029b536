"""A batch that fails again and again is not retried for ever, and says what a person has to do."""

from __future__ import annotations

from millwright.landing.batches import given_up, replay, waiting
from millwright.warehouse import ledger
from millwright.warehouse.ledger import MAX_ATTEMPTS
from tests.landing.conftest import HEADER, Plant


def test_a_lost_file_fails_is_given_up_with_a_way_on_and_lands_when_it_is_back(plant: Plant):
    content = HEADER + "temperature\n2026-03-01T00:00:00Z,press-01,press,1\n"
    received = plant.receive(content)
    (kept,) = [path for path in plant.settings.zone.rglob("*") if path.is_file()]
    moved = kept.rename(kept.with_suffix(".away"))
    for _ in range(MAX_ATTEMPTS):
        assert [batch.batch_id for batch in waiting(plant.conn, 10)] == [received.batch_id]
        assert plant.again(received.batch_id).state == "failed"
    assert waiting(plant.conn, 10) == []
    (told,) = given_up(plant.conn)
    assert f"Batch {received.batch_id} (file.csv) failed {MAX_ATTEMPTS} times" in told
    assert f"millwright replay {received.batch_id}" in told
    moved.rename(kept)
    replay(plant.conn, received.batch_id)
    assert given_up(plant.conn) == []
    assert plant.again(received.batch_id).state == "landed"


def test_a_refused_range_that_holds_back_its_partition_is_told(plant: Plant):
    with plant.conn.transaction():
        partition, _ = ledger.topic_partition(plant.conn, "telemetry", "id", 0)
        first, second = (
            ledger.plan_range(
                plant.conn, topic_partition_id=partition, dataset="fleet", first=at, end=at + 10, settings_hash="x", by="test"
            )
            for at in (0, 10)
        )
    ledger.finish_without(plant.conn, first, "refused", "too many bad rows", {})
    assert waiting(plant.conn, 10) == []
    (told,) = given_up(plant.conn)
    assert f"Batch {first} (telemetry[0] 0…10) was refused and holds back what comes after it in its partition" in told
    replay(plant.conn, first)
    assert [batch.batch_id for batch in waiting(plant.conn, 10)] == [first, second]
    assert given_up(plant.conn) == []
