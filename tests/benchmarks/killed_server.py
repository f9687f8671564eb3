"""The dashboard's server is killed in the middle of a decision, again and again: is each decision wholly there, or not at all?

    python tests/benchmarks/killed_server.py [--kills 20] [--seconds 1.0] > docs/results/killed-server.txt

In a real browser somebody claims a case of the sample run and presses the button that decides it. A random moment later, up to
`--seconds`, the server dies by SIGKILL. Then the journal is read: every hash and the chain are checked, and the case must be decided with
the event that did it, or claimed without one. The server is started again on the same port, and its page must say what the journal says.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))


def decided_by(page: Any, address: str, case: str) -> None:
    """Claim a case and press the button that accepts the model's decision."""
    from tests.browser.serving import choose

    page.goto(f"{address}/case?run=run&case={case}")
    page.get_by_role("button", name="Claim", exact=True).click()
    page.get_by_role("button", name="Claim", exact=True).wait_for(state="detached")  # the page stands as it is after the claim
    choose(page, "What to do", "accept")
    page.get_by_role("button", name="Accept", exact=True).click()


def found_in(url: str, seal: str, case: str) -> str:
    """Whether the decision is there. Raises where the journal is not whole, or tells two things."""
    from trmfin.scoring.journal import Journal

    with Journal(url, create=False) as journal:
        journal.verify()
        actions, state = [event.action for event in journal.history(seal, case)], journal.case(seal, case).state
    if (actions, state) not in ((["claim"], "claimed"), (["claim", "accept"], "decided")):
        raise SystemExit(f"{case}: events {actions}, but the case is {state}")
    return state


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seconds", type=float, default=1.0, help="between the press of the button and the kill, at most")
    asked = options.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.serving import CHROMIUM, FLAGS, RUN, STEP, free_port, served
    from trmfin.scoring.views import collected, opened

    run, dice, port, states = opened(RUN), random.Random(0), free_port(), Counter[str]()
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        url, folder = f"sqlite:///{temporary}/journal.db", Path(temporary)
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS).new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(STEP)
        before: tuple[str, str] | None = None  # the last case, and what the journal said of it
        for case in collected(run.scores.sort("score", descending=True).head(asked.kills), RUN)["sample_id"]:
            with served(url, "ann", folder, port=port) as shown:
                if before:
                    page.goto(f"{shown.address}/case?run=run&case={before[0]}")
                    page.get_by_text(f"{before[1]} by ann").wait_for()
                decided_by(page, shown.address, case)
                time.sleep(after := dice.uniform(0, asked.seconds))
                shown.kill()
            before = (case, found_in(url, run.seal, case))
            states[before[1]] += 1
            print(f"{case}: killed after {after:.2f} s, {before[1]}", file=sys.stderr, flush=True)
    print(
        f"{asked.kills} kills within {asked.seconds:g} s of the press: {states['decided']} decisions wholly there, "
        f"{states['claimed']} not at all, none torn; the chain was intact after each"
    )


if __name__ == "__main__":
    main()
