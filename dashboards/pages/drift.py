"""Drift: whether this run's scores still look like another's."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dashboards.frame import LOWERS, NEUTRAL, chosen, errors_shown, folders, opened_run, run
from trmfin.scoring.drift import MUCH, SOME, drift

look = run()
st.title("Drift")
others = [name for name, folder in folders().items() if folder != look.folder]
if not others:
    st.info("Drift needs a second run to compare with. Start with `python -m trmfin.dashboard RUN EARLIER_RUN`.")
    st.stop()
name = chosen("Compared with", "against", others, nothing=others[0]) or others[0]
with errors_shown():
    found = drift(look, opened_run(name))
for column, (label, value) in zip(
    st.columns(3),
    (
        ("Population stability index", f"{found.psi:.4f}"),
        ("Expected by chance", f"{found.by_chance:.4f}"),
        ("Without a score, then and now", f"{found.missing[0]:.1%}, {found.missing[1]:.1%}"),
    ),
    strict=True,
):
    column.metric(label, value)
{"stable": st.success, "some drift": st.warning, "much drift": st.error}[found.verdict](
    f"{found.verdict.capitalize()}: below {SOME:g} little moved, from {MUCH:g} on a lot did."
)
st.subheader("Where scores were and are")
long = found.bins.unpivot(["reference", "now"], index=["lower", "upper"], variable_name="run", value_name="share")
bars = (
    alt.Chart(long)
    .mark_bar()
    .encode(
        x=alt.X("lower:O", title="score from", axis=alt.Axis(format=".3f")),
        xOffset=alt.XOffset("run:N", sort=["reference", "now"]),
        y=alt.Y("share:Q", title="share of samples", axis=alt.Axis(format="%")),
        color=alt.Color("run:N", scale=alt.Scale(domain=["reference", "now"], range=[NEUTRAL, LOWERS]), title=None),
        tooltip=["run", "lower", "upper", alt.Tooltip("share:Q", format=".1%")],
    )
)
st.altair_chart(bars, width="stretch")
st.caption("Bins hold a tenth of the reference each.")
st.subheader("Steps used")
st.dataframe(found.steps, hide_index=True, width="stretch")
