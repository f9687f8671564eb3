"""Members' processes: what goes wrong in one is said by the one that started it."""

import os
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import pytest

from tests.learn.test_fit import SHORT
from tests.learn.tiny import MODEL, world
from trmfin.errors import RunError
from trmfin.learn.fit import Trained, fit
from trmfin.learn.workers import Job, _received, _work, seconds_each


def job(checkpoint: Path) -> Job[Trained]:
    w = world()
    return partial(fit, w.sequences, w.train, w.validation, fitted=w.fitted, model=MODEL, settings=SHORT, checkpoint=checkpoint)


def test_an_expected_failure_of_a_members_process_is_raised_where_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.learn.workers.signal.signal", lambda *arguments: None)
    monkeypatch.setattr("trmfin.learn.workers.torch.set_num_threads", lambda count: None)
    ours, theirs = Pipe(duplex=False)
    _work(job(Path("missing") / "member"), theirs)
    messages = [ours.recv()]
    while messages[-1][0] == "progress":
        messages.append(ours.recv())
    assert messages[-1][0] == "error" and isinstance(messages[-1][1], RunError) and "cannot be written" in str(messages[-1][1])


def test_a_members_process_ends_quietly_when_the_one_that_started_it_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trmfin.learn.workers.signal.signal", lambda *arguments: None)
    monkeypatch.setattr("trmfin.learn.workers.torch.set_num_threads", lambda count: None)
    ours, theirs = Pipe(duplex=False)
    ours.close()
    _work(job(tmp_path / "member"), theirs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sent", [b"", b"\x00\x00"])
def test_a_process_that_dies_without_a_word_is_one_clear_error(sent: bytes) -> None:
    ours, theirs = Pipe(duplex=False)
    os.write(theirs.fileno(), sent)
    theirs.close()
    with pytest.raises(RunError, match="training of member 3 ended without a word .*--resume"):
        _received(ours, 3)


def test_time_is_shared_by_jobs_that_run_in_turn_and_not_by_those_side_by_side() -> None:
    assert seconds_each(60.0, 8, 2) == 15 and seconds_each(60.0, 3, 2) == 30 and seconds_each(60.0, 2, 2) == 60
    assert seconds_each(None, 8, 2) is None
