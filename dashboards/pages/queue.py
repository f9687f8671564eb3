"""Queue: which cases wait, in which order, and what looking at k of them would find."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboards.frame import address, asked_query, chosen, errors_shown, journal, link, reviewer, run
from trmfin.scoring.judgements import claim_next
from trmfin.scoring.queue import DECISIONS, SORTS, outlook, queue
from trmfin.scoring.review import STATES
from trmfin.scoring.views import told_score

look, asked, me = run(), st.query_params, reviewer()


def turn(page: int) -> None:
    st.query_params["page"] = str(page)


st.title("Queue")
if not look.rows:
    st.info("This run holds no scores, so nothing waits.")
    st.stop()
top = st.container()
with st.container(horizontal=True):
    chosen("Band", "band", [name for name, _ in look.policy.bands])
    chosen("Model says", "decision", list(DECISIONS))
    chosen("Review", "state", list(STATES))
    chosen("Sorted by", "sort", [name for name in SORTS if name != "score"], "score")
    search = st.text_input("Name of the sample has", value=asked.get("search", ""))
if search != asked.get("search", ""):
    asked["search"], asked["page"] = search, "1"
wanted = asked_query()
page = wanted.page
with errors_shown():
    found = queue(look, journal().reviewed(look.seal), wanted)
    pages = max(-(-found.total // wanted.size), 1)
    if page > pages:
        page, found = pages, queue(look, journal().reviewed(look.seal), replace(wanted, page=pages))
label = "Claim the first open case of these" if wanted.narrowed else "Claim the riskiest open case"
if me.may("claim") and top.button(label, type="primary"):
    with errors_shown():
        name = claim_next(look, journal(), me, wanted)
    if name:
        st.switch_page("pages/case.py", query_params=address(case=name))
    top.info(f"Nothing is left to claim: every {'' if wanted.narrowed else 'flagged '}case that fits is taken or decided.")
if not found.total:
    st.info("No case fits these filters. Set one of them back to all, or empty the search.")
    st.stop()
st.caption(f"{found.total:,} cases, page {page:,} of {pages:,}; scores lie in [0, 1], higher = riskier")
for row in found.rows.iter_rows(named=True):  # one element a row: of three each, a page takes three times as long
    reasons = "with reasons" if row["explained"] else ""
    told = [f"**{told_score(row['score'])}**", row["band"] or "no band", row["decision"], row["state"], row["owner"], reasons]
    link("case", f"{row['sample_id']} · {' · '.join(filter(None, told))}", case=row["sample_id"])
with st.container(horizontal=True):  # the address is changed before the page is made anew, so that it is made once
    st.button("Previous page", disabled=page <= 1, on_click=turn, args=(page - 1,))
    st.button("Next page", disabled=page >= pages, on_click=turn, args=(page + 1,))
st.subheader("What looking at some of them finds")
k = st.slider("I can look at so many cases, the riskiest first", 1, min(look.rows, 1000), min(look.policy.capacity or 100, look.rows, 1000))
with errors_shown():
    expected = outlook(look, k)
for column, (label, value) in zip(
    (*st.columns(3), *st.columns(3)),
    (
        ("Expected precision", f"{expected.precision:.1%}"),
        (f"Events found, {expected.recall:.1%} of all", f"{expected.found:,.1f}"),
        ("Lowest score looked at", f"{expected.cutoff:.4f}"),
        ("Events missed", f"{expected.missed:,.1f}"),
        ("Cost of what is missed", f"{look.policy.costs.false_negative * expected.missed:,.1f}"),
        ("Cost in all", f"{expected.cost:,.1f}"),
    ),
    strict=True,
):
    column.metric(label, value)
st.caption(
    "All are expected, if scores are calibrated: a score of .2 is an event in one of five cases. Costs are the policy's, in its own unit."
)
