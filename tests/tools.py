"""A pytest plugin for the system parts that some tests need: skipped with what to install, or failed under --require-tools.

Belongs here: which marker needs which program, whether groups are kept together. Does not: starting programs (servers.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

INSTALL = {
    "browser": ("chromium", "apt-get install chromium"),
    "debian_redis": ("redis-server", "apt-get install redis-server"),
    "java17": ("a Java runtime, 17 or later", "apt-get install openjdk-17-jre-headless"),
}


def _has(marker: str) -> bool:
    if marker == "java17":
        java = shutil.which("java")
        version = subprocess.run([java, "-version"], capture_output=True, text=True).stderr if java else ""
        found = re.search(r'version "(\d+)', version)
        return found is not None and int(found[1]) >= 17
    return shutil.which(INSTALL[marker][0]) is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-tools", action="store_true", help="fail, not skip, where chromium, redis-server or Java 17 is missing"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MISSING] = {marker for marker in INSTALL if not _has(marker)}


_MISSING = pytest.StashKey[set[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Some pairs of pytest and xdist put no group together and say nothing: then every worker starts every platform."""
    grouped = (item.nodeid for item in items if item.get_closest_marker("xdist_group"))
    if getattr(config.option, "loadgroup", False) and not all("@" in name for name in grouped):
        raise pytest.UsageError("pytest-xdist does not keep groups of tests together: install the locked versions by `make env`")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in sorted(item.config.stash[_MISSING]):
        if item.get_closest_marker(marker):
            tool, command = INSTALL[marker]
            if item.config.getoption("--require-tools"):
                pytest.fail(f"{tool} is missing: {command}", pytrace=False)
            pytest.skip(f"{tool} is missing: {command}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker in sorted(config.stash[_MISSING]):
        tool, command = INSTALL[marker]
        terminalreporter.write_line(f"Not tested, because {tool} is missing. Install it with: {command}", yellow=True)
