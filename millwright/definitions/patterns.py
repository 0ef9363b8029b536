"""Patterns of strptime as regular expressions, so that whole columns can be read by one.

Belongs here: which directives are read, and what text each stands for. Does not: composing instants (landing/timestamps.py).

Python's own strptime reads a cell at a time and by the machine's language; here names are English, and the expression (RE2) must
match the whole text. Spaces and tabs of a pattern stand for one or more of them. A number may have one digit or two, but where
numbers touch (`%Y%m%d`) it has all its digits: `2026111` has two meanings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = "january|february|march|april|may|june|july|august|september|october|november|december"
_DAYS = "mon|tue|wed|thu|fri|sat|sun"
_DAY_NAMES = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_DIRECTIVES = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("short_year", "[0-9]{2}"),
    "m": ("month", "1[0-2]|0[1-9]|[1-9]"),
    "b": ("month_name", f"(?i:{'|'.join(MONTHS)})"),
    "B": ("month_name", f"(?i:{_MONTH_NAMES})"),
    "d": ("day", "3[01]|[12][0-9]|0[1-9]|[1-9]"),
    "H": ("hour", "2[0-3]|[01][0-9]|[0-9]"),
    "I": ("half_hour", "1[0-2]|0[1-9]|[1-9]"),
    "p": ("half", "(?i:am|pm)"),
    "M": ("minute", "[0-5][0-9]|[0-9]"),
    "S": ("second", "[0-5][0-9]|[0-9]"),
    "f": ("fraction", "[0-9]+"),
    "z": ("offset", "Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9]"),
    "a": ("", f"(?i:{_DAYS})"),
    "A": ("", f"(?i:{_DAY_NAMES})"),
}
_DIGITS = frozenset("YymdHIMSf")
_NEEDS = {"half_hour": "half", "half": "half_hour", "minute": "hour", "second": "minute", "fraction": "second"}


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern: the expression, and the names of its groups."""

    expression: str
    groups: frozenset[str]

    @property
    def aware(self) -> bool:
        """Whether each text has its offset."""
        return "offset" in self.groups


def compiled(pattern: str) -> Pattern:
    """Raises ValueError, saying what to write, for a pattern that does not give one certain instant or local time."""
    groups: list[str] = []
    tokens = re.findall(r"%.?|[ \t]+|[^%]", pattern, re.DOTALL)
    parts = []
    for index, token in enumerate(tokens):
        touches = any(
            other[0] == "%" and other[1:] in _DIGITS
            for other in (*tokens[max(index - 1, 0) : index], *tokens[index + 1 : index + 2])
        )
        if token[0] == "%":
            parts.append(_directive(token[1:], groups, touches=touches))
        else:
            parts.append(re.escape(token) if token.strip(" \t") else "[ \t]+")
    _check(pattern, groups)
    return Pattern(f"^(?:{''.join(parts)})$", frozenset(groups))


def _directive(letter: str, groups: list[str], *, touches: bool) -> str:
    if letter == "%":
        return "%"
    if letter not in _DIRECTIVES:
        why = ": names of zones are not certain, use %z, or the dataset's timezone" if letter == "Z" else ""
        raise ValueError(f"%{letter} is not read in a timestamp format{why}. Known are {' '.join('%' + d for d in _DIRECTIVES)}")
    group, expression = _DIRECTIVES[letter]
    if not group:
        return expression
    if group in groups:
        raise ValueError(f"%{letter} is given twice")
    groups.append(group)
    if touches and letter in _DIGITS:
        expression = expression.removesuffix("|[1-9]").removesuffix("|[0-9]")
    return f"(?P<{group}>{expression})"


def _check(pattern: str, groups: list[str]) -> None:
    for one, other, wanted in (("year", "short_year", "%Y or %y"), ("month", "month_name", "%m, %b or %B"), ("day", "day", "%d")):
        if one not in groups and other not in groups:
            raise ValueError(f"a timestamp needs year, month and day, and {pattern!r} has no {wanted}")
    for one, other in (("year", "short_year"), ("month", "month_name"), ("hour", "half_hour")):
        if one != other and one in groups and other in groups:
            raise ValueError(f"{pattern!r} gives the {one} twice")
    for group, needed in _NEEDS.items():
        if group in groups and needed not in groups and not (needed == "hour" and "half_hour" in groups):
            raise ValueError(f"{pattern!r} has the {group.replace('_', ' ')} without the {needed.replace('_', ' ')}")
