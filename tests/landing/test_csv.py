"""CSV files as they come: what lands, what is set aside with its line and bytes, what is refused with how to mend it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from millwright.definitions.load import load
from millwright.landing.batches import receipt
from millwright.landing.load import dry_run, land
from millwright.landing.mapping import Delivery
from millwright.landing.receive import UnknownDataset, receive
from millwright.warehouse import ledger
from tests.landing.conftest import HEADER, Plant, counts

AT = "2026-03-01T00:0{}:00Z"


def test_I1_every_row_of_a_file_is_accounted_for(plant: Plant) -> None:
    lines = [
        f"{AT.format(0)},m1,press,1,2",
        f"{AT.format(1)},m1,press,1.5,",
        f"{AT.format(1)},m1,press,1.5,",
        f"{AT.format(1)},m1,press,9,",
        f"{AT.format(2)},,press,x,-1",
        f"{AT.format(3)},m1,press,1",
        f"{AT.format(3)},m1,press,1,2,3,4",
        "",
        f"{AT.format(4)},m2,pump,,3",
    ]
    done = plant.land(f"{HEADER}temperature,vibration\n" + "\n".join(lines) + "\n")
    assert counts(done) == (8, 3, 0, 1, 4)
    assert plant.measurements() == {
        ("m1", "press", "2026-03-01T00:00:00.000000"): {"temperature": 1, "vibration": 2},
        ("m1", "press", "2026-03-01T00:01:00.000000"): {"temperature": 1.5},
        ("m2", "pump", "2026-03-01T00:04:00.000000"): {"vibration": 3},
    }
    assert plant.quarantine(done.batch_id) == [
        (5, lines[3].encode(), ["temperature:conflict"]),
        (6, lines[4].encode(), ["machine_id:required", "temperature:not_a_number", "vibration:out_of_range"]),
        (7, lines[5].encode(), [":too_few_cells"]),
        (8, lines[6].encode(), [":too_many_cells"]),
    ]
    assert {kind.code: kind.message for kind in done.errors}["too_many_cells"] == "the line has 7 cells, the header has 5"
    assert [(d.batch_id, d.rows, d.first_position, d.of_position) for d in done.duplicates_of] == [(done.batch_id, 1, 4, 3)]
    assert {str(day): rows for day, rows in done.days.items()} == {"2026-03-01": 3}
    assert receipt(plant.conn, done.batch_id or 0) == done
    assert plant.rows("select entity, keys, sensor_type, first, last, historical from warehouse.changes order by keys") == [
        ("machine", ["m1"], "press", done.first_event, done.first_event.replace(minute=1), False),
        ("machine", ["m2"], "pump", done.last_event, done.last_event, False),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_dialects_are_found_and_pinned(plant: Plant, delimiter: str, end: str, bom: bytes) -> None:
    text = end.join(
        delimiter.join(row.split(",")) for row in (f"{HEADER}status", f"{AT.format(0)},m1,press,a", f"{AT.format(1)},m1,press,")
    )
    done = plant.land(bom + text.encode())
    assert counts(done) == (2, 1, 0, 0, 1)
    assert done.dialect["delimiter"] == delimiter
    assert plant.quarantine(done.batch_id)[0][0] == 3


def test_lines_are_exact_after_quoted_newlines_blank_lines_and_unclosed_quotes(plant: Plant) -> None:
    text = (
        f"{HEADER}status,temperature\r\n"
        f'{AT.format(0)},m1,press,"two\nlines ""here""",1\r\n'
        "\n"
        f"{AT.format(1)},m1,press,x,bad\n"
        f'{AT.format(2)},m1,press,"open,2\n'
        f'{AT.format(3)},m1,press,5" pipe,3\n'
        f'{AT.format(4)},m1,press,"a,\nb",bad\r\n'
        f"{AT.format(5)},m1,press\n"
        f"{AT.format(6)},m1,press,last,6"
    )
    done = plant.land(text)
    assert counts(done) == (7, 2, 0, 0, 5)
    assert [(at, codes) for at, _, codes in plant.quarantine(done.batch_id)] == [
        (5, ["temperature:not_a_number"]),
        (6, [":quotes"]),
        (7, [":quotes"]),
        (8, ["temperature:not_a_number"]),
        (10, [":too_few_cells"]),
    ]
    assert plant.quarantine(done.batch_id)[3][1] == f'{AT.format(4)},m1,press,"a,\nb",bad'.encode()
    assert {row["status"] for row in plant.measurements().values()} == {'two\nlines "here"', "last"}


