"""Alembic's entry point: runs revisions on the connection that `warehouse.migrate` hands in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="schema_version", transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
