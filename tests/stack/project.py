"""A project of its own in a temporary folder, and `millwright` called in it as a person would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from millwright.stack.server import free_port
from millwright.stack.supervise import MARK

ROOT = Path(__file__).parents[2]
DEFINITIONS = """\
import dagster as dg


@dg.asset
def greeting() -> str:
    return "hello"


defs = dg.Definitions(assets=[greeting])
"""


class Project:
    """A folder with our dagster.yaml and workspace.yaml and one small asset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".millwright"
        self.definitions = folder / "platform_assets" / "definitions.py"
        self.definitions.parent.mkdir(parents=True)
        # Only the definitions are the test's own; the runner and the launcher are the shipped ones.
        (self.definitions.parent / "__init__.py").write_text(f"__path__.append({str(ROOT / 'platform_assets')!r})\n")
        self.definitions.write_text(DEFINITIONS)
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / name, folder / name)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLWRIGHT_", "DAGSTER_"))}
        if jars := os.environ.get("MILLWRIGHT_KAFKA_JARS"):
            kept["MILLWRIGHT_KAFKA_JARS"] = jars
        self.environment = kept | {
            "MILLWRIGHT_WEBSERVER_PORT": str(free_port()),
            "MILLWRIGHT_API_PORT": str(free_port()),
            "PYTHONPATH": str(ROOT),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`millwright …` without waiting."""
        return subprocess.Popen(
            [sys.executable, "-m", "millwright.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """`millwright …`; fails the test unless it exits with `code`."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=180)
        assert process.returncode == code, f"millwright {' '.join(arguments)} exited with {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """The one object that `millwright … --json` prints."""
        found: dict[str, Any] = json.loads(self.call(*arguments, "--json", code=code).stdout)
        return found

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this project."""
        found = []
        for process in psutil.process_iter():
            try:
                inside = self.home in Path(process.cwd()).parents
                if inside or process.environ().get(MARK) == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found


@contextmanager
def project(folder: Path) -> Iterator[Project]:
    """A project in `folder`; at the end nothing of it runs, whatever happened."""
    made = Project(folder.resolve())
    try:
        yield made
    finally:
        made.start("down").communicate(timeout=60)
        for process in made.processes():
            process.kill()
