"""How many tests passed and how many were skipped, and why: `python .ci/count_tests.py JUNIT_XML DATA_FOLDER`.

Exit 1 where no test passed, or where the data folder exists and a test was skipped for want of real data. Without DATA_FOLDER only
the numbers are printed, and nothing is judged.
"""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

WANT_OF_DATA = "real data:"  # how the fixture `real_data` begins its reason


def count(report: Path) -> tuple[Counter[str], Counter[str]]:
    """Cases by outcome (passed, failed, skipped), and skipped cases by reason."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for case in ElementTree.parse(report).iter("testcase"):
        skipped = case.find("skipped")
        if skipped is not None:
            outcomes["skipped"] += 1
            reasons[skipped.get("message", "")] += 1
        else:
            outcomes["failed" if case.find("failure") is not None or case.find("error") is not None else "passed"] += 1
    return outcomes, reasons


def verdict(outcomes: Counter[str], reasons: Counter[str], data: Path) -> str:
    """What is wrong with the run, empty where nothing is."""
    if not outcomes["passed"]:
        return "error: no test passed; expected the whole suite to run; look at the output of make test"
    lacking = sum(number for reason, number in reasons.items() if WANT_OF_DATA in reason)
    if lacking and data.is_dir():
        return f"error: {lacking} tests were skipped for want of real data, but {data} exists; see the reasons above"
    return ""


def main(report: Path, data: Path | None = None) -> str:
    """Print the counts, the line with the numbers last. Returns the verdict, empty without a data folder."""
    outcomes, reasons = count(report)
    for reason, number in reasons.most_common() if data else ():
        print(f"skipped {number}: {reason}")
    print(f"tests: {outcomes['passed']} passed, {outcomes['failed']} failed, {outcomes['skipped']} skipped")
    return verdict(outcomes, reasons, data) if data else ""


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])) or 0)
