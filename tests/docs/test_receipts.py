"""The commands of docs/receipts.md, typed in their order on a platform of their own, with what the page says of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millwright import flow
from millwright.landing.batches import waiting
from millwright.platform import Platform, open_platform
from millwright.registry import apply
from tests import platforms
from tests.docs.test_commands import DONE_WITH_QUARANTINE, commands
from tests.docs.test_pages import DOCS, blocks

PAGE = DOCS / "receipts.md"


@pytest.fixture
def platform(tmp_path: Path, database: str, redis_url: str) -> Iterator[Platform]:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings, by="test")
    with open_platform(settings) as opened:
        yield opened


@pytest.fixture
def runs(platform: Platform) -> Iterator[None]:
    """What the daemon does: whatever waits is landed, refreshed and published."""
    stop = threading.Event()

    def plan() -> None:
        with open_platform(platform.settings) as mine:
            while not stop.wait(0.02):
                list(flow.run(mine, batches=[batch.batch_id for batch in waiting(mine.conn, 10)]))

    thread = threading.Thread(target=plan)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.timeout(300)
def test_the_pages_commands_do_what_it_says(platform: Platform, runs: None, tmp_path: Path) -> None:
    settings = platform.settings
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLWRIGHT_", "DAGSTER_"))}
    urls = {f"MILLWRIGHT_{name.upper()}": settings.require(name) for name in ("postgres_url", "redis_url")}
    environment = kept | urls | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    told: dict[str, str] = {}
    for command in commands(PAGE):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        told[command] = done.stdout
        good = {0, DONE_WITH_QUARANTINE} if " upload " in command or " batches" in command else {0}
        assert done.returncode in good, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    (shown,) = [block for block in blocks(PAGE, "console") if "$ cat errors.csv" in block]
    assert told["cat errors.csv"].splitlines() == shown.splitlines()[3:]
    receipt = json.loads(told["millwright batches 1 --json"])
    assert [receipt[name] for name in ("state", "received", "loaded", "quarantined")] == ["landed", 3, 1, 2]
    assert "timestamp → event_timestamp" in told["millwright batches 1"]
    assert "1 of 2 rows are open. Repaired: 1 by batch 2." in told["millwright quarantine 1"]
    rows = platform.conn.execute("select batch_id, state from landing.batches order by 1").fetchall()
    assert [state for _, state in rows[1:]] == ["undone", "undone"]
    assert rows[0][1] in ("planned", "landing", "landed")
