"""Files of the fleet: rows and defects are exactly what was reported, to the line."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.simulation import Defect, WrittenFile, foreign_csv, write_correction, write_csv
from tests.budget import examples

DAY = date(2026, 3, 1)
HEADER = "timestamp,machine_id,sensor_type,temperature,vibration,speed,energy,pressure"


def read(path: Path) -> list[list[str]]:
    return [line.split(",") for line in path.read_text().splitlines()]


def one(folder: Path, **options: object) -> WrittenFile:
    [file] = write_csv(folder, DAY, DAY, **options)  # type: ignore[arg-type]
    return file


def test_shape_of_a_file(tmp_path: Path) -> None:
    file = one(tmp_path, machines=3, interval=3600)
    text = file.path.read_text()
    assert text.startswith(HEADER + "\n")
    assert text.endswith("\n")
    press, pump, motor = read(file.path)[1:4]
    assert press[:3] == ["2026-03-01T00:00:00Z", "press-01", "press"]
    assert press[5] == "", "a press has no speed"
    assert all(pump)
    assert motor[7] == "", "a motor has no pressure"
    assert (file.rows, file.bytes) == (72, len(text))
    assert list(tmp_path.iterdir()) == [file.path], "nothing but the finished file"


def test_each_defect_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    clean = read(one(tmp_path / "clean", machines=6, interval=600).path)
    file = one(tmp_path / "bad", machines=6, interval=600, defects=dict.fromkeys(Defect, 4))
    dirty = read(file.path)
    spoilt = {number: kind for kind, numbers in file.defects.items() for number in numbers}
    assert len(spoilt) == 24
    for number, cells in enumerate(dirty, start=1):
        kind = spoilt.get(number)
        if kind is None:
            assert cells == clean[number - 1]
        elif kind is Defect.DUPLICATE_LINE:
            assert cells in clean
        elif kind is Defect.OTHER_VALUES:
            [same_key] = [row for row in clean if row[:2] == cells[:2]]
            assert float(cells[3]) == pytest.approx(float(same_key[3]) + 1.5)
            assert cells[4:] == same_key[4:]
        else:
            column = {Defect.IMPOSSIBLE_TIMESTAMP: 0, Defect.MISSING_MACHINE_ID: 1}.get(kind, 3)
            assert cells[:column] + cells[column + 1 :] == clean[number - 1][:column] + clean[number - 1][column + 1 :]
            assert (
                cells[column]
                == {
                    Defect.TEXT_IN_NUMBER: "n/a",
                    Defect.OUT_OF_RANGE: "9999.99",
                    Defect.MISSING_MACHINE_ID: "",
                    Defect.IMPOSSIBLE_TIMESTAMP: "2026-02-31T24:61:00Z",
                }[kind]
            )
    assert (file.good, file.bad, file.duplicates) == (6 * 144 - 16, 20, 4)


def test_defects_hide_no_other_defect(tmp_path: Path) -> None:
    """The lines that duplicates and other values repeat are good ones, so that a landing's counts follow from the report."""
    file = one(tmp_path, machines=2, interval=3600, defects=dict.fromkeys(Defect, 8))
    rows = read(file.path)
    keys = Counter(tuple(cells[:2]) for cells in rows[1:])
    for number in (*file.defects[Defect.DUPLICATE_LINE], *file.defects[Defect.OTHER_VALUES]):
        assert keys[tuple(rows[number - 1][:2])] == 2


def test_too_many_defects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30 defects do not fit into 24 lines"):
        one(tmp_path, machines=1, interval=3600, defects=dict.fromkeys(Defect, 5))
    assert list(tmp_path.iterdir()) == []


@given(
    machines=st.integers(1, 8),
    interval=st.sampled_from([900, 1200, 3600, 5000]),
    seed=st.integers(0, 2**31),
    days=st.integers(1, 3),
    defects=st.dictionaries(st.sampled_from(list(Defect)), st.integers(0, 2)),
)
@pytest.mark.property
@settings(max_examples=examples(40), deadline=None)
def test_rows_are_as_reported(machines: int, interval: int, seed: int, days: int, defects: dict[Defect, int]) -> None:
    with TemporaryDirectory() as folder:
        files = write_csv(Path(folder), DAY, DAY + timedelta(days=days - 1), machines, seed, interval, defects)
        assert len(files) == days
        for file in files:
            rows = read(file.path)[1:]
            assert len(rows) == file.rows == file.good + file.bad + file.duplicates
            assert all(len(cells) == 8 for cells in rows)
            assert {kind: len(numbers) for kind, numbers in file.defects.items()} == {k: n for k, n in defects.items() if n}
            assert file.path.stat().st_size == file.bytes


def test_correction_moves_temperatures_of_the_named_machines_only(tmp_path: Path) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    file = write_correction(
        tmp_path / "late.csv", start, start + timedelta(hours=1), ["press-02", "motor-01"], machines=6, offset=-2.5
    )
    before = {tuple(cells[:2]): cells for cells in read(one(tmp_path, machines=6).path)}
    rows = read(file.path)[1:]
    assert len(rows) == file.rows == 120
    assert {cells[1] for cells in rows} == {"press-02", "motor-01"}
    for cells in rows:
        old = before[tuple(cells[:2])]
        assert float(cells[3]) == pytest.approx(float(old[3]) - 2.5)
        assert cells[4:] == old[4:]
    with pytest.raises(ValueError, match="no such machine in a fleet of 6: press-09"):
        write_correction(tmp_path / "no.csv", start, start + timedelta(hours=1), ["press-09"], machines=6)


def test_foreign_export_has_naive_times_and_an_hour_twice(tmp_path: Path) -> None:
    file = foreign_csv(tmp_path / "historian.csv", seed=7)
    header, *rows = read(file.path)
    assert header == ["timestamp", "value"]
    assert len(rows) == file.rows == 21 * 288 + 12
    moments = [datetime.strptime(cells[0], "%Y-%m-%d %H:%M:%S") for cells in rows]
    twice = {moment for moment, count in Counter(moments).items() if count == 2}
    assert len(twice) == 12
    assert max(Counter(moments).values()) == 2
    assert sorted(twice) == [datetime(2024, 1, 27, 2) + timedelta(minutes=5 * step) for step in range(12)]
    for number in file.defects[Defect.OTHER_VALUES]:
        moment, value = rows[number - 2]
        [first, again] = [cells for cells in rows if cells[0] == moment]
        assert again == [moment, value]
        assert first[1] != value
    assert sorted(set(moments)) == [datetime(2024, 1, 8) + timedelta(minutes=5 * step) for step in range(21 * 288)]
    assert file.path.read_bytes() == foreign_csv(tmp_path / "again.csv", seed=7).path.read_bytes()
    assert file.path.read_bytes() != foreign_csv(tmp_path / "other.csv", seed=8).path.read_bytes()
