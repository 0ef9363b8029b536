"""Rows and a way to write them make a file; what is read, and what lands, is what was written: cells, line numbers and bytes.

The writer here knows nothing of the reader. Dialects that a reader could only guess are declared, as a user would.
"""

from __future__ import annotations

import codecs
import gzip
import itertools
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millwright.definitions.datasets import Format
from millwright.landing.csv import CsvFile
from millwright.landing.rows import Refused
from tests.budget import examples
from tests.landing.conftest import Plant, counts

HEADER = ["timestamp", "machine_id", "sensor_type", "status", "temperature"]
ODD = [
    '"',
    "'",
    "''",
    '""',
    ",",
    ";",
    "\t",
    "|",
    "§",
    "\n",
    "a\nb",
    "a\r\nb",
    "\r",
    " x ",
    "\\",
    "\\n",
    "é",
    "Größe",
    "表",
    "#",
    "%s",
]
ODD += ["\u2028", "\ufeff", "", " ", "NULL", "-", "1,5", "°C", "'; drop table x; --", "=1+1"]
TEXT = st.lists(
    st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), max_size=3
).map("".join)
_NUMBER = itertools.count()


@dataclass(frozen=True)
class Written:
    """How a file is written; `form`: what of it is declared."""

    delimiter: str = ","
    spaces: bool = False
    quote: str = '"'
    backslash: bool = False
    encoding: str = "utf-8"
    end: str = "\n"
    form: dict[str, object] = field(default_factory=dict)

    def cell(self, text: str, *, quoted: bool) -> str:
        special = (self.delimiter, self.quote or "\n", "\n", "\r")
        if not self.quote:
            return text
        spaced = text[:1] == " " or (self.delimiter == " " and (" " in text or not text))
        if self.backslash:
            text = text.replace("\\", "\\\\").replace(self.quote, "\\" + self.quote)
        if not (quoted or spaced or any(mark in text for mark in special)):
            return text
        return self.quote + (text if self.backslash else text.replace(self.quote, self.quote * 2)) + self.quote

    def allows(self, text: str) -> str:
        """The text without what cannot be written so."""
        for _ in range(2):
            text = text.encode(self.encoding, "replace").decode(self.encoding)
        if self.end == "\r":
            text = text.replace("\n", "")
        if not self.quote:
            text = "".join(character for character in text if character not in (self.delimiter, "\n", "\r"))
        return text

    def line(self, cells: list[str], quoting: list[bool]) -> str:
        mark = self.delimiter + " " * self.spaces
        return mark.join(self.cell(text, quoted=quoted) for text, quoted in zip(cells, quoting, strict=True))


@st.composite
def ways(draw: st.DrawFn) -> Written:
    """A way to write a file that is found out, or a rarer one that is declared."""
    encoding = draw(
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift_jis"])
    )
    form: dict[str, object] = (
        {"encoding": encoding} if encoding in ("latin-1", "cp1252", "shift_jis", "utf-16-le", "utf-16-be") else {}
    )
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    if draw(st.booleans()):
        return Written(draw(st.sampled_from([",", ";", "\t", "|"])), encoding=encoding, end=end, form=form)
    delimiter = draw(st.sampled_from([",", ";", "^", " ", "\x1f"] + ["§"] * (encoding != "shift_jis")))
    spaces, quote = draw(st.booleans()), draw(st.sampled_from(['"', "'", ""]))
    backslash = bool(quote) and draw(st.booleans())
    if not quote:
        spaces = False
    form |= {"delimiter": delimiter + " " * spaces, "quote": quote, "escape": "backslash" if backslash else "double"}
    return Written(delimiter, spaces, quote, backslash, encoding, end, form)


