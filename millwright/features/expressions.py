"""Expressions of features over features, as Ibis: the same value on every engine, null wherever an operation has no finite one.

Belongs here: from trees (definitions/expressions.py) to steps of the script. Does not: what is allowed and of which type
(definitions/).

Engines differ where mathematics has no answer: one divides by zero to infinity, another fails. So such arguments are kept away,
and what may overflow is made null at once. A value that is looked at more than once (`x is finite? then x`) is a column of a step
of its own: written out where it is used, a nest of expressions would grow by a power of its depth. Between + - * and / no look is
needed: what is not finite stays so, but under a line, where infinity would end as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from millwright.definitions import Definitions, FeatureView
from millwright.definitions.base import ReadingType
from millwright.definitions.expression_types import ARITHMETIC, typed
from millwright.definitions.expressions import Node
from millwright.features.aggregates import finite
from millwright.features.script import Script

Table = Any  # an Ibis table
Value = Any  # an Ibis value
IBIS: Mapping[ReadingType, str] = {"double": "float64", "int64": "int64", "string": "string", "bool": "boolean"}
EXP_RANGE = (-745.0, 709.78)
"""Beyond it e^x is 0 or no double."""
WHOLE = 2.0**52
"""Doubles from here on have no fraction."""
_OPEN = ARITHMETIC | {"power"}


@dataclass(frozen=True)
class _Part:
    """A value that a table of `level` has: `make` writes it."""

    level: int
    make: Callable[[Table], Value]


def with_expressions(script: Script, definitions: Definitions, view: FeatureView, rows: Table) -> Table:
    """`rows` with the view's expressions as columns, for a last step of the script."""
    if not view.expressions:
        return rows
    work = _Expressions(definitions, view)
    for name, tree in view.expressions.items():
        work.add(name, tree)
    for level in sorted(work.columns):
        made = {name: make(rows) for name, make in work.columns[level].items()}
        rows = script.step(f"expressions_{level}", rows.mutate(**made))
    return rows


class _Expressions:
    def __init__(self, definitions: Definitions, view: FeatureView) -> None:
        named = {feature.name: feature for feature in view.features}
        self._types = {name: definitions.feature_type(view, feature) for name, feature in named.items()}
        self._levels: dict[str, int] = {}
        self._held = 0
        self.columns: dict[int, dict[str, Callable[[Table], Value]]] = {}

    def add(self, name: str, tree: Node) -> None:
        """The feature as a column; those that it needs are there."""
        part, kind = self._closed(tree), IBIS[self._types[name]]
        self._levels[name] = part.level + 1
        self.columns.setdefault(part.level + 1, {})[name] = lambda table: part.make(table).cast(kind)

    def _type(self, node: Node) -> ReadingType | None:
        return typed(node, self._types.__getitem__)

    def _hold(self, part: _Part) -> _Part:
        """The value as a column, to be looked at as often as one likes."""
        self._held += 1
        name = f"held:{self._held}"
        self.columns.setdefault(part.level + 1, {})[name] = part.make
        return _Part(part.level + 1, lambda table: table[name])

    def _closed(self, node: Node) -> _Part:
        """A value that is null where it is not finite."""
        part = self._part(node)
        if not _open(node):
            return part
        held = self._hold(part)
        return _Part(held.level, lambda table: finite(held.make(table)))

    def _number(self, node: Node) -> _Part:
        """A double as a column."""
        part = self._closed(node)
        return self._hold(_Part(part.level, lambda table: part.make(table).cast("float64")))

    def _part(self, node: Node) -> _Part:
        import ibis

        if node.kind == "feature":
            name = str(node.value)
            return _Part(self._levels.get(name, 0), lambda table: table[name])
        if node.kind == "literal":
            kind = self._type(node)
            return _Part(0, lambda table: ibis.null() if kind is None else ibis.literal(node.value, IBIS[kind]))
        if node.kind in _ONE_NUMBER:
            held = self._number(node.args[0])
            return _Part(held.level, lambda table: _ONE_NUMBER[node.kind](held.make(table), int(node.value or 0)))
        if node.kind == "power":
            return _joined([self._number(arg) for arg in node.args], lambda base, to: _power(base, to))
        if node.kind in ("between", "in", "case of"):
            first = self._closed(node.args[0])
            parts = [self._hold(first), *map(self._closed, node.args[1:])]
        elif node.kind in ("least", "greatest"):
            parts = [self._hold(self._closed(arg)) for arg in node.args]
        elif node.kind == "/":
            parts = [self._part(node.args[0]), self._closed(node.args[1])]
        elif node.kind in _OPEN or node.kind == "neg":
            parts = [self._part(arg) for arg in node.args]
        else:
            parts = [self._closed(arg) for arg in node.args]
        kinds = [self._type(arg) for arg in node.args]
        result = self._type(node)
        return _joined(parts, lambda *values: _OPERATIONS[node.kind](_same_type(node, values, kinds, result)))


def _open(node: Node) -> bool:
    """Whether the value may be infinite or no number."""
    return node.kind in _OPEN or (node.kind == "neg" and _open(node.args[0]))


def _joined(parts: Sequence[_Part], make: Callable[..., Value]) -> _Part:
    return _Part(max(part.level for part in parts), lambda table: make(*(part.make(table) for part in parts)))


