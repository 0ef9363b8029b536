"""Undo takes a batch's rows out and puts back what they replaced; what was merged into others' rows goes by its source (DESIGN §5)."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.landing import batches
from millwright.landing.batches import NotReplayable, UnknownBatch, replay
from millwright.landing.undo import NotUndoable, undo
from millwright.warehouse import commit
from millwright.warehouse.connect import connect
from tests.budget import examples
from tests.landing.conftest import HEADER, Plant, counts
from tests.landing.test_comparison import CASE, COLUMNS, DELIVERIES, in_pieces, oracle
from tests.landing.test_exactly_once import until

AT = "2026-03-01T00:00:00Z,m,press,"
LATER = "2026-03-02T00:00:00Z,m,press,"


def warehouse(plant: Plant) -> dict[str, Any]:
    """What is in the warehouse but for numbers of series and the log of changes, which only grow."""
    state = json.loads(plant.state())
    return {table: rows for table, rows in state.items() if table not in ("warehouse.series", "warehouse.changes")}


@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize(
    ("dataset", "header", "before", "then"),
    [
        ("fleet", COLUMNS, f"{AT}1,2,\n", f"{AT}1,2,3\n{LATER}1,,\n{AT}1,2,\n{AT},,4\n"),
        ("fleet", COLUMNS, f"{AT}1,2,\n", f"{AT}5,2,3\n{LATER}x,,\n"),
        ("log", "timestamp,machine_id,kind,severity,text\n", "2026-03-01T00:00:00Z,m,failure,1,\n",
         "2026-03-01T00:00:00Z,m,failure,2,a\n2026-03-01T00:00:00Z,m,repair,,\n"),
        ("scores", "timestamp,machine_id,wear,grade\n", "2026-03-01T00:00:00Z,m,1,\n", "2026-03-01T00:00:00Z,m,1,a\n"),
    ],
)  # fmt: skip
def test_after_an_undo_every_row_value_and_source_is_as_before(
    plant: Plant, correction: bool, dataset: str, header: str, before: str, then: str
) -> None:
    plant.land(header + before, dataset=dataset)
    rows = warehouse(plant)
    second = plant.land(header + then, dataset=dataset, correction=correction)
    kept = plant.quarantine(second.batch_id)
    undone = plant.undo(second.batch_id)
    after = warehouse(plant)
    assert {**after, "landing.quarantine": []} == rows
    assert plant.quarantine(second.batch_id) == kept
    (done,) = undone.batches
    assert done.removed + done.restored + done.shortened == sum(done.days.values())
    assert set(done.days) == set(second.days)


def test_the_receipt_says_undone_keeps_its_counts_and_what_the_undo_did(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,2,\n")
    second = plant.land(f"{COLUMNS}{AT}9,2,\n{LATER}1,,\n", correction=True)
    third = plant.land(f"{COLUMNS}{LATER},,7\n")
    undone = plant.undo(second.batch_id, cascade=True)
    assert [(d.batch_id, d.removed, d.restored, d.shortened) for d in undone.batches] == [
        (third.batch_id, 0, 0, 1),
        (second.batch_id, 1, 1, 0),
    ]
    receipt = batches.receipt(plant.conn, second.batch_id or 0)
    assert (receipt.state, receipt.received, receipt.loaded, receipt.corrected) == ("undone", 2, 1, 1)
    assert receipt.undone is not None
    assert (receipt.undone.removed, receipt.undone.restored, receipt.undone.with_batch) == (1, 1, second.batch_id)
    assert receipt.created_timestamp == second.created_timestamp
    assert [line.state for line in batches.batches(plant.conn).batches] == ["undone", "undone", "landed"]
    log = (
        "select batch_id, count(*), bool_or(historical) from warehouse.changes where created_timestamp = %s group by 1 order by 1"
    )
    assert plant.rows(log, undone.created_timestamp) == [(second.batch_id, 2, False), (third.batch_id, 1, False)]
    assert undone.created_timestamp > third.created_timestamp > second.created_timestamp > first.created_timestamp


def test_refused_while_later_batches_met_its_rows_naming_them(plant: Plant) -> None:
    """A duplicate, a conflict and a merge meet alike; batches that met none of its rows do not."""
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    duplicate = plant.land(f"{COLUMNS}{AT}1,,\n\n", name="again.csv")
    conflict = plant.land(f"{COLUMNS}{AT}2,,\n")
    merged = plant.land(f"{COLUMNS}{AT},5,\n")
    apart = plant.land(f"{COLUMNS}{LATER}1,,\n")
    before = plant.state()
    with pytest.raises(
        NotUndoable, match=f"{merged.batch_id} .*{conflict.batch_id} .*{duplicate.batch_id} \\(again.csv\\).*--cascade"
    ):
        plant.undo(first.batch_id)
    assert plant.state() == before
    undone = plant.undo(first.batch_id, cascade=True)
    assert [one.batch_id for one in undone.batches] == [merged.batch_id, conflict.batch_id, duplicate.batch_id, first.batch_id]
    assert list(plant.measurements()) == [("m", "press", "2026-03-02T00:00:00.000000")]
    assert plant.rows("select * from landing.met") == []
    # The duplicate's line went with the row that it repeated; its own replay brings it.
    replay(plant.conn, duplicate.batch_id or 0)
    assert counts(plant.again(duplicate.batch_id or 0)) == (1, 1, 0, 0, 0)
    plant.undo(apart.batch_id)
    assert plant.rows("select batch_id from warehouse.measurements") == [(duplicate.batch_id,)]


def test_what_was_undone_is_landed_again_by_replay_or_as_a_new_delivery(plant: Plant) -> None:
    text = f"{COLUMNS}{AT}1,,\n{AT}2,,\n"
    first = plant.land(text)
    before = warehouse(plant)
    plant.undo(first.batch_id)
    again = plant.receive(text)
    assert (again.already, again.batch_id) == (False, (first.batch_id or 0) + 1)
    assert counts(plant.again(again.batch_id)) == (2, 1, 0, 0, 1)
    replay(plant.conn, first.batch_id or 0)
    assert plant.again(first.batch_id or 0).state == "refused"
    plant.undo(again.batch_id)
    replay(plant.conn, first.batch_id or 0)
    landed = plant.again(first.batch_id or 0)
    assert counts(landed) == counts(first)
    assert landed.undone is None
    assert plant.quarantine(first.batch_id) == [(3, f"{AT}2,,".encode(), ["temperature:conflict"])]
    after = warehouse(plant)
    assert after["warehouse.measurements"] == before["warehouse.measurements"]


def test_undone_twice_is_undone_once_and_only_what_landed_can_be(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    undone = plant.undo(first.batch_id)
    before = plant.state()
    again = plant.undo(first.batch_id)
    assert (again.already, again.created_timestamp, again.batches) == (True, undone.created_timestamp, [])
    assert plant.state() == before
    waiting = plant.receive(f"{COLUMNS}{AT}3,,\n")
    with pytest.raises(NotUndoable, match="is planned"):
        plant.undo(waiting.batch_id)
    with pytest.raises(UnknownBatch):
        plant.undo(99)
    with pytest.raises(NotReplayable):
        replay(plant.conn, waiting.batch_id)


def test_a_batch_of_nothing_but_quarantine_can_be_undone(plant: Plant) -> None:
    done = plant.land(f"{COLUMNS}{AT}x,,\n")
    (one,) = plant.undo(done.batch_id).batches
    assert (one.removed, one.restored, one.shortened, one.days) == (0, 0, 0, {})


def landed(plant: Plant, machine: str, deliveries: Sequence[Any]) -> list[int]:
    """Land the deliveries, each with a line of its own before March, so that no two files are the same; their numbers."""
    ids = []
    for number, (correction, lines) in enumerate(deliveries):
        rows = [
            f"2026-03-01T00:00:0{at}Z,{machine}{of},press,{row.get('temperature', '')},{row.get('vibration', '')},{row.get('speed', '')}"
            for (of, at), row in lines
        ]
        content = f"{COLUMNS}2026-02-0{number + 1}T00:00:00Z,{machine}x,press,1,,\n" + "\n".join(rows) + "\n"
        receipt = plant.land(content, name=machine, correction=correction)
        assert receipt.state == "landed", receipt.error
        assert receipt.batch_id is not None
        ids.append(receipt.batch_id)
    return ids


def found(plant: Plant, machine: str, ids: Sequence[int]) -> tuple[Any, Any]:
    """Rows and images of a machine, batches by their place among `ids`."""
    place = {batch: number for number, batch in enumerate(ids)}
    query = (
        "select s.keys[1], event_timestamp::text, readings, batch_id, position, sources{} from warehouse.{} m join warehouse.series s using (series_id)"
        " where s.keys[1] like %s and event_timestamp >= '2026-03-01'"
    )
    named = []
    for extra, table in (("", "measurements"), (", replaced_by", "measurements_history")):
        rows = plant.rows(query.format(extra, table), f"{machine}_")
        named.append(
            sorted(
                json.dumps(
                    [
                        key[-1],
                        at,
                        readings,
                        place[batch],
                        position,
                        {name: [place[source], line] for name, (source, line) in (sources or {}).items()},
                        [place[by] for by in rest],
                    ],
                    sort_keys=True,
                )
                for key, at, readings, batch, position, sources, *rest in rows
            )
        )
    return named[0], named[1]


@pytest.mark.property
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DELIVERIES, st.integers(1, 10), st.data())
def test_after_an_undo_the_warehouse_is_what_the_remaining_batches_give(
    plant: Plant, deliveries: list, piece: int, data: Any
) -> None:
    case = next(CASE)
    with in_pieces(piece):
        ids = landed(plant, f"undo-{case}-", deliveries)
    chosen = data.draw(st.sampled_from(ids))
    before = plant.state()
    alone = True
    try:
        undone = plant.undo(chosen)
    except NotUndoable:
        alone = False
        assert plant.state() == before
        undone = plant.undo(chosen, cascade=True)
    gone = [one.batch_id for one in undone.batches]
    assert gone == sorted(gone, reverse=True)
    assert gone[-1] == chosen
    assert alone == (len(gone) == 1)
    remaining = [batch for batch in ids if batch not in gone]
    other = landed(plant, f"never-{case}-", [deliveries[ids.index(batch)] for batch in remaining])
    assert found(plant, f"undo-{case}-", remaining) == found(plant, f"never-{case}-", other)
    # Landed again in their order, they give what all give in the order in which they landed last.
    for batch in reversed(gone):
        replay(plant.conn, batch)
        assert plant.again(batch).state == "landed"
    order = [*remaining, *reversed(gone)]
    state, numbers = oracle([deliveries[ids.index(batch)] for batch in order])
    mine = {key: row for key, row in plant.measurements().items() if key[0][:-1] == f"undo-{case}-" and "-03-01T" in key[2]}
    assert {(int(name[-1]), int(at[17:19])): row for (name, _, at), row in mine.items()} == state
    receipts = [batches.receipt(plant.conn, batch) for batch in order]
    told = [(r.loaded - 1, r.corrected, r.duplicate, r.quarantined) for r in receipts]  # one line a file is its own
    assert told == numbers


def test_two_undos_at_once_undo_once(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    second = plant.land(f"{COLUMNS}{AT},2,\n")
    done = []
    start = threading.Barrier(4)

    def run(batch_id: int) -> None:
        with connect(plant.url, autocommit=True) as conn:
            start.wait()
            done.append(undo(conn, batch_id, cascade=True, by="test"))

    threads = [threading.Thread(target=run, args=(batch_id,)) for batch_id in [first.batch_id, second.batch_id] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.batch_id for undone in done for one in undone.batches) == [first.batch_id, second.batch_id]
    assert plant.measurements() == {}
    assert plant.rows("select count(*) from warehouse.changes") == [(4,)]


BLOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like %s"


def test_an_undo_that_meets_a_landing_waits_and_then_knows_it(plant: Plant) -> None:
    """The landing has merged into the row but not committed when the undo looks; the undo must not take the row from under it."""
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    second = plant.receive(f"{COLUMNS}{AT},2,\n")
    told: dict[str, str] = {}

    def land() -> None:
        with connect(plant.url, autocommit=True) as conn:
            told["landing"] = Plant(conn, plant.settings, plant.url).again(second.batch_id).state

    def take_out() -> None:
        with connect(plant.url, autocommit=True) as conn:
            try:
                undo(conn, first.batch_id or 0, by="test")
            except NotUndoable as error:
                told["undo"] = str(error)

    with psycopg.connect(plant.url) as holder:
        holder.execute("select * from warehouse.clock for update")  # the landing has written all its rows when it waits for this
        threads = [threading.Thread(target=land)]
        threads[0].start()
        until(lambda: plant.rows(BLOCKED, "%warehouse.clock%")[0][0] == 1)
        threads.append(threading.Thread(target=take_out))
        threads[1].start()
        until(lambda: plant.rows(BLOCKED, "%undo_keys%")[0][0] == 1)
        holder.rollback()
    for thread in threads:
        thread.join()
    assert told["landing"] == "landed"
    assert f"later batches met its rows: {second.batch_id}" in told["undo"]
    assert plant.rows("select readings from warehouse.measurements") == [({"temperature": 1, "vibration": 2},)]


def test_a_landing_that_meets_an_undo_waits_and_lands_after_it(plant: Plant) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    second = plant.receive(f"{COLUMNS}{AT}1,,\n{AT},2,\n")
    threads = []

    def take_out() -> None:
        with connect(plant.url, autocommit=True) as conn:
            undo(conn, first.batch_id or 0, by="test")

    def land() -> None:
        with connect(plant.url, autocommit=True) as conn:
            Plant(conn, plant.settings, plant.url).again(second.batch_id)

    with psycopg.connect(plant.url) as holder:
        holder.execute("select * from warehouse.clock for update")
        for work, waits_at in ((take_out, "%warehouse.clock%"), (land, "%insert into warehouse%")):
            threads.append(threading.Thread(target=work))
            threads[-1].start()
            until(lambda waits_at=waits_at: plant.rows(BLOCKED, waits_at)[0][0] == 1)
        holder.rollback()
    for thread in threads:
        thread.join()
    receipt = batches.receipt(plant.conn, second.batch_id)
    if receipt.state == "failed":  # its rows vanished between two statements: the plan tries it again
        receipt = plant.again(second.batch_id)
    assert counts(receipt) == (2, 2, 0, 0, 0)
    assert plant.rows("select readings, batch_id from warehouse.measurements") == [
        ({"temperature": 1, "vibration": 2}, second.batch_id)
    ]
    assert plant.rows("select * from landing.met") == []


def test_I3_an_undo_that_fails_at_its_last_statement_changes_nothing(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plant.land(f"{COLUMNS}{AT}1,,\n")
    plant.land(f"{COLUMNS}{AT}2,,\n", correction=True)
    before = plant.state()
    with monkeypatch.context() as patched:

        def full(*_: object, **__: object) -> None:
            raise psycopg.errors.DiskFull("could not extend file: No space left on device")

        patched.setattr(commit, "append_undone", full)
        with pytest.raises(psycopg.errors.DiskFull):
            plant.undo(first.batch_id, cascade=True)
    assert plant.state() == before
    assert [line.state for line in batches.batches(plant.conn).batches] == ["landed", "landed"]
    plant.undo(first.batch_id, cascade=True)
    assert plant.measurements() == {}
    assert HEADER in COLUMNS
