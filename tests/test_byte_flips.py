"""Every kind of file, a few bytes changed at random; `python tests/benchmarks/byte_flips.py` changes a thousand of each."""

from pathlib import Path

import pytest

from tests.benchmarks.byte_flips import ENDS, Kind, flip, kinds
from trmfin.errors import BundleError

FLIPS = 4  # of each kind


def test_a_changed_byte_is_refused_rejected_or_harmless_and_under_a_hash_always_refused(tmp_path: Path) -> None:
    for kind in kinds(tmp_path):
        ends = [(name, fault) for name, fault in flip(kind, FLIPS, 0, tmp_path)]
        allowed = {"refused"} if kind.sealed else set(ENDS) - {"TRACEBACK"}
        assert len(ends) == FLIPS and {name for name, _ in ends} <= allowed, (kind.name, ends)


def traceback(out: Path) -> None:
    raise ZeroDivisionError("oh")


def silence(out: Path) -> None:
    return


def another_file(out: Path) -> None:
    raise BundleError("bundle x: weights were changed")


@pytest.mark.parametrize(
    ("read", "what"), [(traceback, "ZeroDivisionError: oh"), (silence, "was not found"), (another_file, "does not name the file")]
)
def test_the_judge_of_changed_bytes_sees(read: object, what: str, tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_bytes(b"whole")
    (found,) = flip(Kind(name="x", files=(file,), read=read, sealed=True), 1, 0, tmp_path)  # type: ignore[arg-type]
    assert found[0] == "TRACEBACK" and found[1] is not None and what in found[1].what
    assert file.read_bytes() == b"whole"
