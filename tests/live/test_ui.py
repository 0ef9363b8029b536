"""The Dagster UI as a person sees it: lineage, an asset's page, a partition materialized, a backfill of two days."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.dagster.conftest import HEADER, rows
from tests.live.up import Up, until

pytestmark = [pytest.mark.xdist_group("live"), pytest.mark.kafka, pytest.mark.browser]
VIEW = "machine_vitals_v1"
DAY = datetime(2026, 4, 1, 12, tzinfo=UTC)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
# The dialog shows the last 90 days.
RECENT = [(datetime.now(UTC) - timedelta(days=days)).date().isoformat() for days in (12, 11, 10)]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def landed(live: Up) -> Up:
    """A day of two presses, served."""
    live.drop(
        "browser.csv", [HEADER, *rows("press-21", DAY, 40), *rows("press-22", DAY, 40), f"{DAY.isoformat()},press-23,press,hot"]
    )
    until(lambda: "2026-04-01" in live.days("online", VIEW), "the file was not served")
    return live


@pytest.fixture
def page(landed: Up, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of the UI; where SCREENSHOTS names a folder, what was seen last is kept there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        made = browser.new_page(base_url=landed.url, viewport={"width": 1500, "height": 1100})
        made.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield made
        if folder := os.environ.get("SCREENSHOTS"):
            made.screenshot(path=str(Path(folder) / f"{request.node.name}.png"))
        browser.close()


def materialize(page: Page, *days: str) -> None:
    """Choose days in the dialog that *Materialize…* opens, and launch."""
    page.get_by_role("button", name=re.compile("Materialize…")).first.click()
    expect(page.get_by_text("Launch runs to materialize")).to_be_visible()
    field = page.get_by_placeholder("No matching partitions").or_(page.get_by_placeholder(re.compile("^ex: "))).last
    field.fill(f"[{days[0]}...{days[-1]}]" if len(days) > 1 else days[0])
    field.press("Enter")
    page.get_by_role("button", name=re.compile("Launch (backfill|1 run)")).click()


def test_lineage_opens(page: Page):
    page.goto("/asset-groups")
    for group in ("landing", "warehouse", "features", "feast", "online"):
        expect(page.get_by_text(group, exact=True).first).to_be_visible()
    page.goto(f"/assets/features/{VIEW}?view=lineage&lineageScope=neighbors")
    expect(page.get_by_text("measurements").first).to_be_visible()
    expect(page.get_by_text("4 / 5 Passed").first).to_be_visible()  # freshness warns: the rows are months old


def test_an_assets_page_shows_what_it_is(page: Page):
    page.goto(f"/assets/features/{VIEW}?view=overview")
    for text in ("Short-term thermal and mechanical state of a press.", "one row per machine_id and event timestamp"):
        expect(page.get_by_text(text).first).to_be_visible()
    expect(page.get_by_text("Mean temperature of the last hour. [degC]")).to_be_visible()
    expect(page.get_by_text("reliability@example.com").first).to_be_visible()
    expect(page.get_by_text(f"features.{VIEW}", exact=True).first).to_be_visible()
    expect(page.get_by_role("link", name="planner").first).to_be_visible()
    expect(page.get_by_role("link", name="refresh").first).to_be_visible()
    page.goto(f"/assets/features/{VIEW}?view=checks")
    for check in ("schema", "unique_key", "declared_ranges", "freshness", "non_empty"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    page.get_by_text("freshness", exact=True).first.click()
    expect(page.get_by_text(re.compile("newest event within 2 h")).first).to_be_visible()


def test_a_materialization_shows_numbers_and_a_preview(page: Page):
    page.goto("/assets/warehouse/measurements?view=partitions&partition=2026-04-01")
    for name in ("quarantined", "lag_seconds", "preview"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_a_landed_batch_shows_its_receipt(page: Page, landed: Up):
    """Where it arrived and on the run's page: counts, errors by kind, first rows."""
    page.goto("/assets/landing/csv/fleet?view=events")
    page.get_by_text("browser.csv", exact=True).first.click()
    for name in ("quarantined", "settings_hash", "errors", "preview", "days"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    for text in ("not_a_number", "'hot' is not a number"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
    page.goto("/assets/warehouse/measurements?view=partitions&partition=2026-04-01")
    for name in ("receipts", "errors"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_the_run_of_a_batch_shows_its_receipt(page: Page, landed: Up):
    """The run's log stands at its end and shows what is near: it is scrolled back to the delivery."""
    run = next(mark["runId"] for mark in landed.marks("warehouse", "measurements") if mark["partition"] == "2026-04-01")
    page.goto(f"/runs/{run}")
    expect(page.get_by_text("RUN_SUCCESS").first).to_be_visible()
    page.mouse.move(1000, 800)

    def seen() -> bool:
        page.mouse.wheel(0, -400)
        return page.get_by_text("ASSET_OBSERVATION").first.is_visible()

    until(seen, "the delivery is not in the run's log")
    event = page.locator("div", has=page.get_by_text("ASSET_OBSERVATION")).get_by_text("View full message").first
    event.click()
    for text in ("browser.csv", "settings_hash", "not_a_number", "'hot' is not a number"):
        expect(page.get_by_text(text, exact=True).first).to_be_visible()


def test_the_sensor_says_what_it_does(page: Page):
    page.goto("/locations/__repository__@millwright/sensors/planner")
    expect(page.get_by_text("asks for one run that takes them all").first).to_be_visible()
    expect(page.get_by_text("1 run requested").first).to_be_visible()


def test_a_partition_is_materialized_and_succeeds(page: Page, landed: Up):
    before = {run["runId"] for run in landed.runs()}
    page.goto(f"/assets/features/{VIEW}?view=partitions")
    materialize(page, RECENT[0])
    runs = until(lambda: [run for run in landed.runs() if run["runId"] not in before and run["endTime"]], "no run ended")
    assert [run["status"] for run in runs] == ["SUCCESS"]
    assert RECENT[0] in landed.days("features", VIEW)
    page.goto(f"/runs/{runs[0]['runId']}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()


def test_a_backfill_of_two_days_completes(page: Page, landed: Up):
    page.goto(f"/assets/features/{VIEW}?view=partitions")
    materialize(page, *RECENT[1:])
    until(lambda: set(RECENT[1:]) <= landed.days("features", VIEW), "the days were not marked", 120)
    page.goto("/runs?view=backfills")
    expect(page.get_by_text(re.compile("Completed|Success")).first).to_be_visible(timeout=90_000)
