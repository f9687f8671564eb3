"""Portfolio: how many scores there are, where they lie, and what waits for people."""

from __future__ import annotations

from datetime import UTC, datetime

import altair as alt
import streamlit as st

from dashboards.frame import LOWERS, NEUTRAL, RAISES, errors_shown, journal, link, run
from trmfin.scoring.drift import NotComparable, drift
from trmfin.scoring.judgements import waiting
from trmfin.scoring.views import by_band, distribution

look = run()
st.title("Portfolio")
st.caption(f"{look.name} · scored {look.manifest['times']['finished'][:16].replace('T', ' ')} UTC · policy {look.policy.version}")
if not look.rows:
    st.info("This run holds no scores: its input had no rows. Score a folder with samples.")
    st.stop()
with errors_shown():
    bands, scores, reviewed = by_band(look), distribution(look), journal().reviewed(look.seal)
    flagged, open_ = look.flagged, waiting(look, reviewed, datetime.now(UTC))
    try:
        found = drift(look)
        stability = f"{found.psi:.4f}"
        why = (
            f"{found.verdict.capitalize()}: the stability index is against the scores that the bundle was judged by; "
            f"chance would give {found.by_chance:.4f}. More on the page Drift."
        )
    except NotComparable as reason:
        stability, why = "not told", str(reason)
for column, (label, value) in zip(
    (*st.columns(3), *st.columns(3)),
    (
        ("Scores", f"{look.rows:,}"),
        (f"Flagged, at {look.policy.cutoff:.4g} or more", f"{flagged:,} ({flagged / look.rows:.1%})"),
        ("Explained", f"{look.manifest.get('records', {}).get('count', 0):,}"),
        ("Cases acted on", f"{len(reviewed):,}"),
        ("Cases that wait", f"{open_['cases'].sum():,}"),
        ("Population stability index", stability),
    ),
    strict=True,
):
    column.metric(label, value)
st.caption(why)
link("queue", "Open flagged cases", decision="flagged", state="open")
st.subheader("Where scores lie")
bars = (
    alt.Chart(scores)
    .mark_bar(color=NEUTRAL)
    .encode(
        x=alt.X("lower:Q", title="score (higher = riskier)", bin="binned", scale=alt.Scale(domain=[0, 1])),
        x2="upper:Q",
        y=alt.Y("share:Q", title="share of samples", axis=alt.Axis(format="%")),
        tooltip=["lower", "upper", "samples", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("share", "reference"))],
    )
)
then = alt.Chart(scores.drop_nulls("reference")).mark_rule(color=LOWERS, strokeWidth=3).encode(x="lower:Q", x2="upper:Q", y="reference:Q")
cut = alt.Chart({"values": [{"cutoff": look.policy.cutoff}]}).mark_rule(color=RAISES, strokeDash=[4, 3]).encode(x="cutoff:Q")
st.altair_chart(bars + then + cut, width="stretch")
st.caption(
    f"The dashed line is the policy's cut-off, {look.policy.cutoff:.4g}. Flat lines, where there are any, are the shares of the held-out "
    "scores that the bundle was judged by."
)
st.subheader("Bands")
st.dataframe(
    bands,
    hide_index=True,
    width="stretch",
    column_config={
        "upper": st.column_config.NumberColumn("highest score", format="%.3f"),
        "share": st.column_config.NumberColumn("share", format="percent"),
        "mean_score": st.column_config.NumberColumn("mean score", format="%.4f"),
    },
)
st.subheader("Waiting, by age")
if open_.is_empty():
    st.caption("Nothing waits: no case is flagged or under review and undecided.")
else:
    st.dataframe(open_, hide_index=True, width="stretch")
    st.caption("Flagged cases that nobody has acted on wait since the run was finished, others since they were last changed.")
