"""Replay: a record worked out once more, from its own data and the bundle, and all that it says compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from trmfin.errors import RunError, TrmfinError
from trmfin.explaining.case import Case
from trmfin.explaining.differences import differences
from trmfin.explaining.explainer import Asked, Explainer
from trmfin.explaining.record import is_compared, line
from trmfin.explaining.replayed import Replayed
from trmfin.explaining.shape import faults
from trmfin.learn.bundle import Bundle
from trmfin.learn.policy import Policy
from trmfin.scoring.engine import score_rows
from trmfin.scoring.shards import score_frame
from trmfin.sequences.sequences import build

OTHERWISE = ("inference", "reasons", "mitigating", "needs_human")  # parts of a record that are told of an edited case
VERSIONS = ("trmfin", "torch")  # of the run, that a record names


class Replayer:
    """Works records of one finished run out again. Raises RunError where the bundle is not the one that made them."""

    def __init__(self, bundle: Bundle, manifest: Mapping[str, Any]) -> None:
        if (made_by := manifest["bundle"]["sha256"]) != bundle.sha256:
            raise RunError(f"replay: this run was made by bundle {made_by[:12]}, not by {bundle.sha256[:12]}; give the bundle that made it")
        if "explain" not in manifest:
            raise RunError("replay: this run has no records; score with --explain")
        self.bundle = replace(bundle, policy=Policy.from_json(manifest["policy"]))
        self.settings = manifest["settings"]
        self.versions = {name: manifest["versions"][name] for name in VERSIONS}
        about = {"inputs": manifest["inputs"]["files"], "settings": self.settings}
        self.explainer = Explainer(self.bundle, Asked(**manifest["explain"]), about)
        if self.explainer.comparison.sha256 != manifest["records"]["comparison"]:
            raise RunError("replay: the comparison group is not the one that the records name; give the bundle that made them")

    def again(self, record: Mapping[str, Any], place: int | None = None) -> Replayed:
        """A record that is none, or whose data cannot be read, differs too.

        place: of the record in its shard, from 0; it says whether the record was compared with other groups. None: it was read by
        `record_of`, which has looked whether it says so at its place.
        """
        if said := faults(record):
            return _without_numbers(record, *said)
        compared = "groups" in record["stability"] if place is None else is_compared(place)
        try:
            body = self._worked_out(self.explainer, record["data"]["case"], every=int(compared))
        except TrmfinError as problem:
            return _without_numbers(record, f"data cannot be worked out: {problem}")
        new = json.loads(line(body | {"model": body["model"] | self.versions}))
        old, now = record["attribution"]["values"], new["attribution"]["values"]
        return Replayed(
            sample_id=record["sample_id"],
            logit_difference=abs(new["inference"]["logits"][-1] - record["inference"]["logits"][-1]),
            value_difference=max((abs(now[name] - old[name]) for name in now.keys() & old.keys()), default=0.0),
            differences=differences(record, new),
        )

    def otherwise(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """OTHERWISE of a record that the run would have had of another case, as JSON has it. Raises DataError where it cannot be read."""
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


def _without_numbers(record: Mapping[str, Any], *said: str) -> Replayed:
    return Replayed(sample_id=str(record.get("sample_id")), logit_difference=0.0, value_difference=0.0, differences=said)
