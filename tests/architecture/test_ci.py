"""CI fails where nothing ran, and where real data are there but a test did without them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, sources

PASSED = '<testcase name="a"/>'
NO_DATA = '<testcase name="b"><skipped message="real data: no folder"/></testcase>'
OTHER = '<testcase name="c"><skipped message="needs a GPU"/></testcase>'
FAILED = '<testcase name="d"><failure/></testcase>'
SUITE = "<testsuites><testsuite>{cases}</testsuite></testsuites>"
MAKE = """#!/usr/bin/env bash
echo "made $1"
if [ "$1" = test ]; then echo '{suite}' > "${{PYTEST_ADDOPTS#*--junitxml=}}"; fi
if [ "$1" = {broken} ]; then echo "$1 is broken" >&2; exit 2; fi
"""


@pytest.mark.parametrize(
    ("cases", "data", "code", "line"),
    [
        (PASSED + OTHER, True, 0, "tests: 1 passed, 0 failed, 1 skipped"),
        (PASSED + NO_DATA, False, 0, "tests: 1 passed, 0 failed, 1 skipped"),
        (PASSED + NO_DATA, True, 1, "tests: 1 passed, 0 failed, 1 skipped"),
        (NO_DATA, False, 1, "tests: 0 passed, 0 failed, 1 skipped"),
        ("", False, 1, "tests: 0 passed, 0 failed, 0 skipped"),
    ],
)
def test_the_count_of_tests_decides(tmp_path: Path, cases: str, data: bool, code: int, line: str) -> None:
    (report := tmp_path / "tests.xml").write_text(SUITE.format(cases=cases))
    folder = tmp_path if data else tmp_path / "absent"
    done = subprocess.run([sys.executable, ROOT / ".ci" / "count_tests.py", report, folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, line)


def ci(tmp_path: Path, cases: str, broken: str = "nothing", data: bool = False) -> tuple[int, list[str]]:
    """Exit code and lines of `.ci/run` in a checkout of its own, where make only writes a report of these cases and fails at one verb."""
    checkout, tools = tmp_path / "checkout", tmp_path / "tools"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    commands = {checkout / ".venv" / "bin" / "python": f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n'}
    commands[tools / "make"] = MAKE.format(suite=SUITE.format(cases=cases), broken=broken)
    for path, text in commands.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    if data:
        (tmp_path / "shared" / "data").mkdir(parents=True)
    done = subprocess.run(
        ["bash", checkout / ".ci" / "run"],
        env={"PATH": f"{tools}:/usr/bin:/bin", "TRMFIN_CI_PROGRAMS": "none"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout.splitlines()


def test_ci_says_why_tests_were_skipped_before_anything_else_is_made_and_ends_with_their_count(tmp_path: Path) -> None:
    counted = "tests: 1 passed, 0 failed, 2 skipped"
    code, lines = ci(tmp_path, PASSED + NO_DATA + OTHER)
    assert (code, lines[0], lines[-1]) == (0, "made test", counted)
    assert lines[1:4] == ["skipped 1: real data: no folder", "skipped 1: needs a GPU", counted]
    assert lines[4:-1] == ["made lint", "made types", "made docs", "made wheel"]


@pytest.mark.parametrize("broken", ["lint", "types", "docs", "wheel"])
def test_ci_ends_with_the_count_of_tests_where_something_else_fails(tmp_path: Path, broken: str) -> None:
    code, lines = ci(tmp_path, PASSED + OTHER, broken)
    assert code == 2 and "skipped 1: needs a GPU" in lines
    assert lines[-3:] == [f"made {broken}", f"{broken} is broken", "tests: 1 passed, 0 failed, 1 skipped"]


def test_ci_ends_with_the_count_of_tests_where_one_fails(tmp_path: Path) -> None:
    assert ci(tmp_path, PASSED + FAILED, "test") == (2, ["made test", "test is broken", "tests: 1 passed, 1 failed, 0 skipped"])


def test_ci_stops_after_the_tests_where_one_did_without_real_data_that_are_there(tmp_path: Path) -> None:
    code, lines = ci(tmp_path, PASSED + NO_DATA, data=True)
    assert code == 1 and "made lint" not in lines and lines[-1] == "tests: 1 passed, 0 failed, 1 skipped"
    assert "error: 1 tests were skipped for want of real data, but ../shared/data exists; see the reasons above" in lines


def test_only_the_fixture_asks_where_real_data_lie() -> None:
    """Then each skip for want of data gives the reason that the count looks for. Benchmarks are never counted."""
    variable = "TRMFIN" + "_DATA"
    asking = {str(file.path) for file in sources("tests") if variable in file.text and "benchmarks" not in file.path.parts}
    assert asking == {"tests/conftest.py"}
