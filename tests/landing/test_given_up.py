"""A batch that fails again and again is not retried for ever, and says what a person has to do."""

from __future__ import annotations

from millwright.landing.batches import given_up, replay, waiting
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
