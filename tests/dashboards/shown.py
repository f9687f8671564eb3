"""What a page of the dashboard says, and the run that pages are tested with."""

from __future__ import annotations

from typing import Any

from tests.architecture.tree import ROOT

APP = ROOT / "dashboards" / "app.py"
CLIENTS = 12  # of the made run


def said(app: Any) -> str:
    """Every text on the page of a `streamlit.testing.v1.AppTest`."""
    return "\n".join(element.value for element in (*app.markdown, *app.caption, *app.info, *app.error, *app.success, *app.warning))


def pressed(app: Any, label: str) -> Any:
    """The page after a button was pressed; no trace is on it."""
    (button,) = (button for button in app.button if button.label == label)
    button.click()
    app.run()
    assert not app.exception, app.exception
    return app
