"""From scored samples to records: values, reasons with their events, checks, and everything a replay needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from math import isclose
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin import __version__
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError
from trmfin.explaining.case import MOMENT, Case, cases
from trmfin.explaining.comparison import BELOW_CUTOFF, FORMS, Comparison, Form, comparison
from trmfin.explaining.counterfactual import counterfactual
from trmfin.explaining.evidence import evidence
from trmfin.explaining.players import VIEWS, View, players_of
from trmfin.explaining.reasons import SIGN, Checks, Evidence, Told, jaccard, principal, told, unsure
from trmfin.explaining.record import EVERY, VERSION
from trmfin.explaining.sampling import attributed, check_sampler
from trmfin.explaining.shapley import Attribution, Game
from trmfin.learn.bundle import Bundle
from trmfin.scoring.engine import undisturbed
from trmfin.scoring.table import has_log_odds
from trmfin.scoring.thresholds import flagged
from trmfin.sequences.explained import DIRECTIONS, Direction
from trmfin.sequences.sequences import Sequences

CASES = 64  # explained together
NOISE = 0.01  # of each number, for the check of stability
ROWS = 10  # of a group, where its average is checked against them
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How scores are to be explained. Raises ConfigError on what cannot be."""

    which: str = "adverse"  # "adverse": at or above the policy's cut-off; "topk:N": the N highest; "all"
    view: View = "features"
    group: str = "near_cutoff_approved"
    form: Form = "average"
    counterfactual: bool = False  # look for the smallest change that crosses the cut-off, too

    def __post_init__(self) -> None:
        name, _, count = self.which.partition(":")
        if not (self.which in ("adverse", "all") or (name == "topk" and count.isdigit() and int(count) > 0)):
            raise ConfigError(f"explain: found {self.which!r}; choose none, adverse, all, or topk:N for the N highest scores")
        for what, value, known in (("players", self.view, VIEWS), ("form", self.form, FORMS)):
            if value not in known:
                raise ConfigError(f"explain: {what} {value!r} is unknown; choose one of {', '.join(known)}")

    def check_for(self, bundle: Bundle, cutoff: float | None = None) -> None:
        """Raises ConfigError where the score is no log-odds, or the bundle lacks the comparison group, or chose it by another cut-off.

        And MissingExtra where there are more players than can be explained without shap.
        """
        if not has_log_odds(bundle.task):
            raise ConfigError(f"explain: the primary target of task {bundle.task.name!r} has no log-odds to explain")
        own = bundle.policy.cutoff
        if self.group in BELOW_CUTOFF and cutoff is not None and not isclose(cutoff, own, abs_tol=1e-6):
            raise ConfigError(
                f"explain: {self.group} lies below the bundle's cut-off of {own:g}, and the policy's is {cutoff:g}; "
                "compare with all_applicants, or train the bundle for that policy"
            )
        check_sampler(players_of(bundle.task, self.view))
        self.comparison(bundle, self.form)

    def comparison(self, bundle: Bundle, form: Form) -> Comparison:
        """The group in one of its forms; of rows, at most ROWS."""
        group = comparison(bundle.task, bundle.reference, self.group, form)
        return group if form == "average" or len(group) <= ROWS else comparison(bundle.task, bundle.reference, self.group, form, ROWS)

    @property
    def highest(self) -> int | None:
        """N of topk:N."""
        return int(self.which.partition(":")[2]) if self.which.startswith("topk:") else None


