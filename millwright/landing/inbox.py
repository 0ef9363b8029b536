"""The inbox: files dropped into inbox/<dataset>/ are received once they are whole, then removed from it.

Belongs here: which names are deliveries, when a file is whole. Does not: keeping bytes and planning (receive.py), waking.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from millwright.definitions import Definitions
from millwright.definitions.words import nearest
from millwright.landing.names import BadName, shown
from millwright.landing.receive import Delivery, Received, TooLarge, plan, store
from millwright.settings import Settings

_STABLE_SECONDS = 0.25
_TOLD = 20
_log = logging.getLogger(__name__)


def receive_inbox(conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions) -> list[Received]:
    """Receive every whole file of inbox/<dataset>/ in the order of names; a file is removed once its batch is committed.

    Whole: a regular file, unchanged for a quarter of a second or with `<name>.done` beside it. Links, hidden files, `*.tmp` and
    `*.part` are not deliveries. What cannot be received stays where it is and is logged (`problems` tells it too); a later call
    takes what was still being written. Raises psycopg.Error.
    """
    received: list[Received] = []
    for problem in problems(settings, definitions):
        _log.warning("%s", problem)
    for dataset in sorted(definitions.datasets):
        with _folder(settings.inbox / dataset) as folder:
            if folder is None:
                continue
            names = sorted(_deliveries(folder))
            _let_settle(folder, names)
            for name in names:
                try:
                    one = _receive_one(conn, settings, definitions, folder, dataset, name)
                except (OSError, TooLarge, BadName) as error:
                    why = error.strerror if isinstance(error, OSError) else error
                    _log.warning("inbox/%s/%s stays in the inbox: %s", dataset, shown(name), why)
                    continue
                if one is not None:
                    received.append(one)
    return received


def problems(settings: Settings, definitions: Definitions) -> list[str]:
    """What lies in the inbox and cannot be received, at most 20 things: folders of no dataset, files outside a folder, links,
    folders and devices among the files. They are left alone."""
    if not settings.inbox.is_dir():
        return []
    told = []
    for path in sorted(settings.inbox.iterdir()):
        name = shown(path.name)
        if path.name.startswith("."):
            continue
        if path.is_symlink() or not path.is_dir():
            told.append(f"inbox/{name} is in no dataset's folder: put it into inbox/<dataset>/. It was left alone.")
        elif path.name in definitions.datasets:
            told += _strange(path)
        elif any(path.iterdir()):
            told.append(
                f"inbox/{name}/ has files, but there is no such dataset{nearest(path.name, definitions.datasets)}. "
                "They were left alone. `millwright upload FILE --dataset NAME` proposes a dataset for a file."
            )
    return [*told[:_TOLD], f"… and {len(told) - _TOLD} more."] if len(told) > _TOLD else told


def _strange(folder: Path) -> list[str]:
    """What is in a dataset's folder and is no regular file."""
    with _folder(folder) as opened:
        if opened is None:
            return [
                f"inbox/{folder.name}/ cannot be opened by this user. Its files wait: give it the right to read and write it."
            ]
        with os.scandir(opened) as entries:
            found = sorted((entry.name, _kind(entry)) for entry in entries if not _hidden(entry.name))
    return [
        f"inbox/{folder.name}/{shown(name)} is {kind}, not a file: put the file itself there. It was left alone."
        for name, kind in found
        if kind
    ]


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "a link"
    if entry.is_dir(follow_symlinks=False):
        return "a folder"
    return "" if entry.is_file(follow_symlinks=False) else "a pipe or device"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.endswith((".tmp", ".part", ".done"))


@contextmanager
def _folder(path: Path) -> Iterator[int | None]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _deliveries(folder: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _hidden(entry.name) and entry.is_file(follow_symlinks=False):
                yield entry.name


def _let_settle(folder: int, names: list[str]) -> None:
    if any(not _settled(folder, name) for name in names):
        time.sleep(_STABLE_SECONDS)


def _settled(folder: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    age = time.time() - found.st_mtime
    return age >= _STABLE_SECONDS or age < -_STABLE_SECONDS or _done(folder, name)


def _done(folder: int, name: str) -> bool:
    try:
        os.stat(f"{name}.done", dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _receive_one(
    conn: psycopg.Connection[Any], settings: Settings, definitions: Definitions, folder: int, dataset: str, name: str
) -> Received | None:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode) or not _settled(folder, name):
            return None
        sha256, size = store(settings, file)
        if _identity(os.fstat(descriptor)) != _identity(before) or size != before.st_size:
            return None  # it grew while it was read
    told = os.fsencode(name).decode("utf-8", errors="replace")
    received = plan(
        conn, definitions.datasets[dataset], sha256, size, file_name=told, delivery=Delivery(), channel="inbox", by="inbox"
    )
    if _identity(os.stat(name, dir_fd=folder, follow_symlinks=False)) == _identity(before):
        os.unlink(name, dir_fd=folder)
        if _done(folder, name):
            os.unlink(f"{name}.done", dir_fd=folder)
    return received


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
