"""Case: one score, why it is what it is at every step, what was done about it, and what to do now."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from dashboards.frame import (
    LAST,
    LOWERS,
    NEUTRAL,
    RAISES,
    asked_query,
    case_button,
    errors_shown,
    exported,
    journal,
    link,
    login_is_configured,
    no_case,
    replay,
    reviewer,
    run,
)
from trmfin.explaining.charts import NEITHER, by_step, events_of, gaps, timeline, waterfall
from trmfin.explaining.exports import browser, notice, pdf
from trmfin.explaining.pages import as_html, as_json, compared, otherwise, reasons_title, silence
from trmfin.explaining.peers import peers
from trmfin.explaining.record import record_of
from trmfin.scoring.queue import next_case
from trmfin.scoring.review import ACTIONS, OVERRIDES, OWNED, Step, possible
from trmfin.scoring.views import Problem, at_stake, told_score

MEANS = {  # what each step does, below the list of them; {model} and {people}: their decisions
    "claim": "Makes the case yours. Then you may decide it, refer it or ask for a document.",
    "release": "Gives the case back to the queue, undecided.",
    "accept": "Decides as the model does: {model}.",
    "override up": "Decides against the model: flagged.",
    "override down": "Decides against the model: not flagged.",
    "refer": "Hands the case to somebody who may approve.",
    "request document": "The case stays yours and waits until the document is there.",
    "approve": "Lets the override stand: {people}.",
    "reject": "Refuses the override; the case goes back to who proposed it.",
    "undo": "Takes the decision back; the case is what it was before it.",
}


def told(reasons: list[dict[str, Any]]) -> None:
    for reason in reasons:
        carried = f" · {', '.join(reason['event_ids'])}" if reason["event_ids"] else ""
        st.markdown(f"{reason['rank']}. **{reason['code']}** {reason['text']}  \n:gray[{reason['contribution']:+.3f} log-odds{carried}]")


def draw_events(record: dict[str, Any]) -> None:
    """Events in time, coloured by what the reasons that name them do to the score, and what the data lack."""
    money, events = timeline(record)
    if len(events):
        marks = (
            alt.Chart(events)
            .mark_point(size=70, filled=True, opacity=1)
            .encode(
                x=alt.X("event_time:T", title="time of the event (UTC)"),
                y=alt.Y("height:Q", title=money or None, axis=alt.Axis() if money else None),
                color=alt.Color(
                    "kind:N",
                    scale=alt.Scale(domain=["raises", "lowers", NEITHER], range=[RAISES, LOWERS, NEUTRAL]),
                    title="its reasons",
                    legend=alt.Legend(orient="bottom"),
                ),
                shape=alt.Shape(
                    "kind:N",
                    scale=alt.Scale(domain=["raises", "lowers", NEITHER], range=["square", "diamond", "circle"]),
                    title="its reasons",
                    legend=alt.Legend(orient="bottom"),
                ),
                tooltip=[
                    "event_id",
                    "event_time",
                    "event_type",
                    alt.Tooltip("height:Q", format=",.2f", title=money or "height"),
                    alt.Tooltip("carries", title="reasons that name it"),
                ],
            )
        )
        st.altair_chart(marks, width="stretch")
    for gap in gaps(record):
        st.caption(f"Data gap: {gap}.")


def draw_peers(record: dict[str, Any]) -> None:
    """Cases that were not flagged although much the same drives their scores."""
    st.subheader("Nearest cases that were not flagged")
    found = peers(look, record)
    for row in found.iter_rows(named=True):
        differs = f"{row['differs_in']} {row['by']:+.3f} log-odds here"
        case_button(f"{row['sample_id']} · {told_score(row['score'])} · differs most in {differs}", row["sample_id"])
    if found.is_empty():
        st.caption("None has a record in this run. Score with --explain all, or topk:N with more of them.")
    else:
        st.caption("Near in what drives their scores, by the players' values.")


look, name, me = run(), st.query_params.get("case", ""), reviewer()
if not name:
    st.title("Case")
    no_case("case", "No case is chosen. Open one from the queue.")
with errors_shown():
    row, record, case = look.row(name), record_of(look, name), journal().case(look.seal, name)
    past = journal().history(look.seal, name)
    names = journal().words([word for event in past for word in (event.who, event.note) if word])
if row is None:
    st.title(name)
    no_case("case", "This run has no such sample. Check the address, or choose the case from the queue.")
st.session_state[LAST] = name
st.title(name)
owner = names.get(case.owner, "somebody erased") if case.owner else ""
by = (f", proposed by {owner}" if case.state == "awaiting second" else f" by {owner}") if owner else ""
by += f": {case.decision}" if case.decision else ""
st.markdown(
    f"**Score {told_score(row['score'])}** · band {row['band']} · {row['decision']} by the model at a cut-off of "
    f"{look.policy.cutoff:.4g} · review: **{case.state}**{by}"
)
left, right = st.columns([3, 2])
with left:
    if record is None:
        st.info(
            "This score has no record: it was not among those that `--explain` asked for, so its reasons are not told. It can be reviewed "
            "all the same. Score with `--explain adverse` for the reasons of every flagged case."
        )
    else:
        for why in record["needs_human"]:
            st.warning(f"A person must look: {why}.")
        st.subheader(reasons_title(record) if record["needs_human"] else "Why")
        told(record["reasons"])
        if not record["reasons"]:
            st.markdown(silence(record))
        if record["mitigating"]:
            st.markdown("What lowers it:")
        told(record["mitigating"])
        if record["counterfactual"]:
            st.markdown(f"What would have led to another result: {otherwise(record)}.")
        steps = waterfall(record)
        chart = (
            alt.Chart(steps)
            .mark_bar()
            .encode(
                y=alt.Y("part:N", sort=None, title=None),
                x=alt.X("start:Q", title="log-odds", scale=alt.Scale(zero=False)),
                x2="end:Q",
                color=alt.Color(
                    "kind:N", scale=alt.Scale(domain=["raises", "lowers", "whole"], range=[RAISES, LOWERS, NEUTRAL]), title=None
                ),
                tooltip=["part", alt.Tooltip("value:Q", format="+.3f")],
            )
        )
        st.altair_chart(chart, width="stretch")
        st.caption(
            f"From the comparison to the score; {compared(record)}. Log-odds of 0 are a score of .5, more are riskier. The parts miss the "
            f"run's log-odds by {record['attribution']['residual']:.1e}."
        )
        st.subheader("At each recursion step")
        st.caption("The model goes over its answer step by step; the last one counts.")
        st.dataframe(
            by_step(record),
            hide_index=True,
            width="stretch",
            column_config={"log_odds": "log-odds", "halt": "could stop here", "strongest": "strongest part", "adds": "which adds"},
        )
        st.subheader("Events")
        draw_events(record)
        st.dataframe(events_of(record), hide_index=True, width="stretch", column_config={"carries": "reasons that name it"})
        with errors_shown():
            draw_peers(record)
        link("whatif", "What if something were otherwise?", case=name)
        if me.may("export"):
            with st.container(horizontal=True):
                page = as_html(record)
                st.download_button("Case file (HTML)", page, f"{name}.html", "text/html", on_click=exported, args=(look.seal, name, "html"))
                program = browser()
                if program and st.button("Print as PDF"):
                    with errors_shown(), st.spinner("Printing…"):
                        printed = pdf(page, program)
                    st.download_button(
                        "Download the PDF", printed, f"{name}.pdf", "application/pdf", on_click=exported, args=(look.seal, name, "pdf")
                    )
                text = as_json(record)
                st.download_button(
                    "Record (JSON)", text, f"{name}.json", "application/json", on_click=exported, args=(look.seal, name, "json")
                )
                if row["decision"] == "flagged" and record["reasons"] and not record["needs_human"]:
                    draft = notice(record)
                    st.download_button("Draft of a notice", draft, f"{name}.txt", on_click=exported, args=(look.seal, name, "notice"))
                again = st.button("Replay this record")
            if again:
                replay(look, [record])
with right:
    st.subheader("Review")
    rules, stake, mine = journal().policy, at_stake(record), owner == me.name
    steps_now, seen = possible(case, me, mine, row["decision"]), f"{look.seal} {name} {case.version}"  # what is typed is of this case alone
    if not any(me.may(action) for action in ACTIONS):
        st.info("You may look, not act.")
    elif case.state == "awaiting second":
        told_by = (
            f"An override where more than {rules.four_eyes_above / 100:,.2f} is at stake, or not told, takes four eyes. {owner} proposed it"
        )
        if steps_now:
            st.info(f"{told_by}.")
        else:
            their = "" if login_is_configured() else " Theirs is a dashboard on the same journal, started with `--reviewer` and their name."
            st.info(f"{told_by}; a second person, an approver, opens this page and approves or rejects.{their}")
    elif case.state in OWNED and not mine:
        st.info(f"{owner} works on this case; only they may decide it, until it is released.")
    elif case.state == "referred" and not steps_now:
        st.info("The case was referred, and waits for an approver to claim it.")
    elif not steps_now:
        st.info("There is nothing to do here now.")
    if steps_now:  # a claim stands ready; a decision is chosen first, so that a second click on a button decides nothing
        ready = 0 if steps_now == ["claim"] else None
        action = st.selectbox("What to do", steps_now, index=ready, placeholder="Choose", key=f"step {seen}")
        if action is None:
            st.caption("Choose one to see what it does.")
        else:
            st.caption(MEANS[action].format(model=row["decision"], people=case.decision))
            if action in OVERRIDES and rules.takes_two(stake):
                st.caption(
                    f"With {'an unknown amount' if stake is None else f'{stake / 100:,.2f}'} at stake a second person must approve it."
                )
            code = st.selectbox("Code", rules.codes, key=f"code {seen}") if action in OVERRIDES else ""
            note = st.text_area("Note" + (f", at least {rules.least_note} characters" if action in OVERRIDES else ""), key=f"note {seen}")
            if st.button(action.capitalize(), type="primary"):
                step = Step(action=action, code=code, note=note.strip(), model_decision=row["decision"], at_stake=stake)
                try:
                    journal().act(me, look.seal, name, step, seen=case.version, record=record["sha256"] if record else "")
                except Problem as problem:
                    st.error(str(problem), icon=":material/error:")
                else:
                    st.rerun()
    with errors_shown():
        following = next_case(look, journal().reviewed(look.seal), name, asked_query())
    if following:
        case_button("Next open case", following)
    link("queue", "Back to the queue")
    st.subheader("What was done")
    for event in reversed(past):
        said = f" · {event.code}" if event.code else ""
        st.markdown(f"**{event.action}**{said} · {names.get(event.who, 'somebody erased')} · {event.time[:16].replace('T', ' ')} UTC")
        if event.note:
            st.caption(names.get(event.note, "the note was erased"))
    if not past:
        st.caption("Nothing yet.")
