"""Rows and a dialect make a file; what is read from it is what was written, to the line, in whatever dialect (no server needed)."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.landing.csv import CsvFile
from millwright.landing.rows import Refused
from tests.budget import examples

HEADER = ["timestamp", "machine_id", "note"]
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8) | st.sampled_from(
    ['"', '""', ",", ";", "\t", "|", "\n", "a\nb", " x ", "'", "\\", "é", "", "NULL", "#", "%s", "\u2028", "\ufeff"]
)


def read(path: Path) -> tuple[list[list[str]], list[int], list[tuple[int, bytes, str]], CsvFile]:
    file = CsvFile(path)
    rows: list[list[str]] = []
    positions: list[int] = []
    rejected = []
    for block in file.blocks():
        rows += [list(row) for row in zip(*(cells.text.to_pylist() for cells in block.columns.values()), strict=True)]
        positions += block.positions.tolist()
        rejected += [(line.position, line.original, line.errors[0]["code"]) for line in block.rejected]
    return rows, positions, rejected, file


@pytest.mark.property
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    bom=st.booleans(),
    block=st.sampled_from([64, 1 << 24]),
)
def test_what_is_read_is_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list, delimiter: str, end: str, quoting: int, bom: bool, block: int
) -> None:
    monkeypatch.setattr("millwright.landing.csv._BLOCK", block)
    path = tmp_path / "f.csv"
    expected, line = [], 2
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=end).writerow(HEADER)
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
        for row in rows:
            writer.writerow(row)
            expected.append(line)
            line += 1 + sum(cell.count("\n") for cell in row)
    found, positions, rejected, source = read(path)
    assert (source.header, source.delimiter) == (HEADER, delimiter)
    assert (found, positions, rejected) == (rows, expected, [])
    kept = source.originals(np.array(expected, dtype=np.int64))
    assert [next(csv.reader([text.decode()], delimiter=delimiter)) for text in kept if b"\n" not in text] == [
        row for row in rows if not any("\n" in cell for cell in row)
    ]


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.lists(
        st.sampled_from([b"a", b",", b'"', b"\n", b"\r\n", b";", b" ", b"\xc3\xa9", b"1,2,3\n", b'"x\ny",2,3\n']), max_size=40
    )
)
def test_no_bytes_are_lost_crash_or_count_twice(tmp_path: Path, data: list[bytes]) -> None:
    path = tmp_path / "f.csv"
    body = b"".join(data)
    path.write_bytes(b"timestamp,machine_id,note\n" + body)
    try:
        rows, positions, rejected, source = read(path)
    except Refused as refused:  # every line has more cells than the header, or two delimiters fit
        assert "Nothing was loaded" in str(refused)
        return
    lines = sorted([*positions, *(position for position, _, _ in rejected)])
    assert len(set(lines)) == len(lines)
    originals = {position: original for position, original, _ in rejected}
    originals |= dict(zip(positions, source.originals(np.array(positions, dtype=np.int64)), strict=True))
    assert b"".join(originals[line] for line in lines).replace(b"\n", b"").replace(b"\r", b"") == body.replace(
        b"\n", b""
    ).replace(b"\r", b"")
    assert all(len(row) == 3 for row in rows)


def test_large_cells_and_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n" + "x" * 3_000_000 + ',1\n2,"' + "y\n" * 1_000_000 + '"\nlast,3\n')
    rows, positions, rejected, _ = read(path)
    assert ([len(row[0]) for row in rows], positions, rejected) == ([3_000_000, 1, 4], [2, 3, 1_000_004], [])
    path.write_text(",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join(["1"] * 5000) + "\n" + ",".join(["1"] * 4999) + "\n")
    rows, positions, rejected, _ = read(path)
    assert (len(rows[0]), positions, [(at, code) for at, _, code in rejected]) == (5000, [2], [(3, "too_few_cells")])


def test_a_line_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a,b\n" + "x" * 6_000_000 + ",1\n")
    with pytest.raises(Refused):
        read(path)


def test_a_cell_that_begins_with_a_byte_order_mark_keeps_it_at_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The splitter takes a mark off what it reads, and a file is read in blocks."""
    monkeypatch.setattr("millwright.landing.csv._BLOCK", 64)
    path = tmp_path / "f.csv"
    rows = [["\ufeffx", "1", str(number)] for number in range(40)]
    lines = [",".join(row) for row in rows]
    lines[20] += ",one too many"
    path.write_text("\n".join([",".join(HEADER), *lines, ""]), encoding="utf-8")
    found, positions, rejected, _ = read(path)
    assert found == rows[:20] + rows[21:]
    assert positions == [number + 2 for number in range(40) if number != 20]
    assert [(position, code) for position, _, code in rejected] == [(22, "too_many_cells")]
