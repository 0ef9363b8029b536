"""The corpus runner tells what became of each file, and of a file that crashes or takes too long it says so and fails."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from millwright.definitions import Dataset
from tests.landing import corpus
from tests.landing.conftest import HEADER

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs/files.md"


def test_a_folder_is_told_file_by_file(tmp_path: Path) -> None:
    assert "python -m tests.landing.corpus" in PAGE.read_text()
    rows = "2026-03-01T00:00:00Z,m1,press,1\n2026-03-01T00:01:00Z,m1,press\n"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/good.csv.gz").write_bytes(gzip.compress(f"{HEADER}temperature\n{rows}".encode()))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "notes.txt").write_text("not looked at")
    command = [sys.executable, "-m", "tests.landing.corpus", str(tmp_path), "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    good, empty, totals = map(json.loads, done.stdout.splitlines())
    assert (good["file"], good["outcome"], good["rows"], good["good"]) == ("deep/good.csv.gz", "landed", 2, 1)
    assert (good["codes"], good["time"], good["dialect"]["compression"]) == ({"too_few_cells": 1}, "timestamp", "gzip")
    assert (empty["outcome"], "0 bytes" in empty["reason"]) == ("refused", True)
    assert (totals["landed"], totals["refused"], totals["crashed"]) == (1, 1, 0)


def test_a_file_beyond_time_or_memory_is_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text(f"{HEADER}temperature\n2026-03-01T00:00:00Z,m1,press,1\n")
    worker = corpus.Worker(seconds=0.001, megabytes=4096)
    told = worker.check(path)
    worker.close()
    assert (told["outcome"], "took longer" in told["reason"]) == ("crashed", True)
    worker = corpus.Worker(seconds=60, megabytes=1)
    assert worker.check(path)["outcome"] == "crashed"
    worker.close()


def test_a_crash_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f.csv").write_text("a,b\n1,2\n")
    assert corpus.main([str(tmp_path), "--seconds", "0.001"]) == 1
    assert "crashed" in capsys.readouterr().out


def test_the_page_shows_a_dataset_that_is_one() -> None:
    block = PAGE.read_text().split("```yaml\n")[1].split("```")[0]
    assert Dataset.model_validate(YAML(typ="safe").load(block)).format.skip_lines == 3
