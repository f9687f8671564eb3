"""The reference profile that a bundle keeps: what its training data looked like, and where scores of held-out samples lay."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trmfin.errors import BundleError
from trmfin.learn.calibrate import probability
from trmfin.learn.halting import halted, steps_used
from trmfin.sequences.profile import Profile, profile
from trmfin.sequences.sequences import Sequences

FORMAT = 1
SHARES = 10  # equal ones of the reference's scores
EVENLY = 40  # equal bins of [0, 1]
MUCH = 0.25  # of a stability index: from here on a lot has moved (Siddiqi 2006, Credit Risk Scorecards: a rule of thumb)
Float = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """How the scores of held-out samples fall into bins. Scores lie in [0, 1], higher = riskier."""

    edges: tuple[float, ...]  # from 0 to 1: SHARES equal shares of them, fewer where scores are equal
    counts: tuple[int, ...]  # samples from each edge to the next
    evenly: tuple[int, ...]  # samples in each of EVENLY equal bins of [0, 1]
    steps: tuple[int, ...]  # (S,) samples that took 1, 2, … S supervision steps

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1 or list(self.edges) != sorted(set(self.edges)) or len(self.evenly) != EVENLY:
            raise BundleError(f"profile: scores have {len(self.counts)} counts between {len(self.edges)} edges; copy the bundle again")


@dataclass(frozen=True, kw_only=True)
class ReferenceProfile:
    """What later samples and scores are compared with. Saved as `profile.json`."""

    features: Profile  # of the labelled samples that were trained on
    scores: HeldOut | None  # None where the primary target is no yes or no, so that nothing was calibrated

    def to_json(self) -> dict[str, Any]:
        """Plain data; `ReferenceProfile.from_json` gives an equal one back."""
        scores = None if self.scores is None else asdict(self.scores)
        return {"features": self.features.to_json(), "scores": scores, "format": FORMAT}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ReferenceProfile:
        """Inverse of `to_json`. Raises BundleError on what is none, and on a newer format."""
        if not isinstance(data, dict) or set(data) != {"features", "scores", "format"}:
            found = f"keys {sorted(data)}" if isinstance(data, dict) else f"a {type(data).__name__}"
            raise BundleError(f"profile: {found}; expected features, format, scores; copy the bundle again")
        if not isinstance(data["format"], int) or data["format"] > FORMAT:
            raise BundleError(f"profile: format {data['format']!r} is newer than {FORMAT}, the newest this version reads; update trmfin")
        scores = data["scores"]
        try:
            held = None if scores is None else HeldOut(**{field.name: tuple(scores[field.name]) for field in fields(HeldOut)})
        except (KeyError, TypeError) as error:
            raise BundleError(f"profile: scores cannot be read ({error!r}); copy the bundle again") from error
        return cls(features=Profile.from_json(data["features"]), scores=held)


def reference_profile(sequences: Sequences, rows: NDArray[np.int64], log_odds: Float | None, epsilon: float) -> ReferenceProfile:
    """Features are those of the labelled samples `rows`, all of them; scores are of held-out samples alone, never of one that taught.

    sequences: aligned. log_odds: (n, S) calibrated ones of the samples that members held out, by the bundle's own calibration, as
    those members answer that had not seen them; None where there are none. epsilon: `halt_epsilon` of the bundle's policy, under
    which steps are counted. The whole ensemble averages more members than held a sample out, so that its scores are slightly less spread.
    """
    return ReferenceProfile(features=profile(sequences, rows), scores=None if log_odds is None else _held_out(log_odds, epsilon))


def _held_out(log_odds: Float, epsilon: float) -> HeldOut:
    scores = probability(halted(log_odds, epsilon))
    edges = equal_shares(scores)
    steps = np.bincount(steps_used(log_odds, epsilon), minlength=log_odds.shape[1] + 1)[1:]
    counts, evenly = np.histogram(scores, edges)[0], np.histogram(scores, EVENLY, (0.0, 1.0))[0]
    return HeldOut(edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), evenly=tuple(evenly.tolist()), steps=tuple(steps.tolist()))


def equal_shares(scores: Float) -> Float:
    """(up to SHARES + 1,) edges from 0 to 1 that part scores (n,) into equal shares; equal edges merge."""
    inner = np.unique(np.quantile(scores, np.linspace(0, 1, SHARES + 1)[1:-1]))
    return np.concatenate(([0.0], inner[(inner > 0) & (inner < 1)], [1.0]))
