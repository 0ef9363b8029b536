"""Kafka's jars are the pinned ones, or nothing is run: broken and partial caches, no network, other bytes."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath

import pytest

from millwright.stack import jars
from millwright.stack.server import ServerError


@pytest.fixture
def pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[PurePosixPath, bytes]:
    """A pinned list of three small jars in place of Kafka's, and their bytes."""
    import hashlib

    contents = {PurePosixPath(f"org/example/{name}/1.0/{name}-1.0.jar"): name.encode() * 100 for name in ("a", "b", "c")}
    lines = [f"{hashlib.sha256(content).hexdigest()}  {path}" for path, content in contents.items()]
    (tmp_path / "pins.sha256").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(jars, "LIST", tmp_path / "pins.sha256")
    return contents


class Repository:
    """Stands for Maven Central, which tests cannot make fail."""

    def __init__(self, contents: dict[PurePosixPath, bytes]) -> None:
        self.contents = contents
        self.asked: list[str] = []

    def __call__(self, path: PurePosixPath, folder: Path) -> None:
        self.asked.append(path.name)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(self.contents[path])


def test_an_empty_cache_is_filled_and_then_left_alone(tmp_path: Path, pins: dict[PurePosixPath, bytes]) -> None:
    repository = Repository(pins)
    assert [path.name for path in jars.ensure(tmp_path / "cache", repository)] == ["a-1.0.jar", "b-1.0.jar", "c-1.0.jar"]
    jars.ensure(tmp_path / "cache", repository)
    assert sorted(repository.asked) == ["a-1.0.jar", "b-1.0.jar", "c-1.0.jar"]


def test_only_what_is_missing_or_broken_is_fetched_again(tmp_path: Path, pins: dict[PurePosixPath, bytes]) -> None:
    repository = Repository(pins)
    first, second, third = jars.ensure(tmp_path / "cache", repository)
    repository.asked.clear()
    first.write_bytes(first.read_bytes()[:-1])
    third.unlink()
    assert jars.ensure(tmp_path / "cache", repository) == [first, second, third]
    assert sorted(repository.asked) == ["a-1.0.jar", "c-1.0.jar"]
    assert jars.broken(tmp_path / "cache") == []


def test_without_a_network_it_says_what_to_do(tmp_path: Path, pins: dict[PurePosixPath, bytes]) -> None:
    def unreachable(path: PurePosixPath, folder: Path) -> None:
        raise ConnectionError("no route to host")

    with pytest.raises(
        ServerError, match=r"3 of Kafka's 3 jars are missing[\s\S]*no route to host[\s\S]*MILLWRIGHT_KAFKA_BOOTSTRAP"
    ):
        jars.ensure(tmp_path / "cache", unreachable)


def test_other_bytes_than_pinned_are_never_run(tmp_path: Path, pins: dict[PurePosixPath, bytes]) -> None:
    repository = Repository(dict.fromkeys(pins, b"something else"))
    with pytest.raises(ServerError, match="sha256 differs"):
        jars.ensure(tmp_path / "cache", repository)


def test_the_pinned_list_is_kafka_with_a_log_binding() -> None:
    names = {path.name for path in jars.pinned()}
    assert f"kafka_2.13-{jars.VERSION}.jar" in names
    assert any(name.startswith("log4j-slf4j-impl-") for name in names)
    assert all(len(digest) == 64 for digest in jars.pinned().values())


@pytest.mark.kafka
def test_a_truncated_jar_of_the_real_cache_is_fetched_again(tmp_path: Path) -> None:
    whole = jars.ensure()
    copy = tmp_path / "cache"
    shutil.copytree(jars.cache_folder(), copy)
    broken = copy / whole[0].relative_to(jars.cache_folder())
    broken.write_bytes(b"")

    def from_cache(path: PurePosixPath, folder: Path) -> None:
        shutil.copy(jars.cache_folder() / path, folder / path)

    assert jars.broken(copy) == [PurePosixPath(broken.relative_to(copy).as_posix())]
    assert len(jars.ensure(copy, from_cache)) == len(whole)
