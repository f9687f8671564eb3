"""Model and audit: which model made the scores, whether every byte stands, and whether the journal does."""

from __future__ import annotations

import streamlit as st

from dashboards.frame import errors_shown, journal, run
from trmfin.scoring.folder import verify_run

look = run()
st.title("Model and audit")
st.markdown(f"Bundle `{look.manifest['bundle']['sha256']}`, task `{look.manifest['bundle']['task']}`, policy {look.policy.version}")
st.dataframe([{"what": name, "version": version} for name, version in look.manifest["versions"].items()], hide_index=True)
if st.button("Check every byte of this run"):
    with errors_shown(), st.spinner("Hashing…"):
        verify_run(look.folder)
    st.success(f"{len(look.manifest['files'])} files are as they were written.")
if st.button("Check the journal"):
    with errors_shown(), st.spinner("Following the chain…"):
        count, end = journal().verify()
    st.success(f"Chain intact, {count:,} events. It ends with {end}; note that hash where nobody can write the journal.")
