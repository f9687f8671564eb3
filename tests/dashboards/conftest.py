"""A run with records, and the dashboard opened on a page of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.dashboards.shown import APP, CLIENTS
from tests.explaining.runs import ASKED, Made, explained


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return explained(tmp_path_factory.mktemp("shown"), clients=CLIENTS, asked=replace(ASKED, which="topk:5", counterfactual=True))


@pytest.fixture
def page(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Opens a page by its name, of the made run unless said, with parameters in the address; with bundles only where they are given."""
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    monkeypatch.setenv("TRMFIN_JOURNAL", f"sqlite:///{tmp_path}/journal.db")
    monkeypatch.setenv("TRMFIN_REVIEWER", "ann")
    monkeypatch.setattr("dashboards.frame.at_this_machine", lambda: True)

    def open_(name: str = "portfolio", runs: Path | None = None, bundles: tuple[Path, ...] = (), **params: str) -> AppTest:
        monkeypatch.setenv("TRMFIN_RUNS", str(runs or made.run))
        monkeypatch.setenv("TRMFIN_BUNDLES", os.pathsep.join(map(str, bundles)))
        app = AppTest.from_file(str(APP), default_timeout=60)
        for key, value in params.items():
            app.query_params[key] = value
        if name != "portfolio":
            app.switch_page(f"pages/{name}.py")
        app.run()
        assert not app.exception, app.exception
        return app

    yield open_
    for cache in (st.cache_resource, st.cache_data):
        cache.clear()
