"""Streamlit's own command, with what every page needs loaded beforehand: the first page does not wait for it."""

from __future__ import annotations

import altair as alt
from streamlit.web import cli

from dashboards import frame

LOADED = (alt, frame)

if __name__ == "__main__":
    cli.main()
