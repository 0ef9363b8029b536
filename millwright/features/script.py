"""A computation as named steps: each an Ibis expression over the steps before it, compiled to SQL of a dialect.

Belongs here: from expressions to SQL of a dialect. Does not: what is computed (windows.py, moments.py), running it (compute.py).
Steps keep the SQL as long as the work: Ibis writes an expression out again wherever it is used.
"""

from __future__ import annotations

from typing import Any

Table = Any  # an Ibis table


SPARK = "pyspark"


class Script:
    """Steps in their order. Each is a temporary table of declared types, because engines differ in them; Spark, which has none,
    is given the steps' queries to keep in its own way."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.steps: list[tuple[str, str]] = []
        self._statements: list[str] = []

    def step(self, name: str, expression: Table) -> Table:
        """Add a step; returns it as a table for the steps after it."""
        import ibis
        import sqlglot.expressions as sge

        schema = expression.schema()
        query = self._query(expression)
        self.steps.append((name, query))
        if self.dialect != SPARK:
            self.empty(ibis.table(schema, name=name))
            table = sge.Table(this=sge.to_identifier(name, quoted=True)).sql(self.dialect)
            self._statements.append(f"insert into {table}\n{query}")
        return ibis.table(schema, name=name)

    def empty(self, table: Table) -> None:
        """Add an unbound table of Ibis as an empty one."""
        import sqlglot.expressions as sge

        columns = table.schema().to_sqlglot_column_defs(self.dialect)
        made = sge.Schema(this=sge.Table(this=sge.to_identifier(table.get_name(), quoted=True)), expressions=columns)
        create = sge.Create(this=made, kind="TABLE", properties=sge.Properties(expressions=[sge.TemporaryProperty()]))
        self._statements.append(create.sql(self.dialect))

    def sql(self) -> str:
        """The statements, each ended by a semicolon."""
        return "\n\n".join(f"{statement};" for statement in self._statements)

    def _query(self, expression: Table) -> str:
        """The SQL of an expression. DuckDB looks for the end of a frame to `1 preceding` anew for every aggregate (3.5 times the
        cost). Over tiles, of which no two tie, it is the frame to the current row without that row."""
        import ibis
        import sqlglot
        import sqlglot.expressions as sge

        if self.dialect == SPARK:
            assert ibis.pyspark  # its compiler reads options that are there once the backend was named
        query = str(ibis.to_sql(expression, dialect=self.dialect))
        if self.dialect != "duckdb":
            return query
        parsed = sqlglot.parse_one(query, dialect=self.dialect)
        for frame in parsed.find_all(sge.WindowSpec):
            if frame.args["kind"].upper() == "RANGE" and frame.args["end"] == sge.Literal.number(1):
                frame.set("end", "CURRENT ROW")
                frame.set("end_side", None)
                frame.set("exclude", sge.var("CURRENT ROW"))
        return parsed.sql(self.dialect, pretty=True)
