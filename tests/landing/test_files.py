"""Every file of the matrix becomes what its receipt says. A new bug report becomes a new folder in files/ (see matrix.py).

`MATRIX_WRITE=1 pytest tests/landing/test_files.py -k CASE` writes the receipt.json of cases that have none, and fails them once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.landing import matrix
from tests.landing.conftest import Plant


@pytest.mark.parametrize("name", matrix.names())
def test_a_file_becomes_what_its_receipt_says(plant: Plant, tmp_path: Path, name: str) -> None:
    found = matrix.run(plant, name, tmp_path)
    kept = matrix.FILES / name / "receipt.json"
    if os.environ.get("MATRIX_WRITE") and not kept.exists():
        matrix.write(name, found)
        pytest.fail(f"{kept} is written: read it line by line, then run again")
    wrong = matrix.difference(json.loads(kept.read_text()), found)
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)
