"""The dashboard's frame: which pages there are, which run is looked at, and who looks."""

from __future__ import annotations

import streamlit as st

from dashboards.frame import choose_run

st.set_page_config(page_title="trmfin", page_icon="📈", layout="wide")
page = st.navigation(
    [
        st.Page("pages/portfolio.py", title="Portfolio", icon=":material/donut_small:", default=True),
        st.Page("pages/queue.py", title="Queue", icon=":material/list:"),
        st.Page("pages/case.py", title="Case", icon=":material/person_search:"),
        st.Page("pages/whatif.py", title="What if", icon=":material/alt_route:"),
        st.Page("pages/performance.py", title="Performance", icon=":material/speed:"),
        st.Page("pages/drift.py", title="Drift", icon=":material/trending_flat:"),
        st.Page("pages/export.py", title="Export", icon=":material/download:"),
        st.Page("pages/audit.py", title="Model and audit", icon=":material/verified:"),
    ]
)
choose_run()
page.run()
