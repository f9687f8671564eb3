"""The model card for people, written into each bundle from what training knows: the fields that US SR 26-2 asks of a model's file.

What only the user can say (how much hangs on the model, who may use it) is marked as theirs to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trmfin.learn.policy import Policy
from trmfin.learn.profile import MUCH
from trmfin.sequences.task import Task

NAMES = {"auc": "AUC", "ap": "average precision", "log_loss": "log-loss", "brier": "Brier score", "ece": "calibration error", "ks": "KS"}
THEIRS = "*To be written by whoever puts the model to use.*"


def model_card(card: Mapping[str, Any], task: Task, policy: Policy) -> str:
    """Markdown. card: the bundle's own."""
    return "\n".join(_lines(card, task, policy)) + "\n"


def _lines(card: Mapping[str, Any], task: Task, policy: Policy) -> Iterator[str]:
    yield f"# Model card: {task.name}"
    yield from _part("Purpose", f"{card.get('purpose', task.target(task.primary).meaning)}.")
    if "adapted" in card:
        yield from _part("Adapted", *_adapted(card["adapted"]))
    yield from _part("Materiality", f"{THEIRS} How much hangs on its decisions, and who is accountable for them.")
    data = card.get("data", {})
    if data:
        words = f"{data['samples']:,} labelled samples, as of {data['first_as_of'][:10]} to {data['last_as_of'][:10]}."
        files = [f"`{name}` sha256 `{sha}`" for name, sha in sorted(card.get("prepared", {}).items())]
        yield from _part("Data window", words + _until(card.get("window")), *(f"- {line}" for line in files))
    yield from _part("Method", *_method(card))
    yield from _part("Assumptions", *_assumptions(task))
    yield from _part("Outcomes", *_outcomes(card))
    yield from _part("Challengers", f"{card.get('challengers', 'not said')}.")
    kept = f"Kept aside for fairness tables, never read by a field: {', '.join(task.protected)}."
    yield from _part("Protected attributes", kept if task.protected else "None is declared.")
    bands = ", ".join(f"{name} up to {upper:g}" for name, upper in policy.bands)
    cost = f"a missed event costs {policy.costs.false_negative:g}, a false alarm {policy.costs.false_positive:g}"
    rule = f"A score at or above {policy.cutoff:.4g} is flagged ({cost})."
    yield from _part("Use", f"{rule} Bands: {bands}. Policy version {policy.version}.")
    yield from _part("Explanations", *_explanations(card))
    yield from _part("Limits", str(card.get("limits", "not said")))
    yield from _part("Monitoring", *_triggers(card))


def _part(title: str, *lines: str) -> Iterator[str]:
    yield ""
    yield f"## {title}"
    yield ""
    yield from lines


def _until(window: Mapping[str, Any] | None) -> str:
    """What was left out of training because of the day that it was done as on; nothing where all labelled samples train."""
    if window is None:
        return ""
    days = f" Of {window['train_days']} days, which end {window['delay_days']} days before that." if window["train_days"] else ""
    return f" Trained as on {window['until']}: no answer that was not known before that day was looked at.{days}"


def _adapted(adapted: Mapping[str, Any]) -> Iterator[str]:
    """What the weights learnt since the rest of the card was written, the newest first."""
    yield (
        "**Data window, outcomes and triggers below are of the bundle named last, and so are the comparison groups of explanations, which "
        "its scores chose: a sample just below the cut-off then may be flagged now. These weights were not judged: evaluate them.**"
    )
    yield ""
    now: Mapping[str, Any] | None = adapted
    while now:
        learnt = f"{now['cases']:,} confirmed cases; {now['rehearsed']:,} samples of the data window rehearsed"
        yield f"- From bundle `{now['bundle']}`, with {learnt}."
        yield from (f"  - `{name}` sha256 `{sha}`" for name, sha in sorted(now.get("prepared", {}).items()))
        now = now.get("before")


def _method(card: Mapping[str, Any]) -> Iterator[str]:
    model, training = card.get("model", {}), card.get("training", {})
    if model:
        networks = "one recursive network" if model["members"] == 1 else f"{model['members']} recursive networks"
        yield (
            f"The answer of {networks} of {model['blocks']} layers and width {model['width']}, {model.get('parameters', 0):,} parameters, "
            f"applied again and again over {model['supervision_steps']} supervision steps (arXiv:2510.04871). "
            f"Calibration: {card.get('calibration', {}).get('kind', 'none')}."
        )
    if training:
        yield f"Trained with seed {training['seed']}; {card.get('selection', '')}. Every setting stands in `card.json` and `config.json`."


def _assumptions(task: Task) -> Iterator[str]:
    yield "- What was not known before a sample's `as_of` is not read; late facts stay hidden until they were known."
    for history in task.histories:
        yield f"- The last {history.length} events of each {', '.join(history.keys)} say what there is to say (history `{history.name}`)."
    yield "- The future resembles the data window: the same population, the same way of recording, the same meaning of each column."


def _outcomes(card: Mapping[str, Any]) -> Iterator[str]:
    held = card.get("held_out", {})
    if not held:
        yield "None: this task's score has no log-odds to judge."
        return
    yield f"On {held['samples']:,} samples whose answers the scoring networks had not seen, with 95 % bootstrap intervals over groups:"
    yield ""
    yield "| metric | value | 95 % |"
    yield "|---|---|---|"
    for name, words in NAMES.items():
        if name in held:
            yield f"| {words} | {held[name]['value']:.4f} | [{held[name]['low']:.4f}, {held[name]['high']:.4f}] |"


def _explanations(card: Mapping[str, Any]) -> Iterator[str]:
    """How far the average of each comparison group stands for its rows."""
    averages: Mapping[str, Mapping[str, Any]] = card.get("averages", {})
    if not card.get("held_out"):
        yield "None: this task's score has no log-odds to explain."
    elif not averages:
        yield "Whether the average of a comparison group stands for its rows was not measured: score with `--comparison-form rows`."
    else:
        yield "Principal factors against the average of a comparison group beside those against its rows, mean Jaccard index:"
        yield ""
    for group, found in averages.items():
        alike = f"{found['jaccard']:.2f} ± {found['standard_error']:.2f}"
        yield f"- {group} {alike}, of {found['cases']} training samples that score {found['least_score']:.4g} or more"


def _triggers(card: Mapping[str, Any]) -> Iterator[str]:
    """When to look again: each trigger is a number of this card left behind."""
    held = card.get("held_out", {})
    yield "Look again when, labels or none,"
    yield ""
    yield f"- the stability index of scores, or of any field that is read, against `profile.json` is {MUCH:g} or more (page Drift),"
    yield ""
    yield "and when, on newly labelled samples,"
    yield ""
    for name, words, side in (("auc", "AUC", "low"), ("log_loss", "log-loss", "high"), ("ece", "calibration error", "high")):
        if name in held:
            yield f"- {words} is {'below' if side == 'low' else 'above'} {held[name][side]:.4f}, the end of its interval here,"
    yield "- a column's share of missing or unknown values doubles, or rejects do,"
    yield "- a new product, a new way of recording or a new kind of case appears."
