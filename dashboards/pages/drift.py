"""Drift: whether this run's scores and fields still look as in training, or as in another run."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from dashboards.frame import LOWERS, NEUTRAL, chosen, errors_shown, folders, opened_run, run
from trmfin.scoring.drift import MUCH, SOME, NotComparable, drift
from trmfin.scoring.field_drift import field_bins, field_drift
from trmfin.scoring.views import Run

TRAINING = "the bundle's training data"
COLOURS = {
    "stable": "green",
    "some drift": "orange",
    "much drift": "red",
    "too few to tell": "gray",
    "no cells now": "red",
    "no cells then": "red",
    "no cells": "gray",
}
PERCENT = st.column_config.NumberColumn(format="percent")


def then_and_now(table: Any, title: str) -> None:
    """Shares of each bin as two bars. table: bin, reference, now."""
    long = table.unpivot(["reference", "now"], index="bin", variable_name="run", value_name="share")
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("bin:N", title=title, sort=table["bin"].to_list(), axis=alt.Axis(labelAngle=-40, labelLimit=200, labelOverlap=False)),
            xOffset=alt.XOffset("run:N", sort=["reference", "now"]),
            y=alt.Y("share:Q", title="share", axis=alt.Axis(format="%")),
            color=alt.Color("run:N", scale=alt.Scale(domain=["reference", "now"], range=[NEUTRAL, LOWERS]), title=None),
            tooltip=["run", "bin", alt.Tooltip("share:Q", format=".1%")],
        )
    )
    st.altair_chart(bars, width="stretch")


def show_scores(look: Run, against: Run | None) -> None:
    found = drift(look, against)
    numbers = {
        "Population stability index": f"{found.psi:.4f}",
        "Expected by chance": f"{found.by_chance:.4f}",
        "Without a score, then and now": f"{found.missing[0]:.1%}, {found.missing[1]:.1%}",
        "Index of the steps used": f"{found.steps_psi:.4f}",
    }
    for column, (label, value) in zip(st.columns(len(numbers)), numbers.items(), strict=True):
        column.metric(label, value)
    {"stable": st.success, "some drift": st.warning, "much drift": st.error, "too few to tell": st.info}[found.verdict](
        f"{found.verdict.capitalize()}: below {SOME:g} little moved, from {MUCH:g} on a lot did; chance alone must give less."
    )
    then_and_now(found.bins, "score")
    st.caption(
        "Bins hold a tenth of the reference each. Of training, the reference is what members said of samples that they held out; a member "
        "alone spreads further than their mean, which a run has."
    )
    st.caption(
        f"This run was scored with {look.manifest['settings']['steps']} steps at most and a halting margin of {look.policy.halt_epsilon:g} "
        "log-odds. Where the reference had others, scores and steps differ for that reason too."
    )
    st.subheader("Steps used")
    st.dataframe(found.steps, hide_index=True, width="stretch", column_config={"reference": PERCENT, "now": PERCENT})


def show_fields(look: Run, against: Run | None) -> None:
    table = field_drift(look, against)
    st.dataframe(
        table.with_columns(table["verdict"].reshape((-1, 1)).arr.to_list()),
        hide_index=True,
        width="stretch",
        column_config={
            "at": st.column_config.TextColumn("where"),
            "verdict": st.column_config.MultiselectColumn(options=list(COLOURS), color=list(COLOURS.values())),
            "psi": st.column_config.NumberColumn("index", format="%.4f"),
            "by_chance": st.column_config.NumberColumn("by chance", format="%.4f"),
            "missing_then": st.column_config.NumberColumn("missing then", format="percent"),
            "missing_now": st.column_config.NumberColumn("missing now", format="percent"),
            "cells_then": st.column_config.NumberColumn("cells a sample then", format="%.2f"),
            "cells_now": st.column_config.NumberColumn("cells a sample now", format="%.2f"),
        },
    )
    st.caption(
        "The worst first, by the same index of each field; missing cells are a bin too. Fields of events are counted as the model sees "
        "them, once for every sample whose history holds the event: cells of one client are not independent, so that chance moves "
        "them further than is told."
    )
    places = {f"{field} at {at}": (field, at) for field, at in table.select("field", "at").iter_rows()}
    worst = next(iter(places))
    name = chosen("Field", "field", list(places), nothing=f"the worst, {worst}") or worst
    then_and_now(field_bins(look, against, *places[name]), name)


look = run()
st.title("Drift")
if not look.rows:
    st.info("This run holds no scores: its input had no rows. Score a folder with samples.")
    st.stop()
others = [name for name, folder in folders().items() if folder != look.folder]
named = chosen("Compared with", "against", others, nothing=TRAINING)
if look.profiles is None and not named:
    st.info(
        "This run is older than profiles of its data, so it cannot be compared with training. Score again into another folder, or "
        "compare its scores with another run's: start with `python -m trmfin.dashboard RUN EARLIER_RUN` and choose it above."
    )
    st.stop()
against = opened_run(named) if named else None
for title, show in (("Where scores were and are", show_scores), ("Fields, then and now", show_fields)):
    st.subheader(title)
    with errors_shown():
        try:
            show(look, against)
        except NotComparable as reason:
            st.info(str(reason))
