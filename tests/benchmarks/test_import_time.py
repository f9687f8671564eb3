"""How long `import trmfin` takes in a fresh interpreter, its start included. Design: with --help under .3 s."""

import subprocess
import sys

from pytest_benchmark.fixture import BenchmarkFixture


def test_import_trmfin(benchmark: BenchmarkFixture) -> None:
    done = benchmark.pedantic(subprocess.run, args=([sys.executable, "-c", "import trmfin"],), rounds=10, warmup_rounds=1)
    assert done.returncode == 0


def test_help(benchmark: BenchmarkFixture) -> None:
    command = [sys.executable, "-m", "trmfin", "--help"]
    done = benchmark.pedantic(subprocess.run, args=(command,), kwargs={"capture_output": True}, rounds=5, warmup_rounds=1)
    assert done.returncode == 0
