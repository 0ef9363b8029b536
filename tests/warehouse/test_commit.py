"""The clock and the constraints of the ledger hold by themselves, whatever code writes."""

from __future__ import annotations

import threading
from datetime import datetime
from itertools import pairwise

import psycopg
import pytest

from millwright.stack import bootstrap
from millwright.warehouse.commit import next_timestamp
from millwright.warehouse.connect import connect
from millwright.warehouse.migrate import migrate
from tests import servers

PLAN = """insert into landing.batches (source, dataset, file_name, sha256, file_bytes, settings_hash, planned_by)
          values ('upload', 'fleet', 'f', repeat('0', 64), 1, 'h', 'test') returning batch_id"""


@pytest.fixture
def app(database: str) -> str:
    migrate(servers.as_role(database, bootstrap.OWNER))
    return servers.as_role(database, bootstrap.APP)


def test_created_timestamps_are_given_out_in_the_order_of_commits(app: str) -> None:
    given: list[datetime] = []

    def run() -> None:
        with connect(app, autocommit=True) as conn:
            for _ in range(25):
                with conn.transaction():
                    given.append(next_timestamp(conn))  # the lock is held until the commit: appended in order

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 100
    assert all(earlier < later for earlier, later in pairwise(given))


def test_the_clock_goes_on_when_the_servers_time_is_set_back(app: str) -> None:
    with connect(app, autocommit=True) as conn:
        conn.execute("update warehouse.clock set last = now() + interval '1 day'")
        with conn.transaction():
            first = next_timestamp(conn)
        with conn.transaction():
            second = next_timestamp(conn)
    assert (second - first).total_seconds() == 1e-6


def test_I1_is_a_constraint(app: str) -> None:
    with connect(app, autocommit=True) as conn:
        (batch_id,) = conn.execute(PLAN).fetchone() or (0,)
        land = """update landing.batches set state = 'landed', created_timestamp = now(), received = %s, loaded = 1, corrected = 0,
                  deleted = 0, duplicate = 0, quarantined = 1 where batch_id = %s"""
        with pytest.raises(psycopg.errors.CheckViolation, match="every_row_accounted_for"):
            conn.execute(land, (3, batch_id))
        conn.execute(land, (2, batch_id))
        with pytest.raises(psycopg.errors.CheckViolation, match="every_row_accounted_for"):
            conn.execute("update landing.batches set quarantined = null where batch_id = %s", (batch_id,))


def test_I2_a_file_lands_once_under_the_same_settings(app: str) -> None:
    with connect(app, autocommit=True) as conn:
        ids = [(conn.execute(PLAN).fetchone() or (0,))[0] for _ in range(2)]
        land = """update landing.batches set state = 'landed', created_timestamp = now(), received = 0, loaded = 0, corrected = 0,
                  deleted = 0, duplicate = 0, quarantined = 0 where batch_id = %s"""
        conn.execute(land, (ids[0],))
        with pytest.raises(psycopg.errors.UniqueViolation, match="batches_landed_once"):
            conn.execute(land, (ids[1],))


def test_the_reader_cannot_write_and_the_app_makes_no_tables(app: str, database: str) -> None:
    with connect(servers.as_role(database, bootstrap.READER), autocommit=True) as conn:
        assert conn.execute("select count(*) from warehouse.measurements").fetchone() == (0,)
        for statement in (
            "delete from warehouse.measurements",
            "update warehouse.clock set last = now()",
            "select * from landing.batches",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement)
    with connect(app, autocommit=True) as conn:
        assert conn.execute("select warehouse.ensure_months('2026-01-15', '2026-03-01')").fetchone() == (3,)
        assert conn.execute("select warehouse.ensure_months('2026-01-15', '2026-03-01')").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute("create table warehouse.mine (a int)")
