"""A real login by OpenID Connect: who may do what follows from it, and without it nobody may do anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser.provider import provider, secrets
from tests.browser.serving import CHROMIUM, FLAGS, STEP, Served, free_port, served
from trmfin.scoring.journal import Journal

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("streamlit", reason="streamlit is not installed")
pytest.importorskip("authlib", reason="authlib is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
ANN, EVE = "ann@bank.example", "eve@bank.example"
CASE = "/case?run=run&case=C000260@2024-05"


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Served]:
    """The sample run with a login, where Ann is an analyst and nobody else is anything."""
    port = free_port()
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / "roles.toml").write_text(f'"{ANN}" = ["analyst"]\n')
    with provider(ANN, EVE) as issuer:
        (tmp_path / ".streamlit" / "secrets.toml").write_text(secrets(issuer, port))
        options = ("--roles", str(tmp_path / "roles.toml"))
        with served(f"sqlite:///{tmp_path}/journal.db", "local", tmp_path, port=port, more=options) as found:
            yield found


def logged_in(browser: Any, address: str, person: str) -> Any:
    """A page of a browser of its own, on which somebody has logged in."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(STEP)
    page.goto(address)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name=person).click()
    page.get_by_text(f"{person}:").wait_for()
    return page


def test_roles_follow_from_the_login_and_without_one_nobody_acts(shown: Served, tmp_path: Path) -> None:
    with ExitStack() as stack:
        browser = stack.enter_context(sync_api.sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        nobody = browser.new_page()
        nobody.set_default_timeout(STEP)
        nobody.goto(shown.address + CASE)
        nobody.get_by_text("You may look, not act").wait_for()
        eve = logged_in(browser, shown.address, EVE)
        eve.get_by_text(f"{EVE}: viewer").wait_for()
        eve.goto(shown.address + CASE)
        eve.get_by_text("You may look, not act").wait_for()
        ann = logged_in(browser, shown.address, ANN)
        ann.get_by_text(f"{ANN}: analyst").wait_for()
        ann.goto(shown.address + CASE)
        ann.get_by_role("button", name="Claim", exact=True).click()
        ann.get_by_text(f"claimed by {ANN}").wait_for()
        ann.get_by_role("button", name="Log out").click()
        ann.get_by_role("button", name="Log in").wait_for()
        ann.goto(shown.address + CASE)
        ann.get_by_text("You may look, not act").wait_for()
        browser.close()
    with Journal(f"sqlite:///{tmp_path}/journal.db", create=False) as journal:
        (event,) = journal.events()
        assert event.action == "claim" and journal.words([event.who]) == {event.who: ANN}


def test_a_broken_file_of_secrets_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "secrets.toml").write_text('[auth]\nclient_id = "unclosed\n')
    with ExitStack() as stack:
        shown = stack.enter_context(served(f"sqlite:///{tmp_path}/journal.db", "local", tmp_path))
        browser = stack.enter_context(sync_api.sync_playwright()).chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(STEP)
        page.goto(shown.address + CASE)
        page.get_by_text("You may look, not act").wait_for()
        page.get_by_text("The file of secrets cannot be read").wait_for()
        assert page.get_by_role("button", name="Claim", exact=True).count() == 0
        browser.close()
