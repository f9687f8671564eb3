"""Export: tables, and a zip for auditors. What leaves is an event of the journal."""

from __future__ import annotations

import streamlit as st

from dashboards.frame import errors_shown, exported, journal, reviewer, run
from trmfin.explaining.exports import audit_zip, csv
from trmfin.scoring.views import as_parquet, with_reviews

look, me = run(), reviewer()
st.title("Export")
if not me.may("export"):
    st.info("You may look, not export. It takes the role analyst, approver or compliance.")
    st.stop()
kinds = {
    "Scores with reviews (CSV)": "csv",
    "Scores with reviews (Parquet)": "parquet",
    "For auditors: all files, journal, SHA256SUMS (zip)": "zip",
}
kind = st.radio("What", list(kinds))
ending = kinds[kind]
if st.button("Make it"):
    with errors_shown(), st.spinner("Making the file…"):
        if ending == "zip":
            data = audit_zip(look, journal())
        else:
            table = with_reviews(look, journal().reviewed(look.seal))
            data = csv(table) if ending == "csv" else as_parquet(table)
    st.download_button(
        f"Download, {len(data) / 1e6:,.1f} MB",
        data,
        f"{look.folder.name}.{ending}",
        on_click=exported,
        args=(look.seal, "", ending),
    )
st.caption("Cells that a spreadsheet would run begin with an apostrophe in the CSV. Each download is noted in the journal.")
