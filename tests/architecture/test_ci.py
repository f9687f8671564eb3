"""CI fails where nothing ran, and where real data are there but a test did without them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.tree import ROOT, sources

PASSED = '<testcase name="a"/>'
NO_DATA = '<testcase name="b"><skipped message="real data: no folder"/></testcase>'
OTHER = '<testcase name="c"><skipped message="needs a GPU"/></testcase>'


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
    (report := tmp_path / "tests.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    folder = tmp_path if data else tmp_path / "absent"
    done = subprocess.run([sys.executable, ROOT / ".ci" / "count_tests.py", report, folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, line)


def test_only_the_fixture_asks_where_real_data_lie() -> None:
    """Then each skip for want of data gives the reason that the count looks for. Benchmarks are never counted."""
    variable = "TRMFIN" + "_DATA"
    asking = {str(file.path) for file in sources("tests") if variable in file.text and "benchmarks" not in file.path.parts}
    assert asking == {"tests/conftest.py"}
