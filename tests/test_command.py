"""What all commands share."""

import errno
import os
import sys
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from trmfin.command import application, applications, run
from trmfin.errors import DataError


def fail(kind: Annotated[str, typer.Argument(help="How.")]) -> None:
    """Fails."""
    if kind == "expected":
        raise DataError("x.csv:  two\nlines \x1b[1m and more")
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "disk":
        raise OSError(errno.EIO, os.strerror(errno.EIO), "scores.parquet")
    if kind == "nameless":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if kind == "pipe":
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    if kind == "bug":
        raise ZeroDivisionError
    typer.echo("done")


def test_an_expected_error_is_one_line_on_stderr_and_exit_1() -> None:
    result = CliRunner().invoke(application(fail), ["expected"])
    assert (result.exit_code, result.stderr, result.stdout) == (1, "error: x.csv: two lines ?[1m and more\n", "")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("disk", "scores.parquet: cannot be used (Input/output error)"), ("nameless", "a file: cannot be used (No space left on device)")],
)
def test_a_disk_that_fails_where_none_expected_it_is_one_line_and_exit_1(kind: str, said: str) -> None:
    result = CliRunner().invoke(application(fail), [kind])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {said}; check the path, its permissions and the free space\n"


def test_a_reader_that_went_away_is_no_error() -> None:
    result = CliRunner().invoke(application(fail), ["pipe"])
    assert (result.exit_code, result.stderr) == (1, "")


def test_an_interrupt_is_one_line_and_exit_130() -> None:
    result = CliRunner().invoke(application(fail), ["interrupt"])
    assert (result.exit_code, result.stderr.count("\n"), result.stderr[:19]) == (130, 1, "error: interrupted;")


def test_a_bug_keeps_its_traceback() -> None:
    assert isinstance(CliRunner().invoke(application(fail), ["bug"]).exception, ZeroDivisionError)


def test_wrong_usage_is_exit_2_and_success_0() -> None:
    assert CliRunner().invoke(application(fail), ["expected", "more"]).exit_code == 2
    assert CliRunner().invoke(application(fail), ["none"]).exit_code == 0


def test_a_command_among_others_behaves_the_same() -> None:
    result = CliRunner().invoke(applications({"fail": fail, "too": fail}), ["fail", "expected"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_run_exits_with_the_commands_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["fail", "expected"])
    with pytest.raises(SystemExit) as end:
        run(fail)
    assert end.value.code == 1