def _same_type(
    node: Node, values: Sequence[Value], kinds: Sequence[ReadingType | None], result: ReadingType | None
) -> list[Value]:
    """Nulls typed, and whole numbers as doubles wherever one among them is: engines cast in ways of their own."""
    compared = node.kind in ("=", "<>", "<", "<=", ">", ">=", "between", "in")
    if node.kind in ARITHMETIC:
        wanted: list[ReadingType | None] = ["double"] * len(values)
    elif node.kind in ("and", "or", "not"):
        wanted = ["bool"] * len(values)
    elif node.kind in ("case", "case of"):
        start = 1 if node.kind == "case of" else 0
        choices = _common([*kinds[:start], *kinds[start:-1:2]]) if start else "bool"
        wanted = [choices if place < start or (place - start) % 2 == 0 else result for place in range(len(values) - 1)] + [result]
    else:
        wanted = [_common(kinds) if compared or result is None else result] * len(values)
        if node.kind in ("is null", "nullif"):
            wanted = [_common(kinds) or "double"] * len(values)
    return [value if kind is None else value.cast(IBIS[kind]) for value, kind in zip(values, wanted, strict=True)]


def _common(kinds: Sequence[ReadingType | None]) -> ReadingType | None:
    known = {kind for kind in kinds if kind is not None}
    return "double" if known == {"double", "int64"} else next(iter(known), None)


def _case(values: Sequence[Value]) -> Value:
    import ibis

    return ibis.cases(*zip(values[:-1:2], values[1:-1:2], strict=True), else_=values[-1])


def _case_of(values: Sequence[Value]) -> Value:
    return _case([value if place % 2 else values[0] == value for place, value in enumerate(values[1:-1])] + [values[-1]])


def _extreme(name: str) -> Callable[[Sequence[Value]], Value]:
    """Null where one of them is (SQL:2023): engines differ in it, so it is said."""

    def made(values: Sequence[Value]) -> Value:
        import ibis

        missing = reduce(lambda one, other: one | other, [value.isnull() for value in values])
        return ibis.ifelse(missing, ibis.null(values[0].type()), getattr(ibis, name)(*values))

    return made


def _coalesce(values: Sequence[Value]) -> Value:
    import ibis

    return ibis.coalesce(*values)


_OPERATIONS: Mapping[str, Callable[[Sequence[Value]], Value]] = {
    "+": lambda v: v[0] + v[1],
    "-": lambda v: v[0] - v[1],
    "*": lambda v: v[0] * v[1],
    "/": lambda v: v[0] / v[1].nullif(0.0),
    "neg": lambda v: -v[0],
    "abs": lambda v: v[0].abs(),
    "=": lambda v: v[0] == v[1],
    "<>": lambda v: v[0] != v[1],
    "<": lambda v: v[0] < v[1],
    "<=": lambda v: v[0] <= v[1],
    ">": lambda v: v[0] > v[1],
    ">=": lambda v: v[0] >= v[1],
    "between": lambda v: (v[0] >= v[1]) & (v[0] <= v[2]),
    "in": lambda v: reduce(lambda one, other: one | other, [v[0] == each for each in v[1:]]),
    "and": lambda v: v[0] & v[1],
    "or": lambda v: v[0] | v[1],
    "not": lambda v: ~v[0],
    "is null": lambda v: v[0].isnull(),
    "least": _extreme("least"),
    "greatest": _extreme("greatest"),
    "coalesce": _coalesce,
    "nullif": lambda v: v[0].nullif(v[1]),
    "case": _case,
    "case of": _case_of,
}


def _floor(x: Value) -> Value:
    """The greatest whole number at most x, a double. Engines make it an integer, which a large x does not fit into."""
    import ibis

    small = x.abs() < WHOLE
    return ibis.ifelse(small, ibis.ifelse(small, x, 0.0).floor().cast("float64"), x)


def _round(x: Value, digits: int) -> Value:
    """Half away from zero, as one learns it; engines differ."""
    import ibis

    scaled = x.abs() * 10.0**digits
    whole = _floor(scaled)
    rounded = whole + ibis.ifelse(scaled - whole >= 0.5, 1.0, 0.0)
    return ibis.ifelse(scaled < WHOLE, _sign(x) * (rounded / 10.0**digits), x)


def _sign(x: Value) -> Value:
    import ibis

    return ibis.cases((x > 0, 1.0), (x < 0, -1.0), (x == 0, 0.0), else_=ibis.null("float64"))


def _where(condition: Value, x: Value, function: str, apart: float = 1.0) -> Value:
    """The function where it has a value. The argument is kept in its range too: an engine may compute both sides of a case."""
    import ibis

    return ibis.ifelse(condition, getattr(ibis.ifelse(condition, x, apart), function)(), ibis.null("float64"))


def _exp(x: Value) -> Value:
    import ibis

    low, high = EXP_RANGE
    return ibis.ifelse(x < low, 0.0, _where((x >= low) & (x <= high), x, "exp"))


def _power(base: Value, to: Value) -> Value:
    import ibis

    real = ((base > 0) | ((base == 0) & (to >= 0)) | ((base < 0) & (_floor(to) == to))).fill_null(False)
    return ibis.ifelse(real, ibis.ifelse(real, base, 1.0) ** to, ibis.null("float64"))


_ONE_NUMBER: Mapping[str, Callable[[Value, int], Value]] = {
    "floor": lambda x, _: _floor(x),
    "ceil": lambda x, _: -_floor(-x),
    "round": _round,
    "sign": lambda x, _: _sign(x),
    "sqrt": lambda x, _: _where(x >= 0, x, "sqrt"),
    "ln": lambda x, _: _where(x > 0, x, "ln"),
    "exp": lambda x, _: _exp(x),
}
