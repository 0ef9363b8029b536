"""Killed, cut off, out of disk, all at once: never half a batch (I3), and the retry lands exactly once (I2).

`make test` stops a run at a few of the stages, `make torture` at all of them.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from millwright.landing import batches
from millwright.landing.batches import waiting
from millwright.settings import Settings
from millwright.stack import bootstrap
from millwright.stack.postgres import Postgres
from millwright.stack.server import free_port
from millwright.warehouse.connect import connect
from millwright.warehouse.migrate import migrate
from tests import servers
from tests.budget import examples
from tests.landing.conftest import HEADER, Plant, counts
from tests.landing.test_exactly_once import until

FIRST = f"{HEADER}temperature\n2026-03-01T00:00:00Z,m,press,1\n"
TEXT = (
    f"{HEADER}temperature,vibration\n2026-03-01T00:00:00Z,m,press,1,5\n2026-03-01T00:00:00Z,m,press,2,5\n"
    "2026-03-01T00:01:00Z,m,press,x,\n2026-03-01T00:02:00Z,m,press,3,\n"
)
# A child that lands (or undoes) one batch, and is killed when it comes to a function, before or after it ran.
CHILD = """
import importlib, os, signal, sys
from millwright.landing.load import land
from millwright.landing.undo import undo
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests.landing.conftest import DEFINITIONS

url, project, batch, work, when, where = sys.argv[1:]
module, _, path = where.partition(":")
owner = importlib.import_module(module)
*parents, name = path.split(".")
for parent in parents:
    owner = getattr(owner, parent)
original = getattr(owner, name)

def stop(*args, **options):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, stop)
with connect(url, autocommit=True) as conn:
    if work == "land":
        print(land(conn, Settings(project=project), DEFINITIONS, int(batch)))
    else:
        print(undo(conn, int(batch), cascade=True, by="test"))
