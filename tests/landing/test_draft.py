"""Whatever a file's columns are called, what is drafted from it loads as a hand-written definition does, and its header fits."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millwright.definitions import edit, load
from millwright.landing.draft import draft
from millwright.landing.guess import present
from millwright.landing.mapping import BadOptions, Delivery, map_columns
from millwright.landing.propose import examine
from millwright.landing.rows import Refused
from millwright.landing.sample import Sample

SHIPPED = Path(__file__).parents[2] / "feature_repo"
TIMES = ["2026-03-01T00:00:00Z", "01/02/2026 10:00", "1767225600", "13.02.2026", "never"]
NAMES = [
    "time",
    "Zeit",
    "id",
    "machine_id",
    "type",
    "value",
    "Temp. [°C]",
    "temperature",
    "event_timestamp",
    "sensor_type",
    "kind",
]
header = st.lists(
    st.one_of(
        st.sampled_from(NAMES), st.text(min_size=1, max_size=70).filter(lambda name: name.strip() == name and "\0" not in name)
    ),
    min_size=1,
    max_size=12,
    unique_by=str.casefold,
)
cell = st.one_of(st.sampled_from([*TIMES, "", "true", "7", "1,5", "1.234,5", "9007199254740993"]), st.text(max_size=20))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    names = draw(header)
    columns = {name: present(draw(st.lists(cell, max_size=4))) for name in names}
    return Sample(names, columns, {})


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repo")
    for part in ("entities", "datasets", "feature_views"):
        shutil.copytree(SHIPPED / part, folder / part)
    return folder


@pytest.mark.property
@settings(deadline=None)
@given(seen=samples(), name=st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True).filter(lambda name: name != "fleet"))
@example(seen=Sample(["?\ud7fc"], {"?\ud7fc": []}, {}), name="a")  # YAML takes a question mark for a key's
def test_a_draft_is_a_valid_definition_and_its_header_fits_once_answered(repo: Path, seen: Sample, name: str) -> None:
    definitions = load(repo)
    files = draft(definitions, name, seen, Delivery(), file_name="f.csv", accept="…")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for part in ("entities", "datasets", "feature_views"):
            shutil.copytree(repo / part, here / part)
        edit.write_proposed(here, files)
        known = edit.load_with(here, list(files))
    dataset = known.datasets[name]
    found = examine(known, dataset, Delivery(), seen)
    text = next(iter(files.values()))
    for question in found.questions:
        assert f"QUESTION {question.about}:" in text
    if not found.questions and any(seen.columns.values()):
        try:
            map_columns(known, dataset, found.options, seen.header, fixed=True)
        except Refused as error:
            assert "No column is a value" in str(error)


@pytest.mark.parametrize("name", ["", "Boiler", "7up", "a b", "a" * 41, "../x", "ä"])
def test_a_name_that_is_none_is_refused(repo: Path, name: str) -> None:
    with pytest.raises(BadOptions, match="cannot name a dataset"):
        draft(load(repo), name, Sample(["a"], {"a": ["1"]}, {}), Delivery(), file_name="f.csv", accept="…")
