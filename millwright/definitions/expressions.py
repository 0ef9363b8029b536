"""Expressions of features over features: text → tree, limited to what means the same on every engine.

Belongs here: reading an expression, what is allowed in it, where it is wrong. Does not: types and units (expression_types.py),
computing it (features/expressions.py). SQLGlot reads; every kind of node that is not named here is refused, so no function,
subquery or name beyond can come through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from millwright.definitions.words import nearest

FUNCTIONS: Mapping[str, tuple[int, int]] = {
    "abs": (1, 1),
    "ceil": (1, 1),
    "floor": (1, 1),
    "round": (1, 2),
    "sign": (1, 1),
    "sqrt": (1, 1),
    "ln": (1, 1),
    "exp": (1, 1),
    "power": (2, 2),
    "least": (2, 99),
    "greatest": (2, 99),
    "coalesce": (2, 99),
    "nullif": (2, 2),
}
"""Allowed functions, and how many arguments each takes."""
WORDS = frozenset({"and", "or", "not", "is", "null", "in", "between", "case", "when", "then", "else", "end", "true", "false"})
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
_COMPARED = {"EQ": "=", "NEQ": "<>", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
_BOOLEAN = {"And": "and", "Or": "or"}
_CALLS = {
    "Abs": "abs", "Ceil": "ceil", "Floor": "floor", "Round": "round", "Sign": "sign", "Sqrt": "sqrt", "Ln": "ln", "Exp": "exp",
    "Pow": "power", "Least": "least", "Greatest": "greatest", "Coalesce": "coalesce", "Nullif": "nullif",
}  # fmt: skip
_ALLOWED = (
    "an expression has features of the view, numbers, text in single quotes, + - * /, comparisons, and, or, not, is null, in, "
    f"between, case, and the functions {', '.join(FUNCTIONS)}"
)
LONGEST = 1000
DEEPEST = 60
MOST_DIGITS = 9


class ExpressionError(ValueError):
    """What is wrong, and at which character of the expression (from 1)."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(f"at character {at}: {message}")
        self.at = at


@dataclass(frozen=True)
class Node:
    """A part of an expression. `kind`: `feature` and `literal` (with `value`), an operator, `case`, or a function's name.

    `case`: condition, value, …, and last what else. `case of`: first the value that the others are compared with. `in`: a value
    and those it may be. `round`: its `value` is the number of digits. `at`: the character where it begins, from 1.
    """

    kind: str
    args: tuple[Node, ...] = ()
    value: str | float | int | bool | None = None
    at: int = 1

    def walk(self) -> Iterator[Node]:
        """The node and all below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()

    @property
    def features(self) -> dict[str, int]:
        """Names of features in it, with the character where each first stands."""
        found: dict[str, int] = {}
        for node in self.walk():
            if node.kind == "feature":
                found.setdefault(str(node.value), node.at)
        return found


@cache
def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError."""
    import sqlglot
    from sqlglot.errors import ParseError, TokenError

    if len(text) > LONGEST:
        raise ExpressionError(LONGEST, f"longer than {LONGEST} characters: make parts of it features of their own")
    try:
        tokens = sqlglot.tokenize(text)
        _check_words(tokens)
        tree = sqlglot.parse_one(text)
    except TokenError as error:
        raise ExpressionError(1, "a quote is not closed") from error
    except ParseError as error:
        where = error.errors[0]
        lines = text.splitlines(keepends=True)
        at = sum(map(len, lines[: where["line"] - 1])) + where["col"] - len(where["highlight"]) + 1
        raise ExpressionError(
            max(at, 1), f"cannot be read at {where['highlight']!r}: something is missing or too much"
        ) from error
    except RecursionError as error:
        raise ExpressionError(1, "nested too deeply: make parts of it features of their own") from error
    node = _node(tree, 1)
    if not node.features:
        raise ExpressionError(1, "uses no feature of the view")
    return node


