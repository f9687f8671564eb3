"""Every page in a real browser: drawn without an error, by its address alone, on a wide screen and on a phone, by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.browser.serving import CASE, CHROMIUM, FLAGS, RUN, STEP, Served, served, taken
from trmfin.data.files import raw_from_frame
from trmfin.scoring.journal import Journal
from trmfin.scoring.outcomes import append
from trmfin.scoring.views import opened

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("streamlit", reason="streamlit is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
PAGES = {  # address → heading, how many charts are on it
    f"case?run=run&case={CASE}": (CASE, 2),
    "": ("Portfolio", 1),
    "queue": ("Queue", 0),
    f"whatif?run=run&case={CASE}": (f"What if: {CASE}", 0),
    "performance": ("Performance", 2),
    "drift": ("Drift", 2),
    "export": ("Export", 0),
    "audit": ("Model and audit", 0),
}
SCREENS = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
CHART = ".stVegaLiteChart canvas, .stVegaLiteChart svg"


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Served]:
    """A copy of the sample run that knows what happened."""
    folder = Path(shutil.copytree(RUN, tmp_path / "run"))
    samples = pl.read_parquet(RUN.parent / "prepared" / "samples.parquet")
    told = samples.select("sample_id", pl.col("target_default").alias("outcome"), pl.col("target_default_known_at").alias("known_at"))
    append(opened(folder), raw_from_frame(told.drop_nulls("outcome"), "outcomes"), datetime(2025, 6, 1, tzinfo=UTC))
    with served("sqlite:///journal.db", "ann", tmp_path, folder, more=("--bundle", str(RUN.parent / "bundle"))) as found:
        yield found


def test_every_page_is_drawn_by_its_address_on_every_screen(shown: Served) -> None:
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for screen, size in SCREENS.items():
            page = browser.new_page(viewport=size, color_scheme="light" if screen == "wide" else "dark")
            page.set_default_timeout(STEP)
            page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
            for address, (heading, charts) in PAGES.items():
                page.goto(f"{shown.address}/{address}")
                page.get_by_role("heading", name=heading, exact=True).wait_for()
                sync_api.expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0, timeout=STEP)  # it has run to its end
                sync_api.expect(page.locator(CHART)).to_have_count(charts, timeout=STEP)
                assert page.locator("[data-testid=stException], [data-testid=stAlertContentError]").count() == 0, heading
                across = page.evaluate("document.documentElement.scrollWidth")
                assert across <= size["width"], f"{heading} is {across} pixels wide on a {screen} screen"
                if screen == "wide":
                    taken(page, address.partition("?")[0] or "portfolio")
            page.close()
        browser.close()
    assert [error for error in errors if "_stcore" not in error and "404" not in error] == []


def test_the_first_case_is_opened_by_keyboard_alone(shown: Served) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SCREENS["wide"])
        page.set_default_timeout(STEP)
        page.goto(f"{shown.address}/queue")
        page.get_by_role("link", name=CASE).wait_for()
        for _ in range(60):
            page.keyboard.press("Tab")
            if CASE in page.evaluate("document.activeElement.tagName == 'A' ? document.activeElement.textContent : ''"):
                break
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=CASE).wait_for()
        assert f"case={CASE}" in page.url.replace("%40", "@")
        browser.close()


def test_the_address_goes_on_to_the_next_case_and_a_claim_is_of_that_one(shown: Served, tmp_path: Path) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=SCREENS["wide"])
        page.set_default_timeout(STEP)
        page.goto(f"{shown.address}/case?run=run&case={CASE}")
        page.get_by_role("button", name="Next open case").click()
        page.get_by_role("heading", name=CASE).wait_for(state="detached")
        following = page.locator("h1").inner_text()
        page.get_by_role("button", name="Claim", exact=True).click()
        page.get_by_text("claimed by ann").wait_for()
        assert f"case={following}" in page.url.replace("%40", "@")
        browser.close()
    run = opened(tmp_path / "run")
    with Journal(f"sqlite:///{tmp_path}/journal.db", create=False) as journal:
        assert [journal.case(run.seal, name).state for name in (CASE, following)] == ["open", "claimed"]
