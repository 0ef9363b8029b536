"""The inbox takes whole regular files and nothing else, and removes a file only when its batch is committed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millwright.landing import inbox
from millwright.landing.inbox import problems, receive_inbox
from millwright.landing.load import land
from millwright.warehouse.connect import connect
from tests.landing.conftest import HEADER, Plant, counts

TEXT = f"{HEADER}temperature\n2026-03-01T00:00:00Z,m,press,1\n"


@pytest.fixture
def folder(plant: Plant) -> Path:
    path = plant.settings.inbox / "fleet"
    path.mkdir(parents=True)
    return path


def names(plant: Plant) -> list[str]:
    return [received.file_name for received in receive_inbox(plant.conn, plant.settings, plant.definitions)]


def test_a_whole_file_is_received_and_removed(plant: Plant, folder: Path) -> None:
    (folder / "b.csv").write_text(TEXT)
    (folder / "a.csv").write_text(TEXT + "\n")
    received = receive_inbox(plant.conn, plant.settings, plant.definitions)
    assert [one.file_name for one in received] == ["a.csv", "b.csv"]
    assert list(folder.iterdir()) == []
    assert counts(land(plant.conn, plant.settings, plant.definitions, received[0].batch_id)) == (1, 1, 0, 0, 0)
    assert plant.rows("select source, planned_by, file_bytes from landing.batches order by batch_id limit 1") == [
        ("inbox", "inbox", len(TEXT) + 1)
    ]
    (folder / "again.csv").write_text(TEXT)
    assert receive_inbox(plant.conn, plant.settings, plant.definitions)[0].already
    assert list(folder.iterdir()) == []


def test_what_is_no_delivery_stays(plant: Plant, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_text(TEXT)
    (folder / "link.csv").symlink_to(outside)
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "fifo.csv")
    for name in (".hidden.csv", "x.csv.tmp", "x.csv.part", "x.csv.done"):
        (folder / name).write_text(TEXT)
    assert names(plant) == []
    assert len(list(folder.iterdir())) == 7
    assert problems(plant.settings, plant.definitions) == [
        f"inbox/fleet/{name}.csv is {kind}, not a file: put the file itself there. It was left alone."
        for name, kind in (("fifo", "a pipe or device"), ("folder", "a folder"), ("link", "a link"))
    ]
    assert not plant.settings.zone.exists()


def test_a_linked_dataset_folder_is_not_followed(plant: Plant, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.csv").write_text(TEXT)
    plant.settings.inbox.mkdir()
    (plant.settings.inbox / "fleet").symlink_to(elsewhere)
    assert names(plant) == []
    assert (elsewhere / "a.csv").exists()


def test_files_of_an_unknown_dataset_are_told_and_left_alone(plant: Plant, folder: Path) -> None:
    stray = plant.settings.inbox / "fleat"
    stray.mkdir()
    (stray / "a.csv").write_text(TEXT)
    (plant.settings.inbox / "loose.csv").write_text(TEXT)
    assert names(plant) == []
    told = problems(plant.settings, plant.definitions)
    assert len(told) == 2
    assert "did you mean fleet" in told[0]
    assert "no dataset's folder" in told[1]
    assert (stray / "a.csv").exists()


def test_a_file_that_is_being_written_waits_unless_done_lies_beside_it(
    plant: Plant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "grows.csv").write_text(TEXT)
    with monkeypatch.context() as patched:
        patched.setattr(inbox.time, "sleep", lambda _: (folder / "grows.csv").write_text(TEXT * 2))
        assert names(plant) == []
    (folder / "grows.csv.done").touch()
    assert names(plant) == ["grows.csv"]
    assert list(folder.iterdir()) == []


def test_a_file_that_grows_while_it_is_read_is_not_planned(plant: Plant, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder / "a.csv"
    file.write_text(TEXT)
    store = inbox.store

    def slow(*arguments):
        found = store(*arguments)
        file.write_text(TEXT * 2)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "store", slow)
        assert names(plant) == []
    assert file.exists()
    assert plant.rows("select count(*) from landing.batches") == [(0,)]


def test_a_file_larger_than_the_limit_stays_and_the_others_are_taken(plant: Plant, folder: Path) -> None:
    (folder / "a.csv").write_text(TEXT * 10)
    (folder / "b.csv").write_text(TEXT)
    plant.settings = plant.settings.model_copy(update={"max_file_bytes": len(TEXT)})
    assert names(plant) == ["b.csv"]
    assert [path.name for path in folder.iterdir()] == ["a.csv"]
    assert not list(plant.settings.zone.glob(".*"))


def test_odd_names_are_received(plant: Plant, folder: Path) -> None:
    (folder / "a\nb'; --.csv").write_text(TEXT)
    (folder / os.fsdecode(b"caf\xe9.csv")).write_text(TEXT + "\n")
    assert sorted(names(plant)) == ["a_b'; --.csv", "caf�.csv"]


def test_a_name_is_told_on_one_short_line_wherever_it_is_told(
    plant: Plant, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    longest = "ä" * 125 + ".csv"
    (folder / longest).write_text(TEXT)
    (folder / "\u202e\n").write_text(TEXT)  # nothing is left of it
    stray = plant.settings.inbox / os.fsdecode(b"no\nsuch\xff")
    stray.mkdir()
    (stray / "a.csv").write_text(TEXT)
    (folder / "a\nlink").symlink_to(stray)
    assert names(plant) == [longest]
    assert [path.name for path in folder.iterdir() if path.is_file() and not path.is_symlink()] == ["\u202e\n"]
    told = [*problems(plant.settings, plant.definitions), *caplog.messages]
    assert any("fleet/__ stays in the inbox: The file has no name" in line for line in told)
    assert all(line.isprintable() and len(line) < 500 for line in told), told


def test_a_file_swapped_for_a_link_or_a_pipe_after_it_was_seen_is_not_followed(
    plant: Plant, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked at twice: in the folder, and when it is opened, without following and without waiting."""
    outside = tmp_path / "secret.csv"
    outside.write_text(TEXT)
    (folder / "a.csv").write_text(TEXT)
    (folder / "b.csv").write_text(TEXT)

    def swap(descriptor: int, found: list[str]) -> None:
        for name in found:
            (folder / name).unlink()
        (folder / "a.csv").symlink_to(outside)
        os.mkfifo(folder / "b.csv")

    monkeypatch.setattr(inbox, "_let_settle", swap)
    assert names(plant) == []
    assert plant.rows("select count(*) from landing.batches") == [(0,)]
    assert outside.exists()


