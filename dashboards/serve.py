"""Streamlit's own command, with what every page needs loaded beforehand.

A page's first visit then does not wait for it, and two first pages at once do not find a library half loaded by the other. And Streamlit
takes a folder `pages` beside the app for its own, older kind of pages until the app has run once: whoever opened a server's first page by
its address would get it without the frame, so it is told beforehand that the app names its pages itself.
"""

from __future__ import annotations

import altair as alt
from streamlit import dataframe_util
from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import cli

from dashboards import frame
from trmfin.explaining import charts, exports, pages, peers, record, whatif
from trmfin.scoring import challengers, field_drift, judgements, performance

LOADED = (alt, frame, charts, exports, pages, peers, record, whatif, challengers, field_drift, judgements, performance)

if __name__ == "__main__":
    dataframe_util.convert_anything_to_pandas_df([])  # loads pandas, as the first table would
    PagesManager.uses_pages_directory = False
    cli.main()
