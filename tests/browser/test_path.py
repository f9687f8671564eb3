"""A real browser, two people, one journal: from the queue to a decision, a second pair of eyes, the case file and the checked chain.

With TRMFIN_SCREENSHOTS=docs/pictures the pages' pictures in the documents are taken anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.browser.serving import CASE, CHROMIUM, FLAGS, choose, opened_case, served, taken
from tests.scoring.databases import programs, server
from trmfin.scoring.journal import Journal

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("streamlit", reason="streamlit is not installed")
NOTE = "Seen the payslip of May, salary doubled."

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/journal.db"
        return
    if programs() is None:
        pytest.skip("PostgreSQL's programs are not installed here")
    with server() as database:
        yield database("reviews")


def test_from_the_queue_to_a_checked_chain(journal: str, tmp_path: Path) -> None:
    errors: list[str] = []
    with ExitStack() as stack:
        ann, ben = (stack.enter_context(served(journal, name, tmp_path)) for name in ("ann", "ben"))
        playwright = stack.enter_context(sync_api.sync_playwright())
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = opened_case(browser, ann.address, errors)
        page.get_by_role("button", name="Claim", exact=True).click()
        page.get_by_text("claimed by ann").wait_for()
        page.get_by_role("button", name="Claim", exact=True).wait_for(state="detached")
        choose(page, "What to do", "override down")
        choose(page, "Code", "income verified")
        page.get_by_label("Note, at least 20 characters").fill(NOTE)
        page.get_by_label("Note, at least 20 characters").press("Tab")
        page.get_by_role("button", name="Override down").click()
        page.get_by_text("awaiting second, proposed by ann: not flagged").wait_for()
        taken(page, "case", chart=True)
        with page.expect_download() as download:
            page.get_by_role("button", name="Case file").click()
        assert CASE in Path(download.value.path()).read_text()
        second = opened_case(browser, ben.address, errors)
        choose(second, "What to do", "approve")
        second.get_by_role("button", name="Approve").click()
        second.get_by_text("decided by ann").wait_for()
        second.get_by_text(NOTE).wait_for()
        second.reload()
        second.get_by_text("decided by ann").wait_for()  # what is looked at stands in the address
        second.get_by_role("link", name="Model and audit").click()
        second.get_by_role("button", name="Check the journal").click()
        second.get_by_text("Chain intact, 4 events").wait_for()
        taken(second, "audit")
        browser.close()
    assert [error for error in errors if "_stcore" not in error and "404" not in error] == []
    with Journal(journal, create=False) as found:
        assert found.verify()[0] == 4 and [event.action for event in found.events()] == ["claim", "override down", "export", "approve"]
