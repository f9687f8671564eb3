"""Looking up a name or asking for help loads nothing heavy: torch alone costs seconds."""

import json
import subprocess
import sys

from tests.architecture.tree import ROOT

HEAVY = ("torch", "shap", "streamlit", "sklearn", "lightgbm", "pandas", "polars")
WATCH = """
import json, runpy, sys
asked = set()
class Watch:
    def find_spec(self, name, path=None, target=None):
        asked.add(name.partition(".")[0])
sys.meta_path.insert(0, Watch())
{code}
print(json.dumps(sorted(asked)), file=sys.stderr)
"""
IMPORT_AND_HELP = """
import trmfin
sys.argv = ["trmfin", "--help"]
try:
    runpy.run_module("trmfin", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
"""


def packages_asked_for(code: str) -> set[str]:
    """Top-level packages that a fresh interpreter looks for when it runs `code`, installed or not."""
    done = subprocess.run([sys.executable, "-c", WATCH.format(code=code)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_import_and_help_load_nothing_heavy() -> None:
    asked = packages_asked_for(IMPORT_AND_HELP)
    assert "typer" in asked
    assert asked.intersection(HEAVY) == set()


def test_the_guard_of_import_cost_sees_a_package_even_where_it_is_not_installed() -> None:
    assert "no_such_package" in packages_asked_for("try:\n    import no_such_package\nexcept ImportError:\n    pass")
