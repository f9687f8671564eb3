"""Model and audit: which model made the scores, whether every byte stands, and whether the journal does."""

from __future__ import annotations

import streamlit as st

from dashboards.frame import bundle, errors_shown, journal, replay, run
from trmfin.explaining.asking import card_of
from trmfin.explaining.record import checks_of, record_of
from trmfin.explaining.replayed import CHOICES, to_replay
from trmfin.scoring.folder import verify_run
from trmfin.scoring.judgements import judgements, overrides
from trmfin.scoring.outcomes import outcomes
from trmfin.scoring.views import Problem

look = run()
st.title("Model and audit")
st.markdown(f"Bundle `{look.manifest['bundle']['sha256']}`, task `{look.manifest['bundle']['task']}`, policy {look.policy.version}")
st.caption(f"Reviews are kept in {journal().name}.")
st.dataframe([{"what": name, "version": version} for name, version in look.manifest["versions"].items()], hide_index=True)
if st.button("Check every byte of this run"):
    with errors_shown(), st.spinner("Hashing…"):
        verify_run(look.folder)
    st.success(f"{len(look.manifest['files'])} files are as they were written.")
if st.button("Check the journal"):
    with errors_shown(), st.spinner("Following the chain…"):
        count, end = journal().verify()
    st.success(f"Chain intact, {count:,} events. It ends with {end}; note that hash where nobody can write the journal.")
with st.expander("Model card"):
    try:
        st.markdown(card_of(bundle(look)))
    except Problem as problem:
        st.info(str(problem))
st.subheader("Replay")
if look.records is None:
    st.info("This run has no records to replay: score with `--explain adverse`, `topk:N` or `all`.")
else:
    st.markdown("A replay works a record's score and reasons out again, from the record's own data and the bundle, and compares.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        count = st.number_input("Records", 1, 100, 5)
        choice = st.selectbox("Which", CHOICES)
        asked = st.button("Replay records")
    if asked:
        with errors_shown():
            names = to_replay(look, count, choice)
            records = [record for name in names if (record := record_of(look, name))]
        st.caption(f"{choice.capitalize()}: {', '.join(names)}")
        replay(look, records)
st.subheader("What people made of the scores")
with errors_shown():
    reviewed = journal().reviewed(look.seal).select("sample_id", "case")
    found = judgements(journal().events(look.seal))
    table = overrides(found, outcomes(look.folder).join(reviewed, on="sample_id"))
decided = len(found.decisions)
if not decided:
    st.caption("Nothing was decided yet.")
else:
    st.markdown(
        f"{decided:,} cases decided, **{found.overridden:,} ({found.overridden / decided:.1%}) otherwise than the model**; "
        f"{found.rejected:,} overrides refused by a second person, {found.undone:,} decisions taken back."
    )
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        column_config={
            "share": st.column_config.NumberColumn("share of decided", format="percent"),
            "second": "by a second person",
            "hours": st.column_config.NumberColumn("median hours from claim", format="%.2f"),
            "known": "outcome known",
            "event_rate": st.column_config.NumberColumn("of these, happened", format="percent"),
        },
    )
    st.caption("An override down was right where little of it happened, an override up where much of it did.")
st.subheader("Release checks of the records")
with errors_shown():
    checks = checks_of(look)
if checks.is_empty():
    st.caption("This run has no records. Score with --explain adverse, say.")
else:
    told = look.manifest["records"]
    st.markdown(f"{told['count']:,} records, of which {told['needs_human']:,} release no reason and need a person.")
    st.dataframe(checks, hide_index=True, width="stretch", column_config={"said": "result"})
