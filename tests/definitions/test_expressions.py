"""What an expression may say, of which type and unit it is, and where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwright.definitions import DefinitionErrors, load
from millwright.definitions.expression_types import type_of, unit_of
from millwright.definitions.expressions import ExpressionError, parse

TYPES = {"a": "double", "b": "double", "n": "int64", "grade": "string", "ok": "bool"}
UNITS = {"a": "degC", "b": "degC", "n": "", "speed": "mm/s", "grade": "", "ok": ""}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a / b", "double"), ("n + 1", "double"), ("-n", "int64"), ("abs(n)", "int64"), ("n * 2 > 3 and not a is null", "bool"),
        ("coalesce(n, 0)", "int64"), ("coalesce(n, 0.5)", "double"), ("least(n, a, 3)", "double"), ("nullif(n, 0)", "int64"),
        ("case when a > b then 'hot' when a = b then 'same' end", "string"), ("case n when 1 then 2 else 3.5 end", "double"),
        ("grade in ('a', 'b')", "bool"), ("a between 1 and n", "bool"), ("ok or n <> 2", "bool"), ("coalesce(null, ok)", "bool"),
        ("round(a, 2) + sqrt(b) + ln(a) + exp(b) + power(a, n) + sign(a) + floor(a) + ceil(b)", "double"),
        ("-- a ratio\n a /* over */ / b", "double"),
    ],
)  # fmt: skip
def test_the_type_follows_from_the_features(text: str, kind: str):
    assert type_of(parse(text), TYPES.__getitem__) == kind


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("a - b", "degC"), ("a / b", ""), ("2 * a + b", "degC"), ("a - 1", "degC"), ("a / n", "degC"), ("a * speed", ""), ("a - speed", ""),
        ("a > b", ""), ("greatest(a, b, 0)", "degC"), ("case when ok then a else b end", "degC"), ("nullif(speed, 0)", "mm/s"),
        ("power(a, 2)", ""), ("-a", "degC"), ("1 / a", ""),
    ],
)  # fmt: skip
def test_the_unit_follows_where_it_can(text: str, unit: str):
    assert unit_of(parse(text), UNITS.__getitem__) == unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "at character 1: is empty"),
        ("1 + 2", "at character 1: uses no feature of the view"),
        ("a +", "at character 3: cannot be read at '+'"),
        ("a\n+\n)", "at character 5: cannot be read at ')'"),
        ("a + 'x", "at character 1: a quote is not closed"),
        ("a + sqr(b)", "at character 5: no function sqr (did you mean sqrt?)"),
        ("a; drop table x", "at character 2: one expression, without ;"),
        ("(select 1)", "at character 9: '(SELECT 1)' is not allowed: an expression has features of the view, numbers"),
        ("a in (select b)", "is not allowed"), ("exists(select a)", "no function exists"), ("count(*)", "no function count"),
        ("abs(a) over ()", "no function over"), ("a.b", "'a.b' is not allowed"), ('"a" + 1', "is not allowed"), ("a::int", "is not allowed"),
        ("a || 'x'", "is not allowed"), ("a % 2", "is not allowed"), ("a b", "is not allowed"), ("a = :x", "':x' is not allowed"),
        ("current_timestamp", "is not allowed"), ("a is true", "is not allowed"), ("pg_sleep(a)", "no function pg_sleep"),
        ("least(a)", "least takes at least 2 arguments, got 1"), ("sqrt(a, b)", "cannot be read"), ("power(a)", "cannot be read"),
        ("round(a, b)", "round takes a number of digits from 0 to 9"), ("1e400 * a", "1e400 is too large"),
        ("(" * 70 + "a" + ")" * 70, "nested"), ("(" * 450 + "a" + ")" * 450, "nested"),
        ("a" + " + a" * 300, "longer than 1000 characters"),
    ],
)  # fmt: skip
def test_what_is_not_allowed_is_refused_where_it_stands(text: str, expected: str):
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + grade", "at character 5: + needs a number; grade is string"),
        ("a > grade", "at character 5: > needs a number; grade is string"),
        ("grade = 1", "at character 9: = needs values of one type; 1 is int64, before it is string"),
        ("not a", "at character 5: not needs a condition; a is double"),
        ("case when n then 1 end", "at character 11: case needs a condition; n is int64"),
        ("case when ok then a else grade end", "grade is string, before it is double"),
        ("coalesce(a, 'x')", "'x' is string"),
        ("nullif(null, a)", ""),
    ],
)
def test_types_that_do_not_fit_are_told_where(text: str, expected: str):
    if not expected:
        assert type_of(parse(text), TYPES.__getitem__) == "double"
        return
    with pytest.raises(ExpressionError) as caught:
        type_of(parse(text), TYPES.__getitem__)
    assert expected in str(caught.value)


VIEW = """\
feature_view: vitals
version: 1
entity: machine
ttl: 2h
features:
  - {name: hot, aggregate: mean, of: temperature, window: 1h}
  - {name: week, aggregate: mean, of: temperature, window: 7d}
"""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("  - {name: r, expression: hot / wek}\n", "feature_views/vitals_v1.yaml:8: features.2.expression: at character 7: no other feature of vitals_v1 is wek (did you mean week?)"),
        ("  - {name: r, expression: r + 1}\n", "no other feature of vitals_v1 is r"),
        ("  - {name: r, expression: s + 1}\n  - {name: s, expression: r + 1}\n", "features.2.expression: at character 1: r is made of itself, by way of s"),
        ("  - {name: r, expression: hot + machine_id}\n", "no other feature of vitals_v1 is machine_id"),
        ("  - {name: r, expression: hot > 1}\n  - {name: s, expression: r + 1}\n", "features.3.expression: at character 1: + needs a number; r is bool"),
        ("  - {name: r, expression: hot, aggregate: mean}\n", "features.2: an expression stands for itself: leave out aggregate"),
        ("  - {name: r, expression: hot, from: events}\n", "features.2: an expression stands for itself: leave out from"),
        ("  - {name: r, aggregate: mean, of: temperature, window: 1h, unit: K}\n", "features.2: unit is an expression's"),
        ("  - {name: r, expresion: hot}\n", "features.2.expresion: unknown field (did you mean expression?)"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_views_expression_says_where_and_what(tmp_path: Path, lines: str, expected: str):
    with pytest.raises(DefinitionErrors) as caught:
        load(repository(tmp_path, VIEW + lines))
    assert expected in str(caught.value), str(caught.value)


def test_expressions_of_expressions_have_types_units_and_an_order(tmp_path: Path):
    text = (
        VIEW
        + "  - {name: u, expression: d / 2}\n  - {name: d, expression: hot - week}\n  - {name: k, expression: hot * hot, unit: degC2}\n"
    )
    definitions = load(repository(tmp_path, text))
    view = definitions.feature_views["vitals_v1"]
    assert list(view.expressions) in (["d", "u", "k"], ["d", "k", "u"], ["k", "d", "u"])
    told = {f.name: (definitions.feature_type(view, f), definitions.feature_unit(view, f)) for f in view.features if f.expression}
    assert told == {"u": ("double", "degC"), "d": ("double", "degC"), "k": ("double", "degC2")}
    assert view.readings == ("temperature",)


def repository(folder: Path, view: str) -> Path:
    files = {
        "entities/machine": "entity: machine\njoin_keys: {machine_id: string}\n",
        "datasets/fleet": "dataset: fleet\nentity: machine\nreadings: {temperature: {unit: degC}}\n",
        "feature_views/vitals_v1": view,
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder
