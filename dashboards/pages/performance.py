"""Performance: how well the run's scores fit what happened since, as far as outcomes are known."""

from __future__ import annotations

import altair as alt
import streamlit as st

from dashboards.frame import NEUTRAL, RAISES, REPORTS, errors_shown, given, run
from trmfin.scoring.challengers import contest
from trmfin.scoring.performance import by, calibration, cost_curve, judged, metrics


def draw_challengers() -> None:
    """How others did that learnt from the same rows as models like this one, where an evaluation of its task is given."""
    st.subheader("Challengers")
    with errors_shown():
        told = contest(look, given(REPORTS))
    if told is None or not told.challenged:
        lacks = "No evaluation of this task is given." if told is None else "The evaluation that is given judged a finished bundle alone."
        st.caption(
            f"{lacks} Without `--bundle`, `python -m trmfin.evaluate` trains LightGBM, a logistic regression and others beside "
            "the recipe; start the dashboard with `--report` and the report.json that it wrote."
        )
        return
    st.caption(f"Not of this run: {told.words}. Means over folds or windows, all models on the same samples.")
    digits = st.column_config.NumberColumn(format="%.4f")
    st.dataframe(told.models, hide_index=True, width="stretch", column_config=dict.fromkeys(told.models.columns[1:], digits))
    if not told.less.is_empty():
        st.caption("What trm has more than each of them, with paired 95 % intervals. Of Brier and log-loss less is better.")
        st.dataframe(told.less, hide_index=True, width="stretch", column_config=dict.fromkeys(("difference", "low", "high"), digits))


look = run()
st.title("Performance")
with errors_shown():
    found = judged(look)
st.caption(f"{len(found.rows):,} of {found.scored:,} scores have a known outcome.")
if not found.enough:
    st.info(
        "Too few outcomes are known to judge anything: at least ten of either kind, of what happened and what did not. Add some with "
        f"`python -m trmfin.outcomes {look.folder} FILE`, a CSV with the columns sample_id and outcome (1: it happened, 0: it did not)."
    )
    draw_challengers()
    st.stop()
with errors_shown():
    table, curve, months, costs = metrics(found), calibration(found), by(found, "month"), cost_curve(found, look)
st.dataframe(
    table,
    hide_index=True,
    width="stretch",
    column_config={name: st.column_config.NumberColumn(format="%.4f") for name in ("value", "low", "high")},
)
st.caption("95 % bootstrap intervals over samples. AUC, KS, AP, Gini and lift: higher is better; Brier, log-loss and ECE: lower is.")
left, right = st.columns(2)
with left:
    st.subheader("Calibration")
    points = alt.Chart(curve).encode(x=alt.X("predicted:Q", title="mean score"), tooltip=["rows", "predicted", "observed"])
    bars = points.mark_rule(color=NEUTRAL).encode(y=alt.Y("low:Q", title="share that happened"), y2="high:Q")
    ends = [{"score": 0, "same": 0}, {"score": float(curve["high"].max()), "same": float(curve["high"].max())}]
    line = alt.Chart({"values": ends}).mark_line(strokeDash=[4, 3], color=NEUTRAL).encode(x="score:Q", y="same:Q")
    st.altair_chart(line + bars + points.mark_point(filled=True, color=RAISES).encode(y="observed:Q"), width="stretch")
with right:
    st.subheader("Cost of a cut-off")
    cost = alt.Chart(costs).mark_line(color=NEUTRAL).encode(x=alt.X("cutoff:Q", title="cut-off"), y=alt.Y("cost:Q", title="cost a sample"))
    now = alt.Chart({"values": [{"cutoff": look.policy.cutoff}]}).mark_rule(color=RAISES, strokeDash=[4, 3]).encode(x="cutoff:Q")
    st.altair_chart(cost + now, width="stretch")
    missed, stopped = look.policy.costs.false_negative, look.policy.costs.false_positive
    st.caption(f"By the policy's costs: {missed:g} for an event that is let through, {stopped:g} for a false alarm.")
st.subheader("By month of scoring")
st.dataframe(months, hide_index=True, width="stretch")
left, right = st.columns(2)
with left:
    st.subheader("By band")
    st.dataframe(by(found, "band"), hide_index=True, width="stretch")
with right:
    st.subheader("By segment")
    segments = by(found, "segment")
    if segments.is_empty():
        st.caption("No segments are told. Outcomes may have a column segment (a product, a branch) beside sample_id and outcome.")
    else:
        st.dataframe(segments, hide_index=True, width="stretch")
draw_challengers()