@st.composite
def files(draw: st.DrawFn) -> tuple[Written, list[list[str]], bytes, list[int], list[str]]:
    """(way, rows, bytes, the line of each row, the text of each row)"""
    way = draw(ways())
    rows = [
        [f"2026-03-01T00:{number:02d}:00Z", "m", "press", way.allows(text), str(number)]
        for number, text in enumerate(draw(st.lists(TEXT, min_size=1, max_size=8)))
    ]
    parts, lines, texts = [], [], []
    if skipped := draw(st.integers(0, 2)):
        parts.append(('# made by a logger, v2; "x' + way.end) * skipped)
        way.form["skip_lines"] = skipped
    remark = draw(st.booleans())
    if remark:
        way.form["comment"] = "#"
    parts.append(way.line(HEADER, [False] * 5) + way.end)
    for row in rows:
        parts.append(way.end * draw(st.integers(0, 1)))
        if remark and draw(st.booleans()):
            parts.append('# paused, 5" of it' + way.end)
        before = "".join(parts)
        lines.append(1 + before.count("\r" if way.end == "\r" else "\n"))
        texts.append(way.line(row, [draw(st.booleans()) and bool(way.quote) for _ in row]))
        parts.append(texts[-1] + way.end)
    text = "".join(parts)
    if draw(st.booleans()):
        text = text.removesuffix(way.end)
    data = text.encode(way.encoding)
    match draw(st.sampled_from(["", "gzip", "zstd"])):
        case "gzip":
            at = draw(st.integers(0, len(data)))
            data = gzip.compress(data[:at]) + gzip.compress(data[at:])
        case "zstd":
            data = zstandard.compress(data)
    return way, rows, data, lines, texts


@pytest.mark.property
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), block=st.sampled_from([64, 1 << 24]))
def test_I1_what_is_read_is_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: tuple, block: int) -> None:
    monkeypatch.setattr("millwright.landing.csv._BLOCK", block)
    way, rows, data, lines, texts = file
    path = tmp_path / "file"
    path.write_bytes(data)
    source = CsvFile(path, Format.model_validate(way.form))
    found, positions, rejected = [], [], []
    for part in source.blocks():
        found += [list(row) for row in zip(*(cells.text.to_pylist() for cells in part.columns.values()), strict=True)]
        positions += part.positions.tolist()
        rejected += [(line.position, line.original, line.errors) for line in part.rejected]
    assert list(source.header) == HEADER
    assert (found, positions, rejected) == (rows, lines, [])
    kept = source.originals(np.array(lines, dtype=np.int64))
    bare = codecs.lookup(way.encoding).name.removesuffix("-sig")
    bare = f"{bare}-le" if bare in ("utf-16", "utf-32") else bare
    assert kept == [text.encode(bare) for text in texts]


@pytest.mark.property
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files())
def test_I1_what_lands_is_what_was_written(plant: Plant, file: tuple) -> None:
    way, rows, data, _, _ = file
    machine = f"m{next(_NUMBER)}"
    done = plant.land(data, format=Format.model_validate(way.form), ignore=["machine_id"], constants={"machine_id": machine})
    assert counts(done) == (len(rows), len(rows), 0, 0, 0)
    landed = {at: readings for (whose, _, at), readings in plant.measurements().items() if whose == machine}
    assert [landed[at].get("status", "") for at in sorted(landed)] == [row[3] if row[3].strip(" \t") else "" for row in rows]
    assert [landed[at]["temperature"] for at in sorted(landed)] == list(range(len(rows)))


@pytest.mark.property
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=files(), cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=3))
def test_a_damaged_file_is_read_or_refused_and_never_crashes(
    tmp_path: Path, file: tuple, cuts: list[tuple[float, bytes]]
) -> None:
    """Bytes put in or taken out anywhere: what can be read is read, the rest set aside or refused, and no line counts twice."""
    way, _, data, _, _ = file
    for share, put in cuts:
        at = int(share * len(data))
        data = data[:at] + put + data[at + (not put) * 2 :]
    path = tmp_path / "file"
    path.write_bytes(data)
    try:
        source = CsvFile(path, Format.model_validate(way.form))
        blocks = list(source.blocks())
    except Refused as refused:
        assert str(refused)
        return
    positions = [at for part in blocks for at in [*part.positions.tolist(), *(line.position for line in part.rejected)]]
    assert len(set(positions)) == len(positions)
    assert len(source.originals(np.array(sorted(positions), dtype=np.int64))) == len(positions)
