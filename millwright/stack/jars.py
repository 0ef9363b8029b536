"""Kafka's jars: a pinned list with sha256, fetched once into the user's cache by jgo, verified on every start.

Belongs here: the cache folder, verification, fetching. Does not: how Kafka is run (kafka).
`kafka_jars.sha256` is laid out as a Maven repository: `cd <cache> && sha256sum -c <list>` checks it by hand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path

from millwright.stack.server import ServerError

VERSION = "4.3.1"
LIST = Path(__file__).with_name("kafka_jars.sha256")
Fetch = Callable[[PurePosixPath, Path], None]


def cache_folder() -> Path:
    """Where the jars are kept for all projects of this user; `MILLWRIGHT_KAFKA_JARS` names another folder."""
    return Path(os.environ.get("MILLWRIGHT_KAFKA_JARS") or user_cache_path("millwright") / f"kafka-{VERSION}")


def pinned() -> dict[PurePosixPath, str]:
    """Path in the cache → sha256 of every jar of the class path."""
    lines = LIST.read_text(encoding="ascii").splitlines()
    return {PurePosixPath(path): digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def broken(folder: Path) -> list[PurePosixPath]:
    """The pinned jars that are missing in `folder` or have other bytes than pinned."""

    def is_broken(item: tuple[PurePosixPath, str]) -> bool:
        path = folder / item[0]
        return not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != item[1]

    jars = list(pinned().items())
    with ThreadPoolExecutor(4) as pool:
        return [path for (path, _), bad in zip(jars, pool.map(is_broken, jars), strict=True) if bad]


def ensure(folder: Path | None = None, fetch: Fetch | None = None) -> list[Path]:
    """Return the verified jars, fetching those that are missing or broken (44 MB the first time).

    Raises `ServerError` with what to do when they cannot be had.
    """
    folder = folder or cache_folder()
    if wanted := broken(folder):
        try:
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(lambda path: (fetch or _download)(path, folder), wanted))
        except Exception as error:
            raise ServerError(
                f"{len(wanted)} of Kafka's {len(pinned())} jars are missing in {folder} and could not be fetched: {error}\n"
                "They come from Maven Central once, then no network is needed. Connect and run it again, copy the folder from "
                "another machine, start without Kafka (`millwright up --only postgres,redis,dagster,api`), or set "
                "MILLWRIGHT_KAFKA_BOOTSTRAP to a Kafka of yours."
            ) from error
        if wrong := broken(folder):
            raise ServerError(
                f"Fetched jars are not the pinned ones (sha256 differs): {', '.join(path.name for path in wrong)}. "
                "A proxy or mirror changes them; nothing was run."
            )
    return [folder / path for path in pinned()]


def _download(path: PurePosixPath, folder: Path) -> None:
    """Fetch one jar with jgo's resolver; a broken file is replaced."""
    from jgo.maven import MavenContext, PythonResolver

    target = folder / path
    target.unlink(missing_ok=True)
    group, artifact, version = ".".join(path.parts[:-3]), path.parts[-3], path.parts[-2]
    context = MavenContext(resolver=PythonResolver(), repo_cache=folder, timeout=60)
    context.resolver.download(context.project(group, artifact).at_version(version).artifact())
