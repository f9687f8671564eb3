"""Calibration: a strictly increasing map from raw to calibrated log-odds, one a supervision step.

Increasing maps keep the ranking; isotonic regression makes ties and has no log-odds, so it is not offered.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trmfin.errors import BundleError, DataError

Array = NDArray[np.float64]
Kind = Literal["identity", "platt", "beta"]
SLOPES: dict[Kind, int] = {"identity": 0, "platt": 1, "beta": 2}  # slopes of a kind, simplest first; an intercept follows them
SMALLEST_SLOPE = 1e-3  # keeps the map strictly increasing in float64 for raw log-odds 1e-10 apart at +-60
FAINT = 1e-6  # pull of the intercept towards 0, in rows
FOLDS = 5
ROUNDS = 200  # Newton steps at most; about 8 are needed
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Calibrated log-odds from raw log-odds l of each supervision step.

    identity: l. platt: a l + c (Platt 1999). beta: a ln p - b ln(1 - p) + c with p = sigmoid(l) (Kull, Silva Filho &
    Flach 2017). Every slope a, b is at least SMALLEST_SLOPE. Raises BundleError on anything else.
    """

    kind: Kind
    parameters: tuple[tuple[float, ...], ...]  # one a step: () or (a, c) or (a, b, c)

    def __post_init__(self) -> None:
        if self.kind not in list(SLOPES):
            raise BundleError(f"calibration: kind {self.kind!r} is unknown; expected {', '.join(map(repr, SLOPES))}")
        if not self.parameters:
            raise BundleError("calibration: parameters of 0 steps; expected those of at least one step")
        slopes = SLOPES[self.kind]
        for step, found in enumerate(self.parameters, start=1):
            if len(found) != slopes + (slopes > 0):
                raise BundleError(f"calibration: {len(found)} parameters at step {step}; {self.kind} has {slopes + (slopes > 0)}")
            if not np.isfinite(found).all() or any(slope < SMALLEST_SLOPE for slope in found[:slopes]):
                raise BundleError(f"calibration: parameters {found} at step {step}; expected finite numbers and slopes >= {SMALLEST_SLOPE}")

    def apply(self, logits: ArrayLike) -> Array:
        """Calibrated log-odds. logits: (N, S) raw log-odds of steps 1 … S, NaN where a step was not run → (N, S) float64.

        Strictly increasing in each raw log-odds. Steps beyond the last calibrated one use that one's parameters.
        """
        raw = np.asarray(logits, dtype=np.float64)
        if raw.ndim != 2 or not raw.shape[1]:
            raise DataError(f"calibration: log-odds have shape {raw.shape}; expected (samples, steps), at least one step")
        if self.kind == "identity":
            return raw.copy()
        last = len(self.parameters) - 1
        chosen = np.array([self.parameters[min(step, last)] for step in range(raw.shape[1])])  # (S, slopes + 1)
        calibrated = np.broadcast_to(chosen[:, -1], raw.shape).copy()
        for slope, term in zip(chosen.T[:-1], _terms(self.kind, raw), strict=True):
            calibrated += slope * term
        return calibrated

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` gives an equal calibration back, to the last bit also through a file."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_json`. Raises BundleError on missing, unknown or unusable entries and on a newer format."""
        if (found := data.get("format")) != FORMAT:
            raise BundleError(f"calibration: format {found!r}; this version reads {FORMAT}; update trmfin or copy the bundle again")
        if set(data) != {"format", "kind", "parameters"}:
            raise BundleError(f"calibration: keys {', '.join(sorted(data))}; expected format, kind, parameters")
        steps = data["parameters"]
        if not isinstance(steps, list) or not all(isinstance(step, list) and all(map(_is_number, step)) for step in steps):
            raise BundleError(f"calibration: parameters {json.dumps(steps)[:60]}; expected a list of numbers for each step")
        parameters = tuple(tuple(float(number) for number in step) for step in steps)
        return cls(kind=data["kind"], parameters=parameters)


def probability(log_odds: ArrayLike) -> Array:
    """Probability in [0, 1] of log-odds of any shape, exact also where it is tiny; NaN stays NaN."""
    return np.exp(-_softplus(-np.asarray(log_odds, dtype=np.float64)))


def fit_calibration(logits: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Calibration:
    """Choose and fit a calibration on validation rows, which the network was not trained on.

    logits: (N, S) raw log-odds; y: (N,) 0 or 1. The kind is the one with the lowest log-loss in 5-fold cross-validation
    over these rows, averaged over steps; the simpler one where two are equal. Its parameters are then fitted on all rows,
    step by step, by maximum likelihood with a pull of each slope towards 1 that weighs one row: it matters only where
    rows are few or separable. Raises DataError on shapes that differ, NaN, and fewer than 2 rows of either class.
    """
    raw, labels = _checked(logits, y)
    fold_of = _folds(labels, seed)
    losses = {kind: np.mean([_held_out(kind, step, labels, fold_of) for step in raw.T]) for kind in SLOPES}
    kind = min(SLOPES, key=lambda k: losses[k])
    return Calibration(kind=kind, parameters=tuple(_fitted(kind, step, labels) for step in raw.T))


def cross_fitted(kind: Kind, logits: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Array:
    """(N, S) log-odds, each row's by parameters fitted without its fold: what to judge a calibration by on its own rows."""
    raw, labels = _checked(logits, y)
    fold_of = _folds(labels, seed)
    out = np.empty_like(raw)
    for fold in range(int(fold_of.max()) + 1):
        held = fold_of == fold
        parameters = tuple(_fitted(kind, step, labels[~held]) for step in raw[~held].T)
        out[held] = Calibration(kind=kind, parameters=parameters).apply(raw[held])
    return out


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _terms(kind: Kind, raw: Array) -> list[Array]:
    """What the slopes multiply: l, or ln p and -ln(1 - p)."""
    if kind == "beta":
        return [-_softplus(-raw), _softplus(raw)]
    return [raw]


