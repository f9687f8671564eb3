"""A run folder: one writer at a time, and no byte changes unseen."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scoring.models import PANEL, bundle_for, panel, saved
from trmfin.data.files import sha256_of
from trmfin.errors import RunError
from trmfin.scoring.folder import PROGRESS, TABLES, Shard, add_progress, finished_parts, locked, read_manifest, remove_parts, verify_run
from trmfin.scoring.runs import score_run
from trmfin.scoring.scores import Effort

HOLD = """
import sys, time
from pathlib import Path
from trmfin.scoring.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path, checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=checkout, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    bundle, prepared = saved(panel(12), bundle_for(panel(12), PANEL), folder)
    score_run(bundle, prepared, folder / "run", shard_rows=5, threads=1)
    return folder / "run"


def copied(run: Path, folder: Path) -> Path:
    for path in run.rglob("*.*"):
        target = folder / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def test_a_second_job_is_refused_and_told_the_first_ones_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError, match=f"process {holder.pid} is writing this folder"), locked(tmp_path):
        raise AssertionError("two jobs hold one folder")
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):  # a killed job leaves no stale lock
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / ".lock").exists()


def test_of_many_that_ask_at_once_one_at_a_time_has_the_lock(tmp_path: Path) -> None:
    inside, most, refused = [0], [0], [0]

    def work() -> None:
        for _ in range(50):
            try:
                with locked(tmp_path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            except RunError:
                refused[0] += 1

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most[0] == 1 and refused[0] < 200


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"), locked(tmp_path / "file"):
        raise AssertionError("locked a file")


def refuse(*arguments: object, **options: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("call", "said"), [("os.ftruncate", "cannot be written"), ("os.write", "cannot be written"), ("fcntl.flock", "cannot be locked")]
)
def test_a_lock_that_the_disk_refuses_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, said: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(RunError, match=rf"\.lock: {said} \(Input/output error\); "), locked(tmp_path):
            raise AssertionError("went on without a lock")
    with locked(tmp_path):  # nothing is left that keeps the next one out
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_file_that_cannot_be_removed_does_not_hide_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refuse)
        with pytest.raises(RunError, match="disk full"), locked(tmp_path):
            raise RunError("disk full")
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()


def finished_shards(folder: Path) -> list[Shard]:
    return finished_parts(folder, PROGRESS, Shard.from_json, TABLES)


@pytest.mark.parametrize(
    ("call", "work"),
    [
        ("pathlib.Path.unlink", remove_parts),
        ("pathlib.Path.rglob", remove_parts),
        ("pathlib.Path.unlink", finished_shards),
        ("pathlib.Path.rglob", finished_shards),
        ("pathlib.Path.read_bytes", finished_shards),
        ("os.fsync", lambda folder: add_progress(folder, PROGRESS, shard(folder, 1))),
    ],
)
def test_a_disk_that_fails_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, work: Callable[[Path], object]
) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / ".part-00000.parquet.77.part").write_bytes(b"half")
    add_progress(tmp_path, PROGRESS, shard(tmp_path, 0))
    monkeypatch.setattr(call, refuse)
    with pytest.raises(RunError, match=rf"^{tmp_path}\S*: cannot be \w+ \(Input/output error\); \w") as caught:
        work(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", ["pathlib.Path.rglob", "pathlib.Path.read_bytes", "pathlib.Path.open"])
def test_a_finished_run_that_cannot_be_read_is_one_clear_error(run: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.setattr(call, refuse)
    with pytest.raises(RunError, match=rf"^{run}\S*: cannot be read \(Input/output error\); check the path"):
        verify_run(run)


def test_a_finished_run_is_whole(run: Path) -> None:
    manifest = verify_run(run)
    assert manifest["counts"] == {"rows": 12, "shards": 3, "bands": manifest["counts"]["bands"]}
    assert sum(manifest["counts"]["bands"].values()) == 12
    assert sorted(path.name for path in run.iterdir()) == ["manifest.json", "scores"]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_any_changed_byte_is_named(run: Path, tmp_path: Path, place: float) -> None:
    for name in ("scores/part-00000.parquet", "scores/part-00002.parquet", "manifest.json"):
        folder = copied(run, tmp_path / name.replace("/", "-") / "run")
        data = bytearray((folder / name).read_bytes())
        data[int(place * len(data))] ^= 1
        (folder / name).write_bytes(data)
        with pytest.raises(RunError, match=name.rpartition("/")[2]):
            verify_run(folder)


def test_a_missing_and_a_foreign_file_are_named(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path / "run")
    (folder / "scores" / "part-00001.parquet").unlink()
    (folder / "scores" / "part-00009.parquet").write_bytes(b"")
    with pytest.raises(RunError) as caught:
        verify_run(folder)
    assert "scores/part-00001.parquet is missing" in str(caught.value)
    assert "scores/part-00009.parquet does not belong to it" in str(caught.value)


def test_a_folder_without_a_run_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        read_manifest(tmp_path)


def shard(folder: Path, number: int) -> Shard:
    path = folder / "scores" / f"part-{number:05d}.parquet"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes([number]))
    return Shard(
        number=number,
        rows=5,
        files={f"scores/{path.name}": sha256_of(path)},
        bands=(1, 4),
        effort=Effort(calls=1, sample_steps=5),
        cells=((1, 3, 1), (5, 0, 0, 0)),
    )


def test_finished_shards_are_kept_and_everything_else_is_removed(tmp_path: Path) -> None:
    shards = [shard(tmp_path, number) for number in range(4)]
    for each in (shards[2], shards[0], shards[1]):
        add_progress(tmp_path, PROGRESS, each)
    (tmp_path / "scores" / "part-00001.parquet").write_bytes(b"changed")
    (tmp_path / "scores" / ".part-00004.parquet.77.part").write_bytes(b"half")
    assert finished_shards(tmp_path) == [shards[0], shards[2]]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "part-00000.parquet",
        "part-00002.parquet",
        "progress.jsonl",
    ]


def test_what_was_half_written_is_removed(tmp_path: Path) -> None:
    for name in (
        ".job.json.77.part",
        "scores/.part-00004.parquet.77.part",
        "prepared/.events.parquet.77.part",
        "scores/part-00000.parquet",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["part-00000.parquet"]


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_was_cut_off_counts_as_not_done(tmp_path: Path, cut: int) -> None:
    shards = [shard(tmp_path, number) for number in range(2)]
    for each in shards:
        add_progress(tmp_path, PROGRESS, each)
    path = tmp_path / "progress.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    kept = finished_shards(tmp_path)
    assert kept == shards[:1] or (cut == 1 and kept == shards)
    add_progress(tmp_path, PROGRESS, shards[1])
    assert finished_shards(tmp_path)[:1] == shards[:1]