def _check_words(tokens: list[Any]) -> None:
    """Functions by their own names, before the reader takes one for another."""
    if not tokens:
        raise ExpressionError(1, "is empty")
    for index, token in enumerate(tokens):
        word = token.text.lower()
        if token.text == ";":
            raise ExpressionError(token.start + 1, "one expression, without ;")
        called = index + 1 < len(tokens) and tokens[index + 1].text == "(" and token.text.isidentifier()
        if called and word not in WORDS and word not in FUNCTIONS:
            raise ExpressionError(token.start + 1, f"no function {token.text}{nearest(word, FUNCTIONS)}")


def _node(tree: Any, depth: int) -> Node:
    name = type(tree).__name__
    at = min((part.meta["start"] + 1 for part in tree.walk() if "start" in part.meta), default=1)
    if depth > DEEPEST:
        raise ExpressionError(at, f"nested more than {DEEPEST} deep: make parts of it features of their own")

    def below(*parts: Any) -> tuple[Node, ...]:
        return tuple(_node(part, depth + 1) for part in parts)

    if name == "Paren":
        return _node(tree.this, depth + 1)
    if name in _CALLS:
        return _call(tree, _CALLS[name], at, below)
    for kinds in (_ARITHMETIC, _COMPARED, _BOOLEAN):
        if name in kinds:
            return Node(kinds[name], below(tree.this, tree.expression), at=at)
    match name:
        case "Column" if set(tree.args) - {"this"} <= {k for k, v in tree.args.items() if not v} and not tree.this.args["quoted"]:
            return Node("feature", value=tree.name, at=at)
        case "Literal":
            return Node("literal", value=tree.name if tree.is_string else _number(tree.name, at), at=at)
        case "Boolean":
            return Node("literal", value=bool(tree.this), at=at)
        case "Null":
            return Node("literal", at=at)
        case "Neg" | "Not":
            return Node("neg" if name == "Neg" else "not", below(tree.this), at=at)
        case "Is" if type(tree.expression).__name__ == "Null":
            return Node("is null", below(tree.this), at=at)
        case "Between":
            return Node("between", below(tree.this, tree.args["low"], tree.args["high"]), at=at)
        case "In" if tree.expressions:
            return Node("in", below(tree.this, *tree.expressions), at=at)
        case "Case":
            parts = [part for one in tree.args["ifs"] for part in (one.this, one.args["true"])]
            other = below(tree.args["default"]) if tree.args.get("default") else (Node("literal", at=at),)
            of = below(tree.this) if tree.this else ()
            return Node("case of" if of else "case", (*of, *below(*parts), *other), at=at)
    raise ExpressionError(at, f"{tree.sql()!r} is not allowed: {_ALLOWED}")


def _call(tree: Any, function: str, at: int, below: Callable[..., tuple[Node, ...]]) -> Node:
    if function == "round":
        return Node("round", below(tree.this), value=_digits(tree, at), at=at)
    args = [tree.this, *([tree.expression] if tree.args.get("expression") else []), *tree.expressions]
    fewest, most = FUNCTIONS[function]
    if not fewest <= len(args) <= most:
        needed = str(fewest) if fewest == most else f"at least {fewest}"
        raise ExpressionError(at, f"{function} takes {needed} argument{'s' if fewest > 1 else ''}, got {len(args)}")
    return Node(function, below(*args), at=at)


def _digits(tree: Any, at: int) -> int:
    digits = tree.args.get("decimals")
    if digits is None:
        return 0
    if digits.is_string or not digits.is_int or not 0 <= int(digits.name) <= MOST_DIGITS:
        raise ExpressionError(at, f"round takes a number of digits from 0 to {MOST_DIGITS}")
    return int(digits.name)


def _number(text: str, at: int) -> float | int:
    """A whole number of at most 18 digits is an int64; anything else a double."""
    if text.isdigit() and len(text) <= 18:
        return int(text)
    try:
        value = float(text)
    except ValueError as error:
        raise ExpressionError(at, f"{text} is not a number") from error
    if value in (float("inf"), float("-inf")):
        raise ExpressionError(at, f"{text} is too large for a number")
    return value
