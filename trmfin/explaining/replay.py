"""Replay: a record's score and reasons worked out once more, from the record's own data and the bundle, and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from trmfin.errors import RunError
from trmfin.explaining.case import Case
from trmfin.explaining.explainer import Asked, Explainer
from trmfin.explaining.reasons import RESIDUAL
from trmfin.explaining.replayed import Replayed
from trmfin.learn.bundle import Bundle
from trmfin.learn.policy import Policy
from trmfin.scoring.engine import score_rows
from trmfin.scoring.shards import score_frame
from trmfin.sequences.sequences import build

SAME = ("code", "player", "text", "event_ids")  # of each reason
OTHERWISE = ("inference", "reasons", "mitigating", "needs_human")  # parts of a record that are told of an edited case


class Replayer:
    """Works records of one finished run out again. Raises RunError where the bundle is not the one that made them."""

    def __init__(self, bundle: Bundle, manifest: Mapping[str, Any]) -> None:
        if (made_by := manifest["bundle"]["sha256"]) != bundle.sha256:
            raise RunError(f"replay: this run was made by bundle {made_by[:12]}, not by {bundle.sha256[:12]}; give the bundle that made it")
        if "explain" not in manifest:
            raise RunError("replay: this run has no records; score with --explain")
        self.bundle = replace(bundle, policy=Policy.from_json(manifest["policy"]))
        self.settings = manifest["settings"]
        about = {"inputs": manifest["inputs"]["files"], "settings": self.settings}
        self.explainer = Explainer(self.bundle, Asked(**manifest["explain"]), about)
        if self.explainer.comparison.sha256 != manifest["records"]["comparison"]:
            raise RunError("replay: the comparison group is not the one that the records name; give the bundle that made them")

    def again(self, record: Mapping[str, Any]) -> Replayed:
        """Raises DataError where the record's data cannot be read."""
        new = self._worked_out(self.explainer, record["data"]["case"], every=int("groups" in record["stability"]))
        step = record["inference"]["step"] - 1
        logit = abs(new["inference"]["logits"][-1] - record["inference"]["logits"][step])
        values = max(abs(new["attribution"]["values"][name] - value) for name, value in record["attribution"]["values"].items())
        return Replayed(
            sample_id=record["sample_id"],
            logit_difference=logit,
            value_difference=values,
            differences=tuple(_differences(record, new, logit, values)),
        )

    def otherwise(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """OTHERWISE of a record that the run would have had of another case, as JSON has it. Raises DataError as `again`."""
        explainer = copy(self.explainer)
        explainer.asked = replace(explainer.asked, counterfactual=False)
        new = self._worked_out(explainer, case, every=0)
        return {name: new[name] for name in OTHERWISE}

    def _worked_out(self, explainer: Explainer, case: Mapping[str, Any], every: int) -> dict[str, Any]:
        """A record's body from its case alone."""
        prepared = Case.from_json(dict(case)).prepared()
        sequences = build(prepared, self.bundle.task).aligned(self.bundle.fitted)
        scores = score_rows(self.bundle, sequences, np.arange(1), steps=self.settings["steps"], threads=self.settings["threads"])
        return next(explainer.bodies(prepared, sequences, np.arange(1), score_frame(scores, self.bundle.policy), every))


def _differences(record: Mapping[str, Any], new: Mapping[str, Any], logit: float, values: float) -> Iterator[str]:
    """In words, what is not as the record says."""
    for name, found in (("log-odds", logit), ("values", values), ("base", abs(record["attribution"]["base"] - new["attribution"]["base"]))):
        if not found <= RESIDUAL:
            yield f"{name} differ by {found:.3g}, more than {RESIDUAL:g}"
    old, now = record["inference"], new["inference"]
    for name in ("decision", "band", "step", "cutoff", "policy_version"):
        if old[name] != now[name]:
            yield f"{name} was {old[name]!r}, is {now[name]!r}"
    if not abs(old["score"] - now["score"]) <= RESIDUAL:
        yield f"score was {old['score']:.6f}, is {now['score']:.6f}"
    for what in ("reasons", "mitigating"):
        old, now = ([{name: reason[name] for name in SAME} for reason in part[what]] for part in (record, new))
        if old != now:
            yield f"{what} were {', '.join(r['code'] for r in old) or 'none'}, are {', '.join(r['code'] for r in now) or 'none'}"
    for name, said in record["checks"].items():
        if new["checks"].get(name) != said:
            yield f"check {name} was {said!r}, is {new['checks'].get(name)!r}"
    for part, keys in (("data", ("inputs", "task_sha256")), ("attribution", ("comparison", "view", "evaluations"))):
        for key in keys:
            if record[part][key] != new[part][key]:
                yield f"{part}.{key} is not what made this run"
    for name in ("record_id", "application", "subject", "as_of", "stability", "counterfactual"):
        if record[name] != new[name]:
            yield f"{name} was {record[name]!r}, is {new[name]!r}"