def test_the_same_file_again_or_under_two_names_is_one_batch(plant: Plant, folder: Path) -> None:
    (folder / "a.csv").write_text(TEXT)
    (folder / "b.csv").write_text(TEXT)
    first = receive_inbox(plant.conn, plant.settings, plant.definitions)
    assert [(one.batch_id, one.already) for one in first] == [(1, False), (1, True)]
    land(plant.conn, plant.settings, plant.definitions, 1)
    before = plant.state()
    (folder / "a.csv").write_text(TEXT)
    (again,) = receive_inbox(plant.conn, plant.settings, plant.definitions)
    assert (again.batch_id, again.already, again.state) == (1, True, "landed")
    assert (list(folder.iterdir()), plant.state()) == ([], before)


def test_a_file_that_is_replaced_while_it_is_read_is_kept_for_the_next_look(
    plant: Plant, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.csv").write_text(TEXT)
    planned = inbox.plan

    def late(*arguments, **options):
        (folder / ".new").write_text(TEXT * 2)
        (folder / ".new").replace(folder / "a.csv")
        return planned(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(inbox, "plan", late)
        assert names(plant) == ["a.csv"]
    assert (folder / "a.csv").read_text() == TEXT * 2
    assert names(plant) == ["a.csv"]
    assert plant.rows("select file_bytes from landing.batches order by batch_id") == [(len(TEXT),), (len(TEXT) * 2,)]


def test_one_inbox_looked_at_by_two_at_once_is_received_once(plant: Plant, folder: Path) -> None:
    for number in range(20):
        (folder / f"{number}.csv").write_text(TEXT.replace("m,press", f"m{number},press"))

    def look(_: int) -> None:
        with connect(plant.url, autocommit=True) as conn:
            receive_inbox(conn, plant.settings, plant.definitions)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(look, range(2)))
    assert list(folder.iterdir()) == []
    assert plant.rows("select count(*), count(distinct sha256) from landing.batches") == [(20, 20)]
