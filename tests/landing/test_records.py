"""Records are found where RFC 4180 has them, with exact line numbers, in whatever blocks the file comes."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.landing import records
from millwright.landing.dialect import Dialect
from millwright.landing.records import split
from tests.budget import examples

CELL = st.text(st.sampled_from('ab ,;"\n\r'), max_size=6)


def lines_of(data: bytes, delimiter: str = ",") -> list[tuple[int, bytes]]:
    found, used, _ = split(data, Dialect(delimiter), last=True)
    assert used == len(data)
    return [
        (1 + line, data[start:end])
        for line, start, end in zip(found.lines.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True)
    ]


@pytest.mark.property
@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.lists(CELL, min_size=2, max_size=3), max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans()
)
def test_what_a_writer_quotes_is_split_where_it_wrote_it(rows: list[list[str]], end: str, ended: bool, all_quoted: bool) -> None:
    if not all_quoted:  # Python's writer leaves a lone carriage return unquoted
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    out = io.StringIO()
    starts, line = [], 1
    for row in rows:
        starts.append(line)
        before = out.tell()
        csv.writer(out, lineterminator=end, quoting=quoting).writerow(row)
        line += out.getvalue()[before:].count("\n")
    text = out.getvalue() if ended else out.getvalue().removesuffix(end)
    found = lines_of(text.encode())
    assert [number for number, _ in found] == starts
    assert [next(csv.reader(io.StringIO(record.decode(), newline=""))) for _, record in found] == rows


@pytest.mark.property
@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.lists(CELL, min_size=2, max_size=3), min_size=1, max_size=6), st.integers(1, 40))
def test_blocks_do_not_change_the_records(rows: list[list[str]], size: int) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    data = out.getvalue().encode()
    found, carry, line, at = [], b"", 1, 0
    while True:
        more, at = data[at : at + size], at + size
        block, last = carry + more, at >= len(data)
        part, used, newlines = split(block, Dialect(), last=last)
        found += [
            (line + n, block[s:e]) for n, s, e in zip(part.lines.tolist(), part.starts.tolist(), part.ends.tolist(), strict=True)
        ]
        carry, line = block[used:], line + newlines
        if last:
            break
    assert found == lines_of(data)


def test_blank_lines_count_as_lines_and_are_no_records() -> None:
    assert lines_of(b"a,b\n\n\r\n1,2\n\n") == [(1, b"a,b"), (4, b"1,2")]


def test_an_unclosed_quote_costs_its_line_and_no_more() -> None:
    data = b'a,b\n1,"open\n2,x\n3,"y"\n4,z\n'
    found, _, _ = split(data, Dialect(), last=True)
    assert found.irregular.tolist() == [False, True, False, False, False]
    assert found.lines.tolist() == [0, 1, 2, 3, 4]


def test_a_quote_inside_a_cell_is_irregular() -> None:
    found, _, _ = split(b'a,b\n5" pipe,2\n1,"x"y\n"a\nb",2\n', Dialect(), last=True)
    assert found.irregular.tolist() == [False, True, True, False]
    assert found.lines.tolist() == [0, 1, 2, 3]


def test_an_unclosed_quote_in_a_large_file_does_not_swallow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_RECORD", 50)
    data = b'a,b\n1,"open\n' + b"2,x\n" * 100
    found, used, _ = split(data, Dialect(), last=False)
    assert found.irregular.sum() == 1
    assert used > 300
