"""What each role may do, asked of Postgres for every table there is: a reader reads, and writes nothing."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors, sql

from millwright.stack import bootstrap
from tests import servers

SCHEMAS = ("landing", "warehouse", "features", "catalog", "serving", "online")
# A view over several tables takes no rows from anybody.
REFUSED = (errors.InsufficientPrivilege, errors.WrongObjectType, errors.ObjectNotInPrerequisiteState)
RIGHTS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture
def reader_url(app_url: str) -> str:
    """The reader on a migrated database that has a row, a month and a view's tables as apply would make them."""
    owner = servers.as_role(app_url, bootstrap.OWNER)
    with psycopg.connect(owner, autocommit=True) as conn:
        conn.execute("create table features.later (x int)")
        conn.execute("create table warehouse.later (x int)")
    with psycopg.connect(app_url, autocommit=True) as conn:
        conn.execute("select warehouse.ensure_months('2026-03-01', '2026-03-01')")
    return servers.as_role(app_url, bootstrap.READER)


def relations(conn: psycopg.Connection) -> list[tuple[str, str, str, int]]:
    return conn.execute(
        "select n.nspname, c.relname, c.relkind::text, c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = any(%s) and c.relkind in ('r', 'p', 'v', 'm', 'S') order by 1, 2",
        (list(SCHEMAS),),
    ).fetchall()


def test_a_reader_can_write_no_table_of_any_schema(reader_url: str) -> None:
    with psycopg.connect(reader_url, autocommit=True) as conn:
        found = relations(conn)
        assert {schema for schema, *_ in found} == set(SCHEMAS)
        for schema, name, kind, oid in found:
            table = sql.Identifier(schema, name)
            if kind == "S":
                statements = [sql.SQL("select setval({}, 1)").format(sql.Literal(f"{schema}.{name}"))]
            else:
                statements = [
                    sql.SQL("insert into {} default values").format(table),
                    sql.SQL("update {} set {} = null").format(table, sql.Identifier(column(conn, schema, name))),
                    sql.SQL("delete from {}").format(table),
                    sql.SQL("truncate {}").format(table),
                    sql.SQL("drop table {}").format(table),
                ]
            for statement in statements:
                with pytest.raises(REFUSED):
                    conn.execute(statement)
            if kind != "S":
                granted = conn.execute(
                    "select count(*) from unnest(%s::text[]) as r where has_table_privilege(%s::oid, r)",
                    (list(RIGHTS), oid),
                ).fetchone()
                assert granted == (0,), (schema, name)


def test_a_reader_makes_and_calls_nothing_that_writes(reader_url: str) -> None:
    with psycopg.connect(reader_url, autocommit=True) as conn:
        for schema in SCHEMAS:
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(sql.SQL("create table {} (x int)").format(sql.Identifier(schema, "mine")))
        for statement in (
            "select warehouse.ensure_months('2030-01-01', '2030-01-01')",
            "create schema mine",
            "create role mine",
            "set role millwright_owner",
            "set role millwright_app",
            "copy (select 1) to program 'id'",
            "select pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(statement)


def test_a_reader_reads_what_people_read_and_nothing_else(reader_url: str) -> None:
    with psycopg.connect(reader_url, autocommit=True) as conn:
        for table in ("warehouse.measurements", "warehouse.later", "features.later", "features.state", "catalog.feature_views"):
            conn.execute(sql.SQL("select * from {}").format(sql.Identifier(*table.split("."))))
        for table in ("landing.quarantine", "landing.batches", "serving.keys", "online.publications"):
            with pytest.raises(errors.InsufficientPrivilege):
                conn.execute(sql.SQL("select * from {}").format(sql.Identifier(*table.split("."))))


def column(conn: psycopg.Connection, schema: str, name: str) -> str:
    found = conn.execute(
        "select a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = %s and c.relname = %s and a.attnum > 0 and a.attidentity = '' limit 1",
        (schema, name),
    ).fetchone()
    assert found is not None
    return str(found[0])
