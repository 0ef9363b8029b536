"""The options of a delivery as text: a command line that is proposed means, when typed, what was proposed."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.cli import cli
from millwright.definitions.datasets import Format, Layout, Numbers, Timestamps
from millwright.landing.mapping import BadOptions, Delivery
from millwright.landing.options import delivery
from millwright.landing.propose import command

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
plain = text.filter(lambda word: "=" not in word)
field = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
mark = st.sampled_from([",", ";", "\t", "|", " "])
deliveries = st.builds(
    Delivery,
    columns=st.dictionaries(text, field, max_size=3),
    constants=st.dictionaries(field, text, max_size=3),
    ignore=st.lists(text, max_size=2),
    layout=st.none() | st.builds(Layout, reading=plain, value=text),
    format=st.builds(
        Format,
        encoding=st.none() | st.just("latin-1"),
        delimiter=st.none() | mark,
        quote=st.sampled_from([None, '"', "'", ""]),
        escape=st.sampled_from([None, "double", "backslash"]),
        header=st.none() | st.lists(text, min_size=1, max_size=3),
        skip_lines=st.none() | st.integers(0, 9),
        comment=st.sampled_from([None, "#", "--"]),
        units_row=st.sampled_from([None, True]),
        footer=st.none() | st.lists(text, min_size=1, max_size=2),
    ),
    timezone=st.none() | st.just("Europe/Berlin"),
    timestamps=st.builds(
        Timestamps,
        format=st.sampled_from([None, "epoch_ms", "%d.%m.%Y %H:%M"]),
        ambiguous=st.sampled_from([None, "earliest", "latest"]),
        nonexistent=st.sampled_from([None, "earliest"]),
    ),
    numbers=st.sampled_from([None, Numbers(decimal=","), Numbers(decimal=",", thousands="."), Numbers(thousands="_")]),
    units=st.dictionaries(field, text, max_size=2),
    missing=st.lists(text, max_size=2),
    correction=st.booleans(),
    historical=st.booleans(),
    repairs=st.none() | st.integers(1, 99),
)


def typed(line: str) -> Delivery:
    """What the command would deliver with."""
    parsed = cli.get_command(None, "upload").make_context("upload", shlex.split(line)[2:])  # type: ignore[arg-type]
    own = {"files", "dataset", "filename", "dry_run", "accept", "new", "wait", "as_json"}
    texts = {
        name: list(value) if isinstance(value, tuple) else ["true" if value is True else str(value)]
        for name, value in parsed.params.items()
        if name not in own and value not in (None, False, ())
    }
    return delivery(texts)


@pytest.mark.property
@settings(deadline=None)
@given(deliveries)
def test_a_command_line_means_what_was_proposed(wanted: Delivery) -> None:
    assert typed(command("a b.csv", "fleet", wanted)).model_dump() == wanted.model_dump()


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"timezon": ["UTC"]}, "did you mean timezone"),
        ({"timezone": ["UTC", "UTC"]}, "--timezone is given 2 times"),
        ({"map": ["a"]}, "such as column=field"),
        ({"map": ["a=x", "a=y"]}, "a is given twice"),
        ({"skip-lines": ["-1"]}, "--skip-lines needs a whole number"),
        ({"repairs": ["9" * 30]}, "--repairs needs a whole number"),
        ({"delimiter": ["ab"]}, "--delimiter"),
        ({"decimal": [","], "thousands": [","]}, "--decimal and --thousands"),
        ({"timestamp_format": ["noon"]}, "--timestamp-format: a format is iso"),
        ({"units_row": ["perhaps"]}, "units-row is true or false"),
    ],
)
def test_text_that_does_not_fit_names_its_option(given_: dict[str, list[str]], message: str) -> None:
    with pytest.raises(BadOptions) as caught:
        delivery(given_)
    assert message in str(caught.value)
