"""How far explanations can be trusted: sums, noise, other networks, other comparisons, deletion.

On test rows of the credit file, or of the Handbook's simulated cards.

    python tests/benchmarks/faithful.py credit [--cases 1000] [--folder build/doubt] > docs/results/faithful.txt
    python tests/benchmarks/faithful.py fraud [--riskiest]
    python tests/benchmarks/faithful.py credit|fraud --runs

Networks are those of `doubt.py` (trained here where they are not there yet): the first explains, the second is of another seed. Cases
are evenly spaced test rows, or the riskiest ones: of transactions, few of the others are ever explained. Each
line on likeness is the Jaccard index of the principal players (four at most): its mean, and which share of cases has one below .25, .5,
.75 and 1, and of 1.

--runs      nothing but that: the cases scored and explained by two runs on disk, and their records read back
deletion    turning the strongest player off moves the log-odds more than turning off a random other one: share of cases
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
GROUPS = ("near_cutoff_approved", "portfolio", "all_applicants")
ROWS = 10
EDGES = (0, 0.25, 0.5, 0.75, 1, 2)  # of the Jaccard index
FEW = 10  # one case of so many is compared with rows, which take ROWS times as long


def likeness(one: np.ndarray, other: np.ndarray) -> str:
    """Of two sets of values, each (N, M)."""
    from trmfin.explaining.reasons import jaccard, principal

    each = np.array([jaccard(principal(a), principal(b)) for a, b in zip(one, other, strict=True)])
    shares = [((each >= low) & (each < high)).mean() for low, high in pairwise(EDGES)]
    return f"mean {each.mean():.3f}" + "".join(f"{share:8.1%}" for share in shares) + f" of {len(each):,}"


def deletion(worth: np.ndarray, values: np.ndarray, seed: int = 0) -> float:
    """Share of cases. worth: (N, 2^M) of the last step; values: (N, M)."""
    random, M = np.random.default_rng(seed), values.shape[1]
    top = np.abs(values).argmax(1)
    other = (top + random.integers(1, M, len(top))) % M
    everybody, rows = worth.shape[1] - 1, np.arange(len(top))
    moved = [np.abs(worth[rows, everybody] - worth[rows, everybody ^ (1 << player)]) for player in (top, other)]
    return float((moved[0] > moved[1]).mean())


def as_runs(world: str, bundle: Any, names: list[str]) -> str:
    """The same cases by two runs: what their records miss the scores' table by, and whether both are the same bytes."""
    from tests.benchmarks.doubt import DATA, FILES, NOW
    from tests.scoring.models import contents
    from trmfin.data.files import read_json
    from trmfin.data.prepared import Prepared, apply, read_raws
    from trmfin.errors import RunError
    from trmfin.explaining.explainer import Asked
    from trmfin.explaining.records import Records, read_records
    from trmfin.scoring.runs import score_run
    from trmfin.shipped import load_pipeline

    pipeline, source = FILES[world]
    (file,) = [path for path in (DATA / source).iterdir() if path.suffix in (".csv", ".parquet")]
    data = apply(use := load_pipeline(pipeline), read_raws(use, file), NOW)
    samples = data.samples.filter(data.samples["sample_id"].is_in(names))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        Prepared(events=data.events, samples=samples, links=data.links).write(folder / "data")
        runs = [folder / "one", folder / "two"]
        for run in runs:
            score_run(bundle, folder / "data", run, threads=1, explaining=Records(asked=Asked(which="all")))
        records = list(read_records(runs[0], read_json(runs[0] / "manifest.json", RunError)))
        missed = max(abs(record["attribution"]["residual"]) for record in records)
        same = "the same bytes" if contents(runs[0]) == contents(runs[1]) else "OTHER BYTES"
    return f"{world}: {len(records):,} records, base + values less the logit in the scores' table {missed:.1e} at most; two runs: {same}"


def main() -> None:
    from tests.benchmarks.doubt import FILES, trained, world

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("world", choices=FILES)
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--riskiest", action="store_true", help="explain the highest scores, not evenly spaced rows")
    options.add_argument("--runs", action="store_true", help="only score and explain the cases by two runs, and compare these")
    options.add_argument("--folder", type=Path, default=Path("build/doubt"))
    asked = options.parse_args()
    from trmfin.explaining.comparison import comparison
    from trmfin.explaining.explainer import NOISE
    from trmfin.explaining.players import coalitions, players_of
    from trmfin.explaining.shapley import Game, exact, shapley_values
    from trmfin.scoring.engine import score_rows

    use, sequences, train, test = world(asked.world)
    bundle, second = (trained(use, sequences, train, seed, asked.folder / asked.world / f"seed-{seed}") for seed in (0, 1))
    rows = test[np.linspace(0, len(test) - 1, min(asked.cases, len(test))).round().astype(np.int64)]
    aligned = sequences.aligned(bundle.fitted)
    if asked.riskiest:
        rows = test[np.argsort(-score_rows(bundle, aligned, test).score, kind="stable")[: asked.cases]]
    if asked.runs:
        print(as_runs(asked.world, bundle, sequences.sample_ids[rows].tolist()))
        return
    few, players = rows[::FEW], players_of(bundle.task)

    def game(of: Any, group: str, form: str = "average") -> Any:
        return Game.of(of, players, comparison(of.task, of.reference, group, form, None if form == "average" else ROWS))

    near, sets = game(bundle, GROUPS[0]), coalitions(len(players))
    worth = np.concatenate([near.worth(aligned.batch(part), sets) for part in np.array_split(rows, 50)])
    values = shapley_values(worth)
    scores = score_rows(bundle, aligned, rows)
    again = exact(near, aligned, rows)
    which = f"{len(rows):,} {'riskiest ' if asked.riskiest else ''}test rows"
    print(f"{asked.world}: {which}, {len(players)} players, against the average of {GROUPS[0]} unless said")
    print(f"base + values less the logit of the run  {np.abs(worth[:, 0] + values.sum(-1) - scores.logits).max():.1e} at most")
    print(f"base + values less their own logit       {np.abs(worth[:, 0] + values.sum(-1) - worth[:, -1]).max():.1e} at most")
    print(f"a second pass in other batches           {np.abs(again.values - values).max():.1e} at most")
    print(f"{'':40} {'mean':>10}" + "".join(f"{name:>8}" for name in ("< .25", "< .5", "< .75", "< 1", "1")))
    last = values[:, -1]
    shaken = exact(near, aligned, rows, noise=NOISE).values[:, -1]
    print(f"under noise of {NOISE:.0%}                       {likeness(last, shaken)}")
    theirs = exact(game(second, GROUPS[0]), sequences.aligned(second.fitted), rows).values[:, -1]
    print(f"another training seed                    {likeness(last, theirs)}")
    for group in GROUPS[1:]:
        print(f"against {group:32} {likeness(last, exact(game(bundle, group), aligned, rows).values[:, -1])}")
    for group in GROUPS:
        mine = exact(game(bundle, group), aligned, few).values[:, -1]
        print(f"rows of {group:32} {likeness(mine, exact(game(bundle, group, 'rows'), aligned, few).values[:, -1])}")
    print(f"after the first step and the last        {likeness(values[:, 0], last)}")
    print(f"deletion                                 {deletion(worth[..., -1], last):.1%} of cases")


if __name__ == "__main__":
    main()
