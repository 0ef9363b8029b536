"""docs/redis.md: its commands fill an emptied Redis. (Its users are held by tests/online/test_servers.py.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from millwright.online import publish as module
from millwright.registry import set_status
from tests.docs.test_commands import commands
from tests.docs.test_pages import DOCS
from tests.online.conftest import NOON, Online, online

__all__ = ["online"]


def test_the_pages_commands_fill_an_emptied_redis(online: Online) -> None:
    online.history.put(["press-1"], NOON, temperature_last=1.0)
    set_status(online.settings, "machine_vitals_v1", "active")
    module.publish(online.conn, online.redis, online.definitions, online.view, project="millwright")
    online.redis.flushall()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLWRIGHT_", "DAGSTER_"))}
    urls = {f"MILLWRIGHT_{name.upper()}": online.settings.require(name) for name in ("postgres_url", "redis_url")}
    environment = kept | urls | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    for command in commands(DOCS / "redis.md"):
        done = subprocess.run(
            ["bash", "-c", command], cwd=online.settings.project, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    assert online.value("press-1").value == 1.0
    assert online.unpublished() == []
