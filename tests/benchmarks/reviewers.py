"""Many reviewers at once, and reviewers who are killed: is any decision lost, doubled or torn, and how long does one take?

    python tests/benchmarks/reviewers.py [--reviewers 20] [--seconds 120] [--kills 20] [--cases 400] > docs/results/reviewers.txt

Each reviewer is a process of its own. It claims a random case that is open, decides it, and goes on, without thinking in between;
where somebody was faster it takes another. A case that is decided is undone and given back. All is written to one journal: SQLite on
this machine's disk, then a PostgreSQL server that is started for it on the same machine (left out where its programs are missing).

events        written, as the journal has them; lost: that a reviewer was told of and the journal has not
twice         decisions of a case that was decided already
p50, p95      milliseconds of one action, the wait for others included
killed        reviewers that died by SIGKILL at a random moment, one after the other: afterwards the chain must be whole, and every
              action must be there with what it made of the case, or not at all
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
RUN = "a" * 64
NOTE = "Seen the payslip of May, salary doubled."


def reviews(url: str, name: str, cases: int, until: float, told: Any) -> None:
    """Claim and decide until the time is over; tells (action, sample, hash of the event, milliseconds)."""
    from trmfin.errors import ReviewError
    from trmfin.scoring.journal import Journal
    from trmfin.scoring.review import Reviewer, Step

    dice, reviewer, done = random.Random(name), Reviewer(name=name, roles=("analyst", "approver")), list[tuple[str, str, str, float]]()
    with Journal(url) as journal:
        while time.time() < until:
            sample = f"s{dice.randrange(cases)}"
            seen = journal.case(RUN, sample)
            steps = {"open": ("claim", "accept"), "decided": ("undo",)}.get(seen.state, ())
            version = seen.version
            for action in steps:
                began = time.perf_counter()
                try:
                    event = journal.act(
                        reviewer, RUN, sample, Step(action=action, note=NOTE, model_decision="flagged"), seen=version, record="b" * 64
                    )
                except ReviewError:
                    break
                done.append((action, sample, event.sha256, 1000 * (time.perf_counter() - began)))
                version = event.after.version
            if steps == ("undo",):  # what was undone is claimed by who decided it: it is given back so that others may go on
                give_back(journal, sample, cases)
    told.put(done)


def give_back(journal: Any, sample: str, cases: int) -> None:
    """Release a case in its owner's name."""
    from trmfin.errors import ReviewError
    from trmfin.scoring.review import Reviewer, Step

    case = journal.case(RUN, sample)
    owner = journal.words([case.owner]).get(case.owner) if case.state == "claimed" else None
    if owner:
        try:
            journal.act(Reviewer(name=owner, roles=("analyst",)), RUN, sample, Step(action="release"), seen=case.version)
        except ReviewError:
            return


def side_by_side(url: str, reviewers: int, seconds: float, cases: int) -> str:
    """One line of the table."""
    from trmfin.scoring.journal import Journal

    context = multiprocessing.get_context("spawn")
    told, until = context.Queue(), time.time() + seconds + 5  # about five seconds until all have started
    people = [context.Process(target=reviews, args=(url, f"reviewer {n}", cases, until, told)) for n in range(reviewers)]
    for process in people:
        process.start()
    done = [entry for _ in people for entry in told.get()]
    for process in people:
        process.join()
    with Journal(url, create=False) as journal:
        count, _ = journal.verify()
        events = list(journal.events())
    there = {event.sha256 for event in events}
    lost = sum(sha not in there for _, _, sha, _ in done)
    twice = sum(event.action == "accept" and event.before.state == "decided" for event in events)
    slow = np.percentile([spent for *_, spent in done], (50, 95))
    return f"{count:>8,} {lost:>6} {twice:>6} {slow[0]:>8.1f} {slow[1]:>8.1f}   intact"


def killed(url: str, kills: int, cases: int) -> str:
    """Reviewers who die one after the other."""
    from trmfin.scoring.journal import Journal

    context, dice, died, before = multiprocessing.get_context("spawn"), random.Random(0), 0, 0
    unheard = context.Queue()
    for number in range(kills):
        process = context.Process(target=reviews, args=(url, f"victim {number}", cases, time.time() + 600, unheard))
        process.start()
        wait_for_events(url, before)
        time.sleep(dice.uniform(0, 0.2))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        died += process.exitcode == -signal.SIGKILL
        with Journal(url, create=False) as journal:
            before, _ = journal.verify()
    return f"{died} reviewers killed: {before:,} events, after each kill the chain was whole and cases were what their events made them"


def wait_for_events(url: str, before: int) -> None:
    """Until the reviewer is at work."""
    from trmfin.scoring.journal import Journal

    with Journal(url) as journal:
        while sum(1 for _ in journal.events()) <= before:
            time.sleep(0.05)


@contextmanager
def journals() -> Iterator[dict[str, Callable[[str], str]]]:
    """Database → what makes the URL of a journal of a name, which is not there yet."""
    from tests.scoring.databases import programs, server

    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        found: dict[str, Callable[[str], str]] = {"SQLite": lambda name: f"sqlite:///{folder}/{name}.db"}
        yield found | ({"PostgreSQL": stack.enter_context(server())} if programs() else {})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--reviewers", type=int, default=20)
    options.add_argument("--seconds", type=float, default=120)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--cases", type=int, default=400)
    asked = options.parse_args()
    with journals() as databases:
        print(f"{asked.reviewers} reviewers for {asked.seconds:g} seconds, {asked.cases} cases")
        print(f"{'':12} {'events':>8} {'lost':>6} {'twice':>6} {'p50 ms':>8} {'p95 ms':>8}   chain", flush=True)
        for name, url in databases.items():
            print(f"{name:12} {side_by_side(url('many'), asked.reviewers, asked.seconds, asked.cases)}", flush=True)
        for name, url in databases.items():
            print(f"{name}: {killed(url('killed'), asked.kills, asked.cases)}", flush=True)


if __name__ == "__main__":
    main()
