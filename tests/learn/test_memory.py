"""Large tensors are not paid for page by page at every step."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from trmfin.learn.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def step():
    for _ in range(10):
        torch.zeros(40 << 20, dtype=torch.uint8)
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose memory this is about")
def test_memory_that_was_freed_is_taken_again_without_a_page_fault() -> None:
    def faults(word: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 100
    assert faults("leave") > 1000  # so the test above means something
