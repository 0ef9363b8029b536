"""What the docs show is true: definitions load, shown lines and numbers are those of the simulated files, links lead somewhere."""

from __future__ import annotations

import ast
import re
import runpy
from datetime import timedelta
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from millwright.definitions import Definitions, Model, load
from millwright.definitions.durations import parse, tile_size
from millwright.landing.options import OPTIONS
from millwright.settings import Settings
from millwright.simulation import Defect, foreign_csv

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"])
FOLDERS = {"entity": "entities", "dataset": "datasets", "topic": "topics", "feature_view": "feature_views"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def load_blocks(texts: list[str], folder: Path) -> Definitions:
    for text in texts:
        content = YAML(typ="safe").load(text)
        kind = next(iter(content))
        name = f"{content[kind]}_v{content['version']}" if kind == "feature_view" else content[kind]
        target = folder / FOLDERS[kind] / f"{name}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    return load(folder)


def test_definitions_page_loads(tmp_path: Path) -> None:
    shown = load_blocks(blocks(DOCS / "definitions.md", "yaml"), tmp_path)
    assert list(shown.feature_views) == [
        "machine_vitals_v1",
        "machine_wear_v1",
        "press_minutes_v1",
        "press_state_v1",
        "press_warmth_v1",
    ]
    assert list(shown.topics) == ["telemetry"]


def test_readme_view_fits_the_shipped_definitions(tmp_path: Path) -> None:
    repo = PROJECT / "feature_repo"
    shipped = [(repo / name).read_text(encoding="utf-8") for name in ("entities/machine.yaml", "datasets/fleet.yaml")]
    shown = load_blocks([*shipped, *blocks(PROJECT / "README.md", "yaml")], tmp_path)
    assert len(shown.feature_views) == len(blocks(PROJECT / "README.md", "yaml"))


def test_tiles_on_the_definitions_page_are_the_engines() -> None:
    table = re.findall(r"(\d+) ([smhd]) \| (\d+) ([smhd])", (DOCS / "definitions.md").read_text(encoding="utf-8"))
    assert len(table) == 6
    for length, unit, tile, tile_unit in table:
        assert tile_size(parse(length + unit)) == parse(tile + tile_unit).total_seconds() * 1_000_000


def test_own_csv_page_tells_of_the_file_that_the_simulation_writes(tmp_path: Path) -> None:
    page = (DOCS / "own-csv.md").read_text(encoding="utf-8")
    file = foreign_csv(tmp_path / "historian.csv")
    lines = file.path.read_text().splitlines()
    assert "\n".join(["$ head -3 historian.csv", *lines[:3]]) in page
    twice = file.defects[Defect.OTHER_VALUES]
    assert f"sed -n {twice[0]},{twice[-1]}p historian.csv" in page
    assert re.search(rf"received \| {file.rows} .*loaded \| {file.good} .*quarantined \| {file.bad} ", page, re.DOTALL)
    assert "the hour from 2024-01-27 02:00" in page
    assert lines[twice[0] - 1].startswith("2024-01-27 02:00:00")
    assert lines[-1].startswith("2024-01-28 23:55:00")


def test_own_csv_page_dataset_fits_the_shipped_ones(tmp_path: Path) -> None:
    entity = (PROJECT / "feature_repo/entities/machine.yaml").read_text(encoding="utf-8")
    fleet = (PROJECT / "feature_repo/datasets/fleet.yaml").read_text(encoding="utf-8")
    shown = load_blocks([entity, fleet, *blocks(DOCS / "own-csv.md", "yaml")], tmp_path)
    assert set(shown.datasets) == {"fleet", "press_99_historian"}


def test_rules_page_dataset_fits_the_shipped_ones(tmp_path: Path) -> None:
    repo = PROJECT / "feature_repo"
    shipped = [(repo / name).read_text(encoding="utf-8") for name in ("entities/machine.yaml", "datasets/fleet.yaml")]
    assert set(load_blocks([*shipped, *blocks(DOCS / "rules.md", "yaml")], tmp_path).datasets) == {"fleet", "meters"}


def test_predictions_page_model_is_a_definition() -> None:
    (shown,) = blocks(DOCS / "predictions.md", "yaml")
    assert Model.model_validate(YAML(typ="safe").load(shown)).id == "press_failures_v1"


def test_every_code_that_a_rule_gives_is_on_the_rules_page() -> None:
    """The codes are the words of the form `lower_snake` that the modules of the rules call an error by."""
    modules = ("timestamps", "values", "keys", "rules", "mapping", "series_rules")
    given: set[str] = set()
    for module in modules:
        tree = ast.parse((PROJECT / f"millwright/landing/{module}.py").read_text(encoding="utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in ("add", "explain"):
                given |= {part.value for part in call.args[2:3] if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    page = (DOCS / "rules.md").read_text(encoding="utf-8")
    assert {"not_a_number", "too_long", "required", "in_future"} <= given and len(given) > 15
    assert [code for code in sorted(given) if f"`{code}`" not in page] == []


def test_the_limits_page_has_every_limit_with_its_default() -> None:
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", (DOCS / "limits.md").read_text(encoding="utf-8"), re.MULTILINE))
    limits = [name for name in Settings.model_fields if name.startswith(("max_", "kept_", "preview_", "keep_", "first_day"))]
    spelled = {None: "for ever", timedelta(hours=1): "1 hour"}
    defaults = {name: Settings.model_fields[name].default for name in limits}
    assert shown == {name: spelled.get(value, str(value)) for name, value in defaults.items()}


def test_the_upload_page_has_every_option() -> None:
    page = (DOCS / "upload.md").read_text(encoding="utf-8")
    assert [option.name for option in OPTIONS if f"`--{option.name}" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_console_blocks_begin_with_a_prompt(page: Path) -> None:
    for block in blocks(page, "console"):
        assert block.startswith("$ "), f"{page.name}: {block.splitlines()[0]}"


def test_the_picture_of_the_window_is_what_the_engine_computes() -> None:
    drawing = runpy.run_path(str(DOCS / "sawtooth.py"))
    lengths = drawing["lengths"]()
    assert lengths == [3600 + second % 60 for second in range(300)]
    assert (DOCS / "sawtooth.svg").read_text(encoding="utf-8") == drawing["drawn"](lengths)


def test_every_benchmark_has_its_table_on_the_performance_page() -> None:
    places = re.findall(r"^<!-- (\w+) -->$", (DOCS / "performance.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(places) == sorted(file.stem for file in (PROJECT / "benchmarks").glob("[a-z]*.py"))
