"""The fairness tables of a bundle on clients that it was not trained on: what `evaluate --bundle` reports of them.

    python tests/benchmarks/fair.py [--folder build/doubt] > docs/results/fairness.txt

The first network of `doubt.py credit` (trained here where it is not there yet) and the 4,800 clients of the fold that it did not see.
Flagged is what the bundle's own policy flags.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))


def main() -> None:
    from tests.benchmarks.doubt import DATA, FILES, NOW, trained, world
    from trmfin.data.prepared import Prepared, apply, read_raws
    from trmfin.explaining.mix import reason_mix
    from trmfin.learn.evaluation import of_bundle
    from trmfin.learn.tables import fairness_parts

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=Path("build/doubt"))
    asked = options.parse_args()
    use, sequences, train, test = world("credit")
    bundle = trained(use, sequences, train, 0, asked.folder / "credit" / "seed-0")
    (file,) = (DATA / FILES["credit"][1]).glob("*.csv")
    data = apply(use, read_raws(use, file), NOW)
    held = data.samples.filter(data.samples["sample_id"].is_in(sequences.sample_ids[test].tolist()))
    unseen = Prepared(events=data.events, samples=held, links=data.links)
    found = of_bundle(bundle, unseen, use.protocol, whole=True, fair=True)
    tables = found.report["fairness"] | {"reasons": reason_mix(bundle, unseen, found.predictions)}
    print(f"flagged: every score of {tables['cutoff']:.4f} or more, {tables['flagged_share']:.1%} of {held.height:,} clients\n")
    print("\n\n".join(fairness_parts(tables)))


if __name__ == "__main__":
    main()
