"""The commands of docs/serving.md and docs/keys.md, typed in their order against an API with real stores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from millwright.registry import apply
from millwright.serving import keys
from millwright.serving.health import router as health
from millwright.settings import Settings
from millwright.warehouse.connect import connect
from tests import platforms
from tests.docs.test_commands import commands
from tests.docs.test_pages import DOCS
from tests.serving.server import uvicorn


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")
def test_the_pages_commands_do_what_they_say(tmp_path: Path, database: str, redis_url: str) -> None:
    settings = platforms.settings(tmp_path, database, redis_url, feast=False)
    apply(settings)
    with connect(settings.require("postgres_url"), autocommit=True) as conn:
        key = keys.create_key(conn, name="reader", scopes=["read"])
        old = keys.create_key(conn, name="old", scopes=["read"])
        variables = {"KEY": key.key, "ID": old.key_id}
        with uvicorn(settings) as url:
            told = {page: _typed(settings, DOCS / page, {"API": url, **variables}) for page in ("serving.md", "keys.md")}
            text = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {key.key}"}).text
        revoked = [each.name for each in keys.list_keys(conn).keys if each.revoked_at]
    rows, vectors, *_ = (json.loads(answer) for answer in told["serving.md"][:2])
    assert rows["rows"][0]["features"]["machine_vitals_v1:temperature_last"]["status"] == "NOT_FOUND"
    assert len(vectors["results"][0]["values"]) == 2
    assert revoked == ["old"]
    named = re.findall(r"`(millwright_\w+)`", (DOCS / "serving.md").read_text(encoding="utf-8"))
    assert len(named) == 8
    assert [name for name in named if name.removesuffix("_total") not in text] == []
    assert {route.path for route in health.routes} == {"/healthz", "/readyz", "/metrics"}  # type: ignore[attr-defined]


def _typed(settings: Settings, page: Path, variables: dict[str, str]) -> list[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILLWRIGHT_", "DAGSTER_"))}
    urls = {f"MILLWRIGHT_{name.upper()}": settings.require(name) for name in ("postgres_url", "redis_url")}
    environment = kept | urls | variables | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    told = []
    for command in commands(page):
        done = subprocess.run(
            ["bash", "-c", command], cwd=settings.project, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        told.append(done.stdout)
    return told


def test_every_error_word_that_the_page_names_is_given() -> None:
    page = (DOCS / "serving.md").read_text(encoding="utf-8")
    words = set(re.findall(r"`([a-z]+_[a-z_]+)`", "".join(re.findall(r"^\| 4.*|^\| 5.*", page, re.MULTILINE))))
    source = "".join(path.read_text(encoding="utf-8") for path in Path(keys.__file__).parent.glob("*.py"))
    assert len(words) > 10
    assert [word for word in words if f'"{word}"' not in source] == []