def _held_out(kind: Kind, raw: Array, y: Array, fold_of: NDArray[np.int64]) -> float:
    """Mean log-loss of rows (N,) under parameters fitted without their fold."""
    total = 0.0
    for fold in range(int(fold_of.max()) + 1):
        held = fold_of == fold
        fitted = Calibration(kind=kind, parameters=(_fitted(kind, raw[~held], y[~held]),))
        total += float(_log_loss(fitted.apply(raw[held, None])[:, 0], y[held]).sum())
    return total / y.size


def _fitted(kind: Kind, raw: Array, y: Array) -> tuple[float, ...]:
    """The parameters of one step. The problem is convex: if the free optimum breaks a bound, the best of the edges wins."""
    if kind == "identity":
        return ()
    terms = np.column_stack(_terms(kind, raw))
    slopes = terms.shape[1]
    for held in range(slopes + 1):
        solutions = [_newton(terms, y, bound) for bound in combinations(range(slopes), held)]
        if feasible := [(loss, found) for loss, found in solutions if found[:-1].min() >= SMALLEST_SLOPE]:
            return tuple(float(number) for number in min(feasible, key=lambda item: item[0])[1])
    raise DataError(f"calibration: no increasing {kind} fits {y.size} rows; are the log-odds finite and the labels 0 or 1?")


def _newton(terms: Array, y: Array, bound: tuple[int, ...]) -> tuple[float, Array]:
    """Damped Newton steps on (slopes, intercept), the slopes in `bound` held at the smallest. Returns (loss, parameters)."""
    design = np.column_stack((terms, np.ones(y.size)))  # (N, slopes + 1)
    identity = np.append(np.ones(terms.shape[1]), 0.0)
    pull = np.where(identity == 1, 1.0, FAINT)  # each slope towards 1 by one row; the intercept only where the rows say nothing
    free = np.array([index for index in range(pull.size) if index not in bound])
    found = np.zeros(pull.size)
    found[list(bound)] = SMALLEST_SLOPE

    def loss(at: Array) -> float:
        return float(_log_loss(design @ at, y).sum() + pull @ (at - identity) ** 2 / 2)

    best = loss(found)
    for _ in range(ROUNDS):
        p = probability(design @ found)
        slope = (design.T @ (p - y) + pull * (found - identity))[free]
        bend = (design.T * (p * (1 - p))) @ design + np.diag(pull)
        step = np.linalg.solve(bend[np.ix_(free, free)], slope)
        while True:  # halve until the loss falls; where no step is left that lowers it, this is the optimum
            tried = found.copy()
            tried[free] -= step
            if (new := loss(tried)) < best:
                break
            step = step / 2
            if np.abs(step).max() < 1e-12:
                return best, found
        best, found = new, tried
    return best, found


def _log_loss(log_odds: Array, y: Array) -> Array:
    return _softplus(log_odds) - y * log_odds


def _softplus(value: Array) -> Array:
    """ln(1 + exp(value)) without overflow, and NaN without a warning."""
    return np.maximum(value, 0.0) + np.log1p(np.exp(-np.abs(value)))


def _folds(y: Array, seed: int) -> NDArray[np.int64]:
    """(N,) fold of each row: shuffled, each class dealt out evenly. Fewer folds where a class has fewer rows."""
    random, fold_of = np.random.default_rng(seed), np.zeros(y.size, dtype=np.int64)
    count = min(FOLDS, int(y.sum()), int((1 - y).sum()))
    for label in (0, 1):
        rows = random.permutation(np.flatnonzero(y == label))
        fold_of[rows] = np.arange(rows.size) % count
    return fold_of


def _checked(logits: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    raw, labels = np.asarray(logits, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[1] < 1 or labels.shape != raw.shape[:1]:
        raise DataError(f"calibration: log-odds have shape {raw.shape}, y {labels.shape}; expected (N, steps) and (N,)")
    if bad := int((~np.isfinite(raw)).sum()):
        raise DataError(f"calibration: {bad} of {raw.size} log-odds are NaN or infinite; fit on rows with every step run")
    if bad := int((~np.isin(labels, (0, 1))).sum()):
        raise DataError(f"calibration: {bad} of {labels.size} labels are not 0 or 1; leave unlabelled rows out")
    if min(labels.sum(), (1 - labels).sum()) < 2:
        raise DataError(f"calibration: {int(labels.sum())} events in {labels.size} rows; at least 2 rows of either class are needed")
    return raw, labels
