"""A computation as named steps: each an Ibis expression over the steps before it, compiled to one statement.

Belongs here: from expressions to SQL of a dialect. Does not: what is computed (windows.py, moments.py), running it (compute.py).
Steps keep the SQL as long as the work: Ibis writes an expression out again wherever it is used.
"""

from __future__ import annotations

from typing import Any

Table = Any  # an Ibis table


class Script:
    """Statements in their order; each makes a temporary table of declared types, because engines differ in them."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self._statements: list[str] = []

    def step(self, name: str, expression: Table) -> Table:
        """Add a step; returns it as a table for the steps after it."""
        import ibis
        import sqlglot.expressions as sge

        schema = expression.schema()
        columns = schema.to_sqlglot_column_defs(self.dialect)
        table = sge.Schema(this=sge.Table(this=sge.to_identifier(name, quoted=True)), expressions=columns)
        create = sge.Create(this=table, kind="TABLE", properties=sge.Properties(expressions=[sge.TemporaryProperty()]))
        insert = sge.Table(this=sge.to_identifier(name, quoted=True)).sql(self.dialect)
        self._statements += [create.sql(self.dialect), f"insert into {insert}\n{ibis.to_sql(expression, dialect=self.dialect)}"]
        return ibis.table(schema, name=name)

    def sql(self) -> str:
        """The statements, each ended by a semicolon."""
        return "\n\n".join(f"{statement};" for statement in self._statements)
