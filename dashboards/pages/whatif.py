"""What if: a case with some of its values edited, and the score that the model would have given it. Nothing is written anywhere."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboards.frame import LAST, bundle, errors_shown, link, no_case, run, scorer
from trmfin.explaining.pages import silence
from trmfin.explaining.record import record_of
from trmfin.explaining.whatif import KEEP, Sheet, differences, edited, sheets, steps, task_of
from trmfin.scoring.views import told_score

NUMBERS = {"integer": {"step": 1}, "number": {}, "money": {"step": 0.01, "format": "%.2f"}}


def shown(sheet: Sheet, key: str) -> None:
    """The sheet as a table to be edited; what was edited stands in the session's state under the key."""
    config: dict[str, Any] = {KEEP: st.column_config.CheckboxColumn(help="Without the tick the event is left out")}
    for column in sheet.columns:
        if column.kind in NUMBERS:
            config[column.name] = st.column_config.NumberColumn(**NUMBERS[column.kind])
        elif column.kind == "time":
            config[column.name] = st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
        elif column.kind == "day":
            config[column.name] = st.column_config.DateColumn(format="YYYY-MM-DD")
    fixed = [column.name for column in sheet.columns if column.fixed]
    st.data_editor(sheet.rows, key=key, hide_index=True, width="stretch", num_rows="fixed", disabled=fixed, column_config=config)


def told(where: Any, inference: dict[str, Any], title: str) -> None:
    where.metric(title, told_score(inference["score"]))
    where.markdown(f"band {inference['band']} · {inference['decision']} at a cut-off of {inference['cutoff']:.4g}")


look, name = run(), st.query_params.get("case", "")
st.title(f"What if: {name}" if name else "What if")
st.warning("**Not a decision:** nothing is written, to the run or to the journal.", icon=":material/science:")
if not name:
    no_case("whatif", "No case is chosen. Open one from the queue, and follow its link to this page.")
with errors_shown():
    row, record = look.row(name), record_of(look, name)
if row is None:
    no_case("whatif", "This run has no such sample. Check the address, or choose the case from the queue.")
st.session_state[LAST] = name
link("case", "Back to the case", case=name)
if record is None:
    st.info("This score has no record, so its data are not at hand. Score with `--explain all`, say.")
    st.stop()
with errors_shown():
    found = sheets(record, task_of(bundle(look), record))
keys = [f"{part} of {look.seal} {name}" for part in ("sample", "events")]
with st.form("edits"):
    for title, sheet, key in zip(("The case's own values", "Its events, newest first"), found, keys, strict=True):
        st.subheader(title)
        shown(sheet, key)
    asked = st.form_submit_button("Score it so", type="primary")
st.caption(
    "Who and when cannot be edited. A column that was worked out from others does not follow them: edit it too. "
    "In the place of an event that is left out no older one comes."
)
if not asked:
    st.stop()
with errors_shown(), st.spinner("Scoring…"):
    case = record["data"]["case"]
    after = edited(case, found, *(st.session_state[key]["edited_rows"] for key in keys))
    answer = scorer(look).score(look.manifest, after)
left, right = st.columns(2)
told(left, record["inference"], "Score")
told(right, answer["inference"], "What if")
st.subheader("What is otherwise")
changes = differences(case, after, record["data"]["money"])
if changes.is_empty():
    st.info("Nothing was edited.")
st.dataframe(changes, hide_index=True, width="stretch")
st.subheader("Log-odds after each recursion step")
st.dataframe(steps(record["inference"], answer["inference"]), hide_index=True, width="stretch")
st.subheader("Reasons it would have" if not answer["needs_human"] else "Candidates for reasons it would have, not released")
for why in answer["needs_human"]:
    st.warning(f"A person must look: {why}.")
for reason in answer["reasons"]:
    st.markdown(f"{reason['rank']}. **{reason['code']}** {reason['text']}  \n:gray[{reason['contribution']:+.3f} log-odds]")
if not answer["reasons"]:
    st.markdown(silence(answer))
