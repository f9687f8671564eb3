"""Fairness tables: how scores and flags fall on the groups of protected attributes.

Protected columns lie beside the samples and are never features; here they are joined to predictions on test rows, all folds
together. A sample is flagged where its score is at or above a policy's cut-off, or, where there is none, in the riskiest SHARE of
its fold, so that every model flags as many.

Terms. Adverse impact ratio (AIR): the lowest group's share not flagged over the highest's; below .8 is the four-fifths rule of 29
CFR 1607.4(D), which is about hiring and is quoted for credit too. It is undefined where every row is flagged. Demographic parity
difference: highest less lowest share flagged. Equal opportunity difference: highest less lowest true positive rate (TPR, the share
of events that is flagged), after Hardt, Price & Srebro 2016, arXiv:1610.02413. Calibration-in-the-large: mean score over base rate,
1 where scores are as high as what happened. KS: the largest gap between the shares of events and of non-events that lie above any
one score. None of these is a verdict: where base rates differ they cannot all be equal (Chouldechova 2017, arXiv:1610.07524).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.learn.intervals import group_numbers, resampled
from trmfin.learn.metrics import Array, UndefinedMetric, auc, ks
from trmfin.learn.report import last_steps

MODELS = ("trm", "lightgbm")  # side by side; others are left out
SHARE = 0.1
LEAST_ROWS, LEAST_EVENTS = 100, 20  # of a group, and as many non-events: smaller groups are merged
AGES = ("under 25", "25-34", "35-44", "45-54", "55 and over")
AGE_EDGES = (25, 35, 45, 55)
MANY = 10  # values from which on ages are put into bands
OTHER, UNKNOWN = "other", "unknown"


def fairness(
    predictions: pl.DataFrame, samples: pl.DataFrame, protected: tuple[str, ...], cutoff: float | None = None
) -> dict[str, Any] | None:
    """Per protected column, group and model the rates above, and the three gaps with 95 % bootstrap intervals.

    predictions: as `contest.hold` gives them, all labels; samples: sample_id and the protected columns, (N,) rows of which
    some are tested. cutoff: see `with_flags`. None where nothing is protected; what cannot be shown is said under `notes`.
    """
    if not protected:
        return None
    final = with_flags(predictions, cutoff)
    notes, attributes = [], []
    for name in protected:
        groups = groups_of(final, samples, name)
        if groups is None:
            notes.append(f"{name}: not known of any sample, so there is no table.")
            continue
        notes += groups.notes
        rows = final.join(groups.of_sample, on="sample_id")
        models = {model: _one(rows.filter(pl.col("model") == model), groups) for model in MODELS if model in rows["model"]}
        attributes.append({"name": name, "models": models})
        for model, rates in models.items():
            if "parity" in rates and "air" not in rates:
                notes.append(f"{name}: every row of {model} is flagged, so that AIR is undefined.")
    rule = {"flagged_share": SHARE} if cutoff is None else {"cutoff": cutoff, "flagged_share": float(final["flag"].mean() or 0)}  # type: ignore[arg-type]
    return rule | {"attributes": attributes, "notes": notes}


def with_flags(predictions: pl.DataFrame, cutoff: float | None = None) -> pl.DataFrame:
    """Last steps of the models that are compared, with their `flag`: scores at or above the cut-off.

    cutoff: None = the riskiest SHARE of each model, seed and fold.
    """
    final = last_steps(predictions).filter(pl.col("model").is_in(MODELS))
    if cutoff is not None:
        return final.with_columns(flag=(pl.col("p") >= cutoff).cast(pl.Float64))
    return pl.concat([part.with_columns(flag=flagged(part["p"].to_numpy())) for part in final.partition_by("model", "seed", "fold")])


def flagged(p: Array, share: float = SHARE) -> Array:
    """(n,) in [0, 1]: 1 where a score is in the riskiest share of all, in proportion where the border cuts a run of equal scores."""
    _, run, sizes = np.unique(-p, return_inverse=True, return_counts=True)
    above = np.cumsum(sizes) - sizes
    return np.asarray(np.clip((share * len(p) - above) / sizes, 0, 1)[run])


def grouped(values: pl.Series) -> pl.Series:
    """(N,) name of each value's group: a band for numbers of many values in a column of ages, else the value itself."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
    names = values.cast(pl.String)
    if values.dtype.is_numeric() and "age" in values.name.split("_") and values.n_unique() > MANY:
        bands = np.array(AGES)[np.searchsorted(AGE_EDGES, values.cast(pl.Float64).fill_null(0).to_numpy(), side="right")]
        names = pl.select(pl.when(values.is_not_null()).then(pl.Series(bands))).to_series()
    return names.fill_null(UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Groups:
    """The groups of one attribute after small ones are merged."""

    of_sample: pl.DataFrame  # sample_id, value: the group's name
    rows: dict[str, int]  # group → tested samples, in the order of the tables
    large: tuple[str, ...]  # those whose rates are shown
    notes: list[str]


def groups_of(tested: pl.DataFrame, samples: pl.DataFrame, name: str) -> Groups | None:
    """The groups of column `name` of samples, in the order of its values, `other` and `unknown` last; None where none is known.

    tested: has sample_id and y.
    """
    if name not in samples.columns or samples[name].is_null().all():
        return None
    named = samples.select("sample_id", raw=name, value=grouped(samples[name]))
    tested = tested.unique("sample_id").select("sample_id", "y").join(named, on="sample_id").sort("raw", "sample_id")
    small = [count for count in _counts(tested) if count["value"] != UNKNOWN and not _is_large(count)]
    merged = pl.col("value").is_in([count["value"] for count in small])
    tested = tested.with_columns(value=pl.when(merged).then(pl.lit(OTHER)).otherwise("value"))
    counts = sorted(_counts(tested), key=lambda count: (count["value"] == UNKNOWN, count["value"] == OTHER))
    listed = ", ".join(f"{count['value']} ({count['rows']:,} rows, {count['events']:,} events)" for count in small)
    least = f"fewer than {LEAST_ROWS} rows, {LEAST_EVENTS} events or {LEAST_EVENTS} non-events"
    notes = [f"{name}: {OTHER!r} is {listed}, each with {least}."] if small else []
    notes += [f"{name}: {count['value']!r} has {least}, so its rates are not shown." for count in counts if not _is_large(count)]
    return Groups(
        of_sample=tested.select("sample_id", "value"),
        rows={count["value"]: count["rows"] for count in counts},
        large=tuple(count["value"] for count in counts if _is_large(count)),
        notes=notes,
    )


def _counts(tested: pl.DataFrame) -> list[dict[str, Any]]:
    return tested.group_by("value", maintain_order=True).agg(rows=pl.len(), events=pl.col("y").sum().cast(pl.Int64)).to_dicts()


def _is_large(count: dict[str, Any]) -> bool:
    return bool(count["rows"] >= LEAST_ROWS and LEAST_EVENTS <= count["events"] <= count["rows"] - LEAST_EVENTS)


def _one(rows: pl.DataFrame, groups: Groups) -> dict[str, Any]:
    """One model's rates by group, and its gaps where there are two groups to compare."""
    lines = [
        {"group": group, "rows": count} | (_rates(rows.filter(pl.col("value") == group)) if group in groups.large else {})
        for group, count in groups.rows.items()
    ]
    compared = rows.filter(pl.col("value").is_in(groups.large))
    return {"groups": lines} | (_gaps(compared, groups.large) if len(groups.large) > 1 else {})


def _rates(rows: pl.DataFrame) -> dict[str, float]:
    """Rates of one group under one model, all folds together; AUC and KS are means over seeds."""
    y, p, flag = (rows[column].to_numpy() for column in ("y", "p", "flag"))
    seeds = rows.partition_by("seed")
    return {
        "base_rate": float(y.mean()),
        "mean_score": float(p.mean()),
        "calibration": float(p.mean() / y.mean()),
        "auc": float(np.mean([auc(part["y"], part["p"]) for part in seeds])),
        "ks": float(np.mean([ks(part["y"], part["p"]) for part in seeds])),
        "flagged": float(flag.mean()),
        "tpr": float(flag @ y / y.sum()),
        "fpr": float(flag @ (1 - y) / (1 - y).sum()),
    }


def _gaps(rows: pl.DataFrame, names: tuple[str, ...]) -> dict[str, Any]:
    """AIR and the two differences. Which groups are compared is settled once, on all rows; the draws keep to them."""
    y, flag = rows["y"].to_numpy(), rows["flag"].to_numpy()
    code = rows["value"].replace_strict(list(names), list(range(len(names))), return_dtype=pl.Int64).to_numpy()

    def shares(weight: Array) -> tuple[Array, Array]:
        return share_of(code, weight, flag), share_of(code, weight * y, flag)

    every, events = shares(np.ones(len(y)))
    (most, least), (easiest, hardest) = (every.argmax(), every.argmin()), (events.argmax(), events.argmin())

    def gaps(weight: Array) -> list[float]:
        every, events = shares(weight)
        differences = [every[most] - every[least], events[easiest] - events[hardest]]
        return differences if everybody else [*differences, (1 - every[most]) / (1 - every[least])]

    everybody = bool(flag.all())
    parity, opportunity, *air = resampled(gaps, group_numbers(rows["group"]))
    flagged_by = {"most": names[most], "least": names[least]}
    found = {
        "parity": parity.to_json() | flagged_by,
        "opportunity": opportunity.to_json() | {"most": names[easiest], "least": names[hardest]},
    }
    return found if everybody else {"air": air[0].to_json() | flagged_by} | found


def share_of(code: NDArray[np.int64], weight: Array, flag: Array) -> Array:
    """(K,) weighted share flagged of each group, which is `code`'s 0 … K - 1. Raises UndefinedMetric where a group has no weight."""
    mass = np.bincount(code, weight)
    if not mass.all():
        raise UndefinedMetric("fairness: undefined, a group has no row in a draw")
    return np.asarray(np.bincount(code, weight * flag) / mass)