class Explainer:
    """A bundle that says why. Scores are explained as the run's table has them, at the step that was used."""

    def __init__(self, bundle: Bundle, asked: Asked, about: Mapping[str, Any]) -> None:
        """about: what of the run goes into every record: `inputs` (file → sha256) and `settings`. Raises as `Asked.check_for`."""
        asked.check_for(bundle)
        self.bundle, self.asked, self.about = bundle, asked, dict(about)
        self.players = players_of(bundle.task, asked.view)
        self.comparison = asked.comparison(bundle, asked.form)
        steps, self.threads = (int(self.about["settings"][name]) for name in ("steps", "threads"))
        others = [name for name in bundle.reference["group"].unique(maintain_order=True) if name != asked.group]
        with undisturbed(bundle.network, self.threads):
            self.game = Game.of(bundle, self.players, self.comparison, steps)
            self.groups = {name: Game.of(bundle, self.players, comparison(bundle.task, bundle.reference, name), steps) for name in others}
            self.rows_game = Game.of(bundle, self.players, asked.comparison(bundle, "rows"), steps) if asked.form == "average" else None

    def bodies(
        self,
        prepared: Prepared,
        sequences: Sequences,
        rows: NDArray[np.int64],
        scores: pl.DataFrame,
        every: int = EVERY,
        tell: Callable[[int], None] = lambda cases_done: None,
    ) -> Iterator[dict[str, Any]]:
        """Records, not yet chained, of samples `rows`. scores: their rows of the run's table, in this order.

        every: of so many cases the first is also explained against the bundle's other groups, and against the group's rows where
        its average is used; 0 = none. The network runs with the settings' threads; a caller has its own back with each record.
        """
        for first in range(0, len(rows), CASES):
            part, table = rows[first : first + CASES], scores[first : first + CASES]
            checked = [case for case in range(len(part)) if every and not (first + case) % every]
            with undisturbed(self.bundle.network, self.threads):
                bodies = self._together(prepared, sequences, part, table, checked)
            yield from bodies
            tell(first + len(part))

    def _together(
        self, prepared: Prepared, sequences: Sequences, part: NDArray[np.int64], table: pl.DataFrame, checked: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Bodies of at most CASES samples. table: (n,) their rows of the run's; checked: which of them are explained in other ways too."""
        values, used = attributed(self.game, sequences, part), table["step"].to_numpy() - 1
        likeness = self._likeness(sequences, part, values, used, checked)
        found, behind = list(cases(prepared, sequences, part)), dict[Direction, list[dict[str, Evidence]]]()
        for direction, sign in SIGN.items():
            chosen = [principal(sign * values.values[case, step]) for case, step in enumerate(used)]
            behind[direction] = evidence(self.game, sequences, part, found, chosen, used, sign)
        return [
            self._body(found[case], row, values, case, {way: each[case] for way, each in behind.items()}, likeness[case])
            for case, row in enumerate(table.iter_rows(named=True))
        ]

    def _likeness(
        self, sequences: Sequences, rows: NDArray[np.int64], values: Attribution, used: NDArray[np.int64], checked: Sequence[int]
    ) -> list[dict[str, Any]]:
        """Of each case, the Jaccard index of its principal players with those under noise; of cases `checked` with others' too."""

        def alike(other: Attribution, case: int, place: int) -> float:
            return jaccard(principal(values.values[case, used[case]]), principal(other.values[place, used[case]]))

        shaken = attributed(self.game, sequences, rows, noise=NOISE)
        found: list[dict[str, Any]] = [{"jaccard": alike(shaken, case, case), "noise": NOISE} for case in range(len(rows))]
        some = rows[np.asarray(checked, np.int64)]
        against = {name: attributed(game, sequences, some) for name, game in self.groups.items()}
        by_rows = attributed(self.rows_game, sequences, some) if self.rows_game else None
        for place, case in enumerate(checked):
            found[case]["groups"] = {name: alike(other, case, place) for name, other in against.items()}
            if by_rows:
                found[case]["agreement"] = alike(by_rows, case, place)
        return found

    def _body(
        self,
        case: Case,
        row: Mapping[str, Any],
        values: Attribution,
        place: int,
        behind: Mapping[Direction, Mapping[str, Evidence]],
        likeness: Mapping[str, Any],
    ) -> dict[str, Any]:
        task, names, step = self.bundle.task, self.players.names, int(row["step"]) - 1
        errors = values.standard_error
        mine = values.values[place, step]
        sample = case.sample.row(0, named=True)
        found = {direction: told(task, names, mine, behind[direction], sample, direction) for direction in DIRECTIONS}
        reasons, unmapped = found["raises"]
        residual = float(values.base[place, step] + mine.sum() - row["logits"][step])
        average = self._average(row)
        checks = Checks(
            residual=residual,
            unmapped=unmapped,
            unfilled=tuple(reason.player for reason in reasons if reason.unfilled),
            stability=likeness["jaccard"],
            silent=bool(flagged(np.array([row["score"]]), self.bundle.policy)[0]) and not (reasons or unmapped),
            unsure=None if errors is None else tuple(names[p] for p in unsure(mine, errors[place, step])),
            average=average,
            protected=tuple(sorted(set(task.protected) & {name for field in task.fields for name in field.reads})),
        )
        return self._identity(case, row) | {
            "attribution": self._attribution(values, place, step, residual, average),
            "counterfactual": counterfactual(self.bundle, case, self.game.steps).to_json() if self.asked.counterfactual else None,
            "checks": {name: "pass" if good else "fail" for name, good in checks.passed.items()},
            "inference": self._inference(row),
            "needs_human": list(checks.needs_human),
            "reasons": [_reason(reason) for reason in reasons],
            "mitigating": [_reason(reason) for reason in found["lowers"][0]],
            "stability": dict(likeness),
        }

    def _average(self, row: Mapping[str, Any]) -> float | None:
        """How alike the group's average and its rows are, by what the bundle has measured; nan: nothing of this; None: rows are used."""
        if self.asked.form == "rows":
            return None
        measured = self.bundle.card.get("averages", {}).get(self.asked.group)
        as_measured = self.asked.view == "features" and row["step"] == self.bundle.network.config.supervision_steps
        return float(measured["jaccard"]) if measured and as_measured and row["score"] >= measured["least_score"] else np.nan

    def _identity(self, case: Case, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the record is of: sample, data, model."""
        task, bundle = self.bundle.task, self.bundle
        as_of = row["as_of"].strftime(MOMENT)
        name = hashlib.sha256("\n".join((bundle.sha256, row["sample_id"], as_of)).encode()).hexdigest()[:32]
        subject = hashlib.sha256(f"{task.name}\n{case.sample[task.group][0]}".encode()).hexdigest()[:16]
        return {
            "schema_version": VERSION,
            "record_id": name,
            "application": task.name,
            "sample_id": row["sample_id"],
            "subject": subject,
            "as_of": as_of,
            "data": {"inputs": self.about["inputs"], "task_sha256": task.sha256, "money": list(task.money), "case": case.to_json()},
            "model": {
                "name": task.name,
                "bundle_sha256": bundle.sha256,
                "dtype": "float32",
                "threads": self.about["settings"]["threads"],
                "trmfin": __version__,
                "torch": version("torch"),
            },
        }

    def _inference(self, row: Mapping[str, Any]) -> dict[str, Any]:
        policy = self.bundle.policy
        stopped = bool(flagged(np.array([row["score"]]), policy)[0])
        return {
            "logits": row["logits"],
            "halts": row["halts"],
            "step": row["step"],
            "score": row["score"],
            "band": row["band"],
            "cutoff": policy.cutoff,
            "policy_version": policy.version,
            "decision": "flagged" if stopped else "not flagged",
            "decided_by": "model",
        }

    def _attribution(self, values: Attribution, place: int, step: int, residual: float, average: float | None) -> dict[str, Any]:
        group, errors = self.comparison, values.standard_error
        return {
            "method": f"Shapley values of the calibrated log-odds, {'exact' if values.seed is None else 'sampled permutations'}",
            "standard_errors": None if errors is None else dict(zip(values.players, errors[place, step].tolist(), strict=True)),
            "view": self.players.view,
            "comparison": {
                "group": group.name,
                "form": group.form,
                "rows": len(group),
                "sha256": group.sha256,
                "alike": None if average is None or np.isnan(average) else average,
            },
            "base": float(values.base[place, step]),
            "values": dict(zip(values.players, values.values[place, step].tolist(), strict=True)),
            "base_by_step": values.base[place, : step + 1].tolist(),
            "values_by_step": {name: values.values[place, : step + 1, m].tolist() for m, name in enumerate(values.players)},
            "residual": residual,
            "evaluations": values.evaluations,
            "seed": "exact" if values.seed is None else values.seed,
        }


def picked(asked: Asked, scores: Sequence[Float], cutoff: float) -> list[NDArray[np.int64]]:
    """Of each shard's scores, which rows are to be explained."""
    if (N := asked.highest) is not None:
        everything = np.concatenate([np.asarray(part) for part in scores]) if scores else np.zeros(0)
        best = np.zeros(len(everything), bool)
        best[np.argsort(-np.nan_to_num(everything, nan=-1.0), kind="stable")[:N]] = True
        ends = np.cumsum([len(part) for part in scores])[:-1]
        return [np.flatnonzero(part) for part in np.split(best, ends)]
    return [np.arange(len(part)) if asked.which == "all" else np.flatnonzero(part >= cutoff) for part in scores]


def _reason(reason: Told) -> dict[str, Any]:
    return {
        "rank": reason.rank,
        "code": reason.code,
        "player": reason.player,
        "text": reason.text,
        "contribution": reason.contribution,
        "event_ids": list(reason.event_ids),
    }
