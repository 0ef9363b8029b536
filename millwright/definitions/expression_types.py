"""What an expression's value is: its type and its unit, from those of the features in it.

Belongs here: type rules, told where they are broken; units. Does not: reading (expressions.py), computing (features/).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from millwright.definitions.base import ReadingType
from millwright.definitions.expressions import ExpressionError, Node

ARITHMETIC = frozenset({"+", "-", "*", "/"})
ORDERED = frozenset({"<", "<=", ">", ">=", "between"})
EQUAL = frozenset({"=", "<>", "in"})
_OF_NUMBERS = frozenset({"ceil", "floor", "round", "sign", "sqrt", "ln", "exp", "power"})
_SAME_UNIT = frozenset({"+", "-", "neg", "abs", "ceil", "floor", "round", "least", "greatest", "coalesce"})
Type = ReadingType | None
"""None: of null alone."""


def type_of(node: Node, feature: Callable[[str], ReadingType]) -> ReadingType:
    """The type of an expression; `feature` knows the features'. Raises ExpressionError with the place where types do not fit."""
    found = typed(node, feature)
    if found is None:
        raise ExpressionError(node.at, "is always null")
    return found


def typed(node: Node, feature: Callable[[str], ReadingType]) -> Type:
    """As `type_of`, None for a null that takes the type of its place."""
    if node.kind == "feature":
        return feature(str(node.value))
    if node.kind == "literal":
        return _of_literal(node)
    found = [typed(arg, feature) for arg in node.args]
    kind = node.kind
    if kind in ARITHMETIC or kind in _OF_NUMBERS:
        _numbers(node, found)
        return "double"
    if kind in ("neg", "abs", "least", "greatest"):
        _numbers(node, found)
        return _common(node, node.args, found)
    if kind in ORDERED:
        _numbers(node, found)
        return "bool"
    if kind in EQUAL:
        _common(node, node.args, found)
        return "bool"
    if kind in ("and", "or", "not"):
        _conditions(node, node.args, found)
        return "bool"
    if kind in ("coalesce", "nullif"):
        common = _common(node, node.args, found)
        return found[0] if kind == "nullif" and found[0] is not None else common
    if kind == "is null":
        return "bool"
    return _of_case(node, found)


def unit_of(node: Node, feature: Callable[[str], str]) -> str:
    """The unit of an expression; "" where it has none, or none that follows from its features'."""
    return _unit(node, feature) or ""


def _unit(node: Node, feature: Callable[[str], str]) -> str | None:
    """None: whatever its place wants (a number in the text)."""
    if node.kind == "feature":
        return feature(str(node.value))
    if node.kind == "literal":
        return None
    if node.kind in ("case", "case of"):
        args: Sequence[Node] = _branches(node)
    else:
        args = node.args[:1] if node.kind == "nullif" else node.args
    units = [_unit(arg, feature) for arg in args]
    if node.kind in _SAME_UNIT or node.kind in ("case", "case of", "nullif"):
        known = {unit for unit in units if unit is not None}
        return known.pop() if len(known) == 1 else "" if known else None
    if node.kind == "*":
        known = {unit for unit in units if unit}
        return known.pop() if len(known) == 1 and not all(units) else ""
    if node.kind == "/":
        return (units[0] or "") if not units[1] else ""
    return ""


def _of_literal(node: Node) -> Type:
    if node.value is None:
        return None
    if isinstance(node.value, bool):
        return "bool"
    return {int: "int64", float: "double", str: "string"}[type(node.value)]  # type: ignore[return-value]


def _of_case(node: Node, found: Sequence[Type]) -> Type:
    if node.kind == "case of":
        _common(node, (node.args[0], *node.args[1:-1:2]), (found[0], *found[1:-1:2]))
    else:
        _conditions(node, node.args[:-1:2], found[:-1:2])
    start = 2 if node.kind == "case of" else 1
    return _common(node, _branches(node), (*found[start:-1:2], found[-1]))


def _branches(node: Node) -> tuple[Node, ...]:
    start = 2 if node.kind == "case of" else 1
    return (*node.args[start:-1:2], node.args[-1])


def _numbers(node: Node, found: Sequence[Type]) -> None:
    for arg, kind in zip(node.args, found, strict=True):
        if kind not in ("double", "int64", None):
            raise ExpressionError(arg.at, f"{node.kind} needs a number; {_called(arg)} is {kind}")


def _conditions(node: Node, args: Sequence[Node], found: Sequence[Type]) -> None:
    for arg, kind in zip(args, found, strict=True):
        if kind not in ("bool", None):
            raise ExpressionError(arg.at, f"{node.kind} needs a condition; {_called(arg)} is {kind}")


def _common(node: Node, args: Sequence[Node], found: Sequence[Type]) -> Type:
    common: Type = None
    for arg, kind in zip(args, found, strict=True):
        if common is None or kind is None or kind == common:
            common = common or kind
        elif {kind, common} == {"double", "int64"}:
            common = "double"
        else:
            raise ExpressionError(
                arg.at, f"{node.kind} needs values of one type; {_called(arg)} is {kind}, before it is {common}"
            )
    return common


def _called(node: Node) -> str:
    if node.kind == "feature":
        return str(node.value)
    return repr(node.value) if node.kind == "literal" else f"the value of {node.kind}"
