"""A real browser edits cells: what it sends back is what the What-if page reads, and the scorer process ends with the dashboard."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.browser.serving import CHROMIUM, FLAGS, RUN, STEP, opened_case, served, taken

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("streamlit", reason="streamlit is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
BUNDLE = RUN.parent / "bundle"
GRID = "canvas[data-testid=data-grid-canvas]"
FIRST_CELL = {"x": 20, "y": 52}  # below the header, pixels; what scrolls lies above the canvas, so clicks are forced


def scorers(bundle: Path) -> set[int]:
    """Processes that run the scorer with a bundle."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if {b"trmfin.explaining.scorer", str(bundle).encode()} <= set(path.read_bytes().split(b"\0")):
                found.add(int(path.parent.name))
        except OSError:  # it has just ended
            continue
    return found


def pick(page: Any, grid: Any) -> None:
    """Selects a table's first cell; where something else had the focus, the first click may only take it."""
    for _ in range(4):
        grid.click(position=FIRST_CELL, force=True)
        page.wait_for_timeout(700)
        if grid.locator("td[aria-selected=true]").count():
            return
    pytest.fail("the cell cannot be selected")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes cannot be listed here")
def test_what_is_edited_by_hand_is_scored_and_nothing_stays_behind(tmp_path: Path) -> None:
    errors: list[str] = []
    bundle = Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))  # no other process has it
    with served(f"sqlite:///{tmp_path}/journal.db", "ann", tmp_path, more=("--bundle", str(bundle))) as shown:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = opened_case(browser, shown.address, errors)
            page.get_by_role("link", name="What if something were otherwise?").click()
            page.get_by_text("Not a decision").wait_for()
            own = page.locator(GRID).nth(0)
            pick(page, own)  # education
            page.keyboard.press("Enter")
            page.locator("textarea.gdg-input").fill("university")
            page.keyboard.press("Enter")
            sync_api.expect(own).to_contain_text("university", timeout=STEP)
            page.get_by_role("button", name="Score it so").click()
            page.get_by_text("Reasons it would have").wait_for()
            changes = page.locator(GRID).nth(2)
            sync_api.expect(changes).to_contain_text("university", timeout=STEP)
            taken(page, "whatif")
            browser.close()
        assert len(scorers(bundle)) == 1
    end = time.monotonic() + 30
    while scorers(bundle) and time.monotonic() < end:
        time.sleep(0.1)
    assert scorers(bundle) == set()
    assert [error for error in errors if "_stcore" not in error and "404" not in error] == []