"""
LANDING = [
    ("before", "millwright.warehouse.ledger:begin"),
    ("after", "millwright.warehouse.ledger:begin"),
    ("before", "millwright.landing.rules:Rules.apply"),
    ("before", "millwright.warehouse.merge:merge"),
    ("after", "millwright.landing.load:ensure_months"),
    ("after", "millwright.warehouse.direct:Direct.take"),
    ("after", "millwright.landing.staged:Staged._conclude"),
    ("after", "millwright.warehouse.merge:merge"),
    ("after", "millwright.warehouse.merge:quarantine"),
    ("after", "millwright.warehouse.commit:next_timestamp"),
    ("after", "millwright.warehouse.ledger:finish_landed"),
    ("after", "millwright.warehouse.commit:append_changes"),
    ("after", "millwright.landing.load:_land"),
]
UNDOING = [
    ("after", "millwright.warehouse.undo:lock_rows"),
    ("after", "millwright.warehouse.undo:take_out"),
    ("after", "millwright.warehouse.commit:append_undone"),
    ("after", "millwright.landing.undo:_undo"),
]
COMMITTED = {"millwright.landing.load:_land"}
EXHAUSTIVE = examples(1) > 1


def chosen(stages: list[tuple[str, str]], few: tuple[int, ...]) -> list[tuple[str, str]]:
    return stages if EXHAUSTIVE else [stages[at] for at in few]


def killed(plant: Plant, batch_id: int | None, work: str, when: str, where: str) -> None:
    arguments = [plant.url, str(plant.settings.project), str(batch_id), work, when, where]
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, (done.stdout, done.stderr[-2000:])
    until(lambda: plant.rows("select count(*) from pg_locks where locktype = 'advisory'")[0][0] == 0)


@pytest.mark.property
@pytest.mark.parametrize(("when", "where"), chosen(LANDING, (4, 7, 11, 12)))
def test_I3_a_run_killed_at_any_stage_leaves_no_half_batch_and_lands_once(plant: Plant, when: str, where: str) -> None:
    plant.land(FIRST)
    received = plant.receive(TEXT)
    before = plant.state()
    killed(plant, received.batch_id, "land", when, where)
    if where in COMMITTED:
        assert (waiting(plant.conn, 10), batches.receipt(plant.conn, received.batch_id).state) == ([], "landed")
    else:
        assert plant.state() == before
        assert [batch.batch_id for batch in waiting(plant.conn, 10)] == [received.batch_id]
    assert counts(plant.again(received.batch_id)) == (4, 2, 0, 0, 2)
    after = plant.state()
    assert plant.again(received.batch_id).state == "landed"
    assert plant.receive(TEXT, name="another name.csv").already
    assert plant.state() == after
    assert len(plant.measurements()) == 2


@pytest.mark.property
@pytest.mark.parametrize(("when", "where"), chosen(UNDOING, (1, 2)))
def test_I3_an_undo_killed_at_any_stage_is_whole_or_not_at_all(plant: Plant, when: str, where: str) -> None:
    first = plant.land(FIRST)
    second = plant.land(TEXT)
    before = plant.state()
    killed(plant, first.batch_id, "undo", when, where)
    assert plant.state() == before
    assert {line.state for line in batches.batches(plant.conn).batches} == {"landed"}
    assert [one.batch_id for one in plant.undo(first.batch_id, cascade=True).batches] == [second.batch_id, first.batch_id]
    assert plant.measurements() == {}


def durable(folder: Path) -> Postgres:
    return Postgres(folder, free_port(), servers.PASSWORD, {**servers.FAST_POSTGRES, "synchronous_commit": "on"})


@contextmanager
def own_postgres(folder: Path) -> Iterator[tuple[Plant, str]]:
    """A server of its own, which a test may kill, and the URL of its superuser."""
    with servers.running(durable) as server:
        bootstrap.ensure_roles(server.url(), dict.fromkeys(servers.ROLES, servers.PASSWORD))
        bootstrap.ensure_database(server.url(), "own", bootstrap.OWNER)
        migrate(servers.as_role(server.url("own"), bootstrap.OWNER))
        url = servers.as_role(server.url("own"), bootstrap.APP)
        with connect(url, autocommit=True) as conn:
            yield Plant(conn, Settings(project=folder, postgres_url=url), url), server.url("own")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Plant]:
    with own_postgres(tmp_path) as (plant, _):
        yield plant


def test_I3_postgres_killed_in_the_middle_of_the_transaction(mortal: Plant) -> None:
    """A backend dies of SIGKILL, so the whole server ends every session and recovers from its log."""
    plant = mortal
    plant.land(FIRST)
    received = plant.receive(TEXT)
    before = plant.state()
    told: list[BaseException] = []

    def run() -> None:
        try:
            with connect(plant.url, autocommit=True) as conn:
                Plant(conn, plant.settings, plant.url).again(received.batch_id)
        except psycopg.OperationalError as error:
            told.append(error)

    holder = psycopg.connect(plant.url)
    holder.execute("select * from warehouse.clock for update")  # the landing has written all its rows when it waits for this
    thread = threading.Thread(target=run)
    thread.start()
    blocked = "select pid from pg_stat_activity where wait_event_type = 'Lock' and query like '%%warehouse.clock%%'"
    until(lambda: len(plant.rows(blocked)) == 1)
    os.kill(plant.rows(blocked)[0][0], signal.SIGKILL)
    thread.join()
    holder.close()
    assert len(told) == 1
    assert isinstance(told[0], psycopg.OperationalError)
    plant.conn.close()
    until(lambda: answers(plant.url))
    with connect(plant.url, autocommit=True) as conn:
        again = Plant(conn, plant.settings, plant.url)
        assert again.state() == before
        assert [(one.batch_id, one.state) for one in waiting(conn, 10)] == [(received.batch_id, "landing")]
        assert counts(again.again(received.batch_id)) == (4, 2, 0, 0, 2)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """A write of this process, or of one started here, that would make a file longer fails as on a full disk (but with EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def many(rows: int) -> str:
    stamps = (f"2026-03-{1 + i // 86400:02d}T{i // 3600 % 24:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z" for i in range(rows))
    return f"{HEADER}temperature,vibration,cycles\n" + "".join(
        f"{at},m,press,{i % 300},{i % 7},{i}\n" for i, at in enumerate(stamps)
    )


def test_a_full_landing_zone_keeps_nothing_and_plans_nothing(plant: Plant) -> None:
    text = many(20_000)
    with no_file_beyond(100_000), pytest.raises(OSError, match="File too large"):
        plant.receive(text)
    assert [path for path in plant.settings.zone.rglob("*") if path.is_file()] == []
    assert plant.rows("select count(*) from landing.batches") == [(0,)]
    assert counts(plant.land(text)) == (20_000, 20_000, 0, 0, 0)


def test_a_full_disk_while_a_file_is_read_fails_the_batch_and_the_retry_lands(plant: Plant) -> None:
    received = plant.receive(many(20_000))
    before = plant.state()
    with no_file_beyond(100_000):
        failed = plant.again(received.batch_id)
    assert (failed.state, plant.state()) == ("failed", before)
    assert "Nothing was changed; what was received is kept, and the batch is tried again." in (failed.error or "")
    assert [one.batch_id for one in waiting(plant.conn, 10)] == [received.batch_id]
    assert counts(plant.again(received.batch_id)) == (20_000, 20_000, 0, 0, 0)


def test_I3_a_postgres_without_room_fails_the_batch_and_the_retry_lands_once_there_is(tmp_path: Path) -> None:
    """A server whose processes can make no file longer than 17 MB: a segment of its log fits, rows beside what fills March do not."""
    with ExitStack() as stack:
        with no_file_beyond(17 * 1024**2):
            plant, superuser = stack.enter_context(own_postgres(tmp_path))
        plant.land(FIRST)
        with psycopg.connect(superuser, autocommit=True) as owner:
            owner.execute("alter table warehouse.measurements_202603 set (autovacuum_enabled = false)")
            filling = (
                "insert into warehouse.measurements select -1, '2026-03-01'::timestamptz + n * interval '1 s', '{}', 0, n from "
            )
            owner.execute(f"{filling} generate_series(1, 200000) n")
            received = plant.receive(many(60_000))
            before = plant.rows("select count(*) from warehouse.measurements where series_id > 0")
            failed = plant.again(received.batch_id)
            assert failed.state == "failed"
            assert "File too large" in (failed.error or "")
            assert plant.rows("select count(*) from warehouse.measurements where series_id > 0") == before
            assert plant.rows("select count(*) from warehouse.changes where batch_id = %s", received.batch_id) == [(0,)]
            assert [one.attempts for one in waiting(plant.conn, 10)] == [1]
            owner.execute("delete from warehouse.measurements where series_id = -1")
            owner.execute("vacuum full warehouse.measurements_202603")
        assert counts(plant.again(received.batch_id)) == (60_000, 59_999, 0, 0, 1)
        assert plant.rows("select count(*) from warehouse.measurements") == [(60_000,)]


def test_I2_the_same_file_under_two_names_at_once_lands_once(plant: Plant) -> None:
    found = []
    start = threading.Barrier(2)

    def run(name: str) -> None:
        with connect(plant.url, autocommit=True) as conn:
            mine = Plant(conn, plant.settings, plant.url)
            start.wait()
            found.append(mine.again(mine.receive(TEXT, name=name).batch_id))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a.csv", "b.csv")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counts(receipt) for receipt in found] == [(4, 2, 0, 0, 2)] * 2
    assert plant.rows("select count(*) from landing.batches") == [(1,)]
    assert len(plant.measurements()) == 2


def test_two_files_at_once_for_the_same_rows_account_for_every_line(plant: Plant) -> None:
    """Each key is loaded by one of them, and the other's line is its duplicate or its conflict."""
    lines = [f"2026-03-01T00:{i // 60:02d}:{i % 60:02d}Z,m,press," for i in range(600)]
    texts = [
        f"{HEADER}temperature\n" + "".join(f"{line}{value if i % 3 else 0}\n" for i, line in enumerate(lines)) for value in (1, 2)
    ]
    ids = [plant.receive(text).batch_id for text in texts]
    done = {}
    start = threading.Barrier(2)

    def run(batch_id: int) -> None:
        with connect(plant.url, autocommit=True) as conn:
            start.wait()
            done[batch_id] = Plant(conn, plant.settings, plant.url).again(batch_id)

    threads = [threading.Thread(target=run, args=(batch_id,)) for batch_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (counts(done[batch_id]) for batch_id in ids)
    assert one[1] + other[1] == 600
    assert one[3] + other[3] == 200
    assert one[4] + other[4] == 400
    assert len(plant.measurements()) == 600
