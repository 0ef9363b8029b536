"""Migrated databases for tests, emptied and used again: a copy of one costs several times as much.

Belongs here: making, emptying, and throwing away what a test left in another shape. Does not: servers, fixtures (conftest).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from millwright.stack import bootstrap
from millwright.stack.postgres import Postgres
from millwright.warehouse.migrate import migrate
from tests import servers

_GROWN = 64 << 20  # what was deleted still takes room
_OURS = "oid >= 16384 and relnamespace::regnamespace::text !~ '^pg_' and relkind in ('r', 'p', 'v', 'm', 'f', 'S')"
_END_OTHERS = """select pg_terminate_backend(pid, 10000) from pg_stat_activity
 where datname = current_database() and pid <> pg_backend_pid()"""
_KINDS = {"v": "view", "m": "materialized view", "S": "sequence"}
# Whatever a test may have done to the schema: objects, rights, columns, constraints, triggers, functions, settings.
_SHAPE = """
select md5(string_agg(part::text, ' ' order by part::text)) from (
  select jsonb_build_array('class', oid, relname, relkind, relowner, relacl, relchecks, relnatts, reloptions, relhastriggers) as part
    from pg_class where oid >= 16384 and relnamespace::regnamespace::text !~ '^pg_temp|^pg_toast'
  union all select jsonb_build_array('column', attrelid, attname, atttypid, attnotnull, attidentity, attacl)
    from pg_attribute where attrelid >= 16384 and attrelid::regclass::text !~ '^pg_temp|^pg_toast'
  union all select jsonb_build_array('default', adrelid, adnum, pg_get_expr(adbin, adrelid)) from pg_attrdef
  union all select jsonb_build_array('constraint', oid, conname, pg_get_constraintdef(oid)) from pg_constraint where oid >= 16384
  union all select jsonb_build_array('index', indexrelid, indisvalid, indisunique) from pg_index where indexrelid >= 16384
    and indrelid::regclass::text !~ '^pg_temp|^pg_toast'
  union all select jsonb_build_array('trigger', oid, tgname, tgenabled) from pg_trigger where oid >= 16384
  union all select jsonb_build_array('function', oid, proname, proowner, proacl, md5(prosrc)) from pg_proc where oid >= 16384
  union all select jsonb_build_array('schema', oid, nspname, nspowner, nspacl) from pg_namespace where oid >= 16384 and nspname !~ '^pg_'
  union all select jsonb_build_array('rights', oid, defaclacl) from pg_default_acl
  union all select jsonb_build_array('rule', oid, md5(pg_get_ruledef(oid))) from pg_rewrite where oid >= 16384
  union all select jsonb_build_array('setting', setrole, setconfig) from pg_db_role_setting
    where setdatabase in (0, (select oid from pg_database where datname = current_database()))
) parts
"""


class Databases:
    """Copies of one migrated database on a server, each used by one test at a time."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._template = "migrated_template"
        self._free: list[str] = []
        bootstrap.ensure_database(server.url(), self._template, bootstrap.OWNER)
        migrate(servers.as_role(server.url(self._template), bootstrap.OWNER))
        with psycopg.connect(server.url(self._template), autocommit=True) as conn:
            self._there = [oid for (oid,) in conn.execute(f"select oid from pg_class where {_OURS}").fetchall()]
            self._shape = conn.execute(_SHAPE).fetchall()
            self._rows = {table: _rows(conn, table) for table in _filled(conn)}

    @contextmanager
    def one(self) -> Iterator[str]:
        """Name of a database that is as after the migrations."""
        name = self._free.pop() if self._free else self._copy()
        yield name
        try:
            clean = self._clean(name)
        except psycopg.Error:
            clean = False
        if clean:
            self._free.append(name)
        else:
            with psycopg.connect(self._server.url(), autocommit=True) as conn:
                conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def _copy(self) -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        statement = sql.SQL("create database {} template {} strategy file_copy owner {}")
        with psycopg.connect(self._server.url(), autocommit=True) as conn:
            conn.execute(statement.format(*map(sql.Identifier, (name, self._template, bootstrap.OWNER))))
        return name

    def _clean(self, name: str) -> bool:
        """Take out what is new, empty what is filled; False where the shape is another than the migrations made."""
        with psycopg.connect(self._server.url(name), autocommit=True) as conn:
            conn.execute(_END_OTHERS)
            new = conn.execute(
                f"select oid::regclass::text, relkind from pg_class where {_OURS} and oid <> all(%s)", (self._there,)
            )
            for relation, kind in new.fetchall():
                conn.execute(f"drop {_KINDS.get(kind, 'table')} if exists {relation} cascade")
            filled = _filled(conn)
            changed = [table for table in filled if table not in self._rows or _rows(conn, table) != self._rows[table]]
            conn.execute("set session_replication_role = replica")  # no trigger and no reference hinders
            for table in changed:
                conn.execute(f"delete from {table}")
            for table in set(self._rows) & {*changed, *(set(self._rows) - set(filled))}:
                conn.execute(
                    f"insert into {table} select * from jsonb_populate_recordset(null::{table}, %s)", (self._rows[table],)
                )
            conn.execute("select setval(seqrelid, seqstart, false) from pg_sequence")
            conn.execute("set session_replication_role = origin")
            size = conn.execute("select pg_database_size(current_database())").fetchone()[0]
            return size < _GROWN and conn.execute(_SHAPE).fetchall() == self._shape


def _filled(conn: psycopg.Connection[Any]) -> list[str]:
    query = f"select oid::regclass::text from pg_class where {_OURS} and relkind = 'r' and pg_relation_size(oid) > 0"
    return [table for (table,) in conn.execute(query)]


def _rows(conn: psycopg.Connection[Any], table: str) -> Any:
    return conn.execute(f"select jsonb_agg(t order by t)::text from {table} t").fetchone()[0]