def test_blocks_of_a_large_file_keep_lines_and_series_apart(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millwright.landing.csv._BLOCK", 300)
    lines = [f'2026-03-01T00:{i:02d}:00Z,m{i % 3},press,"a\n{i}",{"x" if i % 7 == 0 else i}' for i in range(40)]
    done = plant.land(f"{HEADER}status,temperature\n" + "\n".join(lines))
    assert counts(done) == (40, 34, 0, 0, 6)
    assert [at for at, _, _ in plant.quarantine(done.batch_id)] == [2 + 2 * i for i in range(0, 40, 7)]
    assert [original for _, original, _ in plant.quarantine(done.batch_id)] == [lines[i].encode() for i in range(0, 40, 7)]
    assert sorted(row["temperature"] for row in plant.measurements().values()) == [i for i in range(40) if i % 7]


REFUSED = {
    "empty": (b"", "0 bytes"),
    "blank lines": (b"\n\n", "only blank lines"),
    "latin-1": (f"{HEADER}status\n{AT.format(0)},m,press,".encode() + b"\xcf\xf0\n" + AT.format(1).encode() + b",m,press,\xb0\xe5C\n", "The file is not UTF-8 (line 2 is the first of 2 lines of 3"),
    "nul": (f"{HEADER}status\n{AT.format(0)},m,press,a\0b\n".encode(), "Line 2 has a NUL"),
    "zip": (b"PK\x03\x04rest", "a zip or Excel file"),
    "doubled header": (b"timestamp,Temp,temp\n", "'Temp' and 'temp' (column 3), which are the same name"),
    "nameless column": (b"timestamp,,a\n", "Column 2 of the header has no name"),
    "long name": (b"timestamp," + b"x" * 64 + b"\n", "longer than 63 bytes"),
    "no key": (b"timestamp,sensor_type,temperature\n", "No column is machine_id"),
    "no time": (b"when,machine_id,sensor_type,temperature\n", "No column is event_timestamp"),
    "no reading": (f"{HEADER[:-1]}\n".encode(), "No column is a value"),
    "two line ends": (f"{HEADER}status\r{AT.format(0)},m,press,a\r\n".encode(), "carriage return"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_files_change_nothing_and_say_why(plant: Plant, case: str) -> None:
    content, told = REFUSED[case]
    before = plant.state()
    done = plant.land(content)
    assert (done.state, done.received) == ("refused", 0)
    assert told in (done.error or "")
    assert plant.state() == before
    assert receipt(plant.conn, done.batch_id or 0).error == done.error


def test_a_header_alone_lands_no_rows(plant: Plant) -> None:
    assert counts(plant.land(f"{HEADER}temperature\n")) == (0, 0, 0, 0, 0)


def test_mapping_constants_and_zone_come_from_the_delivery(plant: Plant) -> None:
    done = plant.land(
        "when,wert\n2026-07-01 12:00:00,21.5\n",
        columns={"when": "event_timestamp", "wert": "temperature"},
        constants={"machine_id": "m9", "sensor_type": "press"},
        timezone="Europe/Berlin",
    )
    assert plant.measurements() == {("m9", "press", "2026-07-01T10:00:00.000000"): {"temperature": 21.5}}
    assert done.preview == [
        {
            "line": 2,
            "event_timestamp": "2026-07-01T10:00:00+00:00",
            "machine_id": "m9",
            "sensor_type": "press",
            "temperature": 21.5,
        }
    ]


def test_contradictory_mappings_are_refused(plant: Plant) -> None:
    text = f"{HEADER}temperature,t2\n"
    assert "no column 'temprature' (did you mean temperature?)" in (
        plant.land(text, columns={"temprature": "vibration"}).error or ""
    )
    assert "both mean temperature" in (plant.land(text, columns={"t2": "temperature"}).error or "")
    assert "machine_id is set to 'x'" in (plant.land(text, constants={"machine_id": "x"}).error or "")


def test_unknown_columns_become_new_readings(plant: Plant) -> None:
    done = plant.land(f'{HEADER}"; drop table x,flag\n{AT.format(0)},m,press,3,true\n'.replace('"; drop', "'; drop"))
    assert done.new_readings == ["'; drop table x", "flag"]
    assert list(plant.measurements().values()) == [{"'; drop table x": 3, "flag": True}]


def test_unknown_datasets_name_the_nearest(plant: Plant) -> None:
    with pytest.raises(UnknownDataset, match="did you mean fleet"):
        receive(
            plant.conn, plant.settings, plant.definitions, io.BytesIO(b"x"),
            dataset="fleat", file_name="x", delivery=Delivery(), channel="upload", by="test",
        )  # fmt: skip
    assert not plant.settings.zone.exists()


def test_a_dry_run_tells_the_same_and_keeps_nothing(plant: Plant, tmp_path: Path) -> None:
    text = f"{HEADER}temperature,new\n{AT.format(0)},m,press,1,1\n{AT.format(0)},m,press,2,1\n{AT.format(1)},m,press,x,1\n"
    (tmp_path / "f.csv").write_text(text)
    before = plant.state()
    dry = dry_run(plant.conn, plant.settings, plant.definitions, tmp_path / "f.csv", dataset="fleet", delivery=Delivery())
    assert (dry.state, dry.batch_id) == ("dry_run", None)
    assert plant.state() == before
    assert plant.rows("select count(*) from landing.batches") == [(0,)]
    assert plant.rows("select last = 'epoch' from warehouse.clock") == [(True,)]
    done = plant.land(text)
    same = {"received", "loaded", "corrected", "duplicate", "quarantined", "errors", "days", "preview", "new_readings", "dialect"}
    assert dry.model_dump(include=same) == done.model_dump(include=same)
    (tmp_path / "f.csv").write_bytes(b"")
    refused = dry_run(plant.conn, plant.settings, plant.definitions, tmp_path / "f.csv", dataset="fleet", delivery=Delivery())
    assert refused.state == "refused"


def test_a_lost_or_changed_file_of_the_landing_zone_fails_and_is_tried_again(plant: Plant) -> None:
    text = f"{HEADER}temperature\n{AT.format(0)},m,press,1\n"
    received = plant.receive(text)
    kept = plant.settings.zone / received.sha256[:2] / received.sha256
    kept.write_text(text + f"{AT.format(1)},m,press,2\n")
    before = plant.state()
    failed = land(plant.conn, plant.settings, plant.definitions, received.batch_id)
    assert (failed.state, plant.state()) == ("failed", before)
    assert "SHA-256 differs" in (failed.error or "")
    kept.unlink()
    assert "has lost" in (land(plant.conn, plant.settings, plant.definitions, received.batch_id).error or "")
    assert [batch.attempts for batch in ledger.waiting(plant.conn, 10)] == [2]
    kept.write_text(text)
    assert counts(land(plant.conn, plant.settings, plant.definitions, received.batch_id)) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: data.decode().encode("utf-16")], ids=["plain", "gzip", "utf-16"]
)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_file_cut_off_after_planning_fails_and_is_not_refused(
    plant: Plant, pack: Callable[[bytes], bytes], kept: float
) -> None:
    """What is wrong with it came after it was received, so it is not the sender who must mend it."""
    data = pack((f"{HEADER}temperature\n" + "".join(f"{AT.format(i)},m,press,{i}\n" for i in range(9))).encode())
    received = plant.receive(data)
    path = plant.settings.zone / received.sha256[:2] / received.sha256
    path.write_bytes(data[: int(len(data) * kept)])
    before = plant.state()
    failed = plant.again(received.batch_id)
    assert (failed.state, plant.state()) == ("failed", before)
    assert "SHA-256 differs" in (failed.error or "")
    path.write_bytes(data)
    assert counts(plant.again(received.batch_id)) == (9, 9, 0, 0, 0)


def test_real_data_lands_but_for_the_hour_that_is_in_it_twice(plant: Plant) -> None:
    project = Path(__file__).parents[2]
    file = project.parent / "shared/data/nab/machine_temperature_system_failure.csv"
    if not file.exists():
        pytest.skip("the NAB file is not on this machine")
    definitions = load(project / "feature_repo")
    delivery = Delivery(
        columns={"timestamp": "event_timestamp", "value": "temperature"},
        constants={"machine_id": "nab", "sensor_type": "press"},
        timezone="UTC",
    )
    received = receive(
        plant.conn, plant.settings, definitions, file,
        dataset="fleet", file_name=file.name, delivery=delivery, channel="upload", by="test",
    )  # fmt: skip
    done = land(plant.conn, plant.settings, definitions, received.batch_id)
    assert counts(done) == (22695, 22683, 0, 0, 12)
    assert [at for at, _, _ in plant.quarantine(done.batch_id)] == list(range(10151, 10163))
