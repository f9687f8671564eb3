"""`python -m trmfin.puzzle`, in this process, with a network of a few hundred weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.puzzles.tiny_puzzles import CONFIG
from trmfin.command import application
from trmfin.learn.fit import Progress, fit
from trmfin.progress import TrainingProgress
from trmfin.puzzle import main
from trmfin.puzzles.board import FOUR, valid
from trmfin.puzzles.sudoku import families, generate, write_lines

PUZZLES = generate(FOUR, 12, 99, givens=(6, 8))


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trmfin.progress.EVERY_SECONDS", float("inf"))
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(CONFIG)
    write_lines(tmp_path / "mine.txt", FOUR, PUZZLES.questions)
    return tmp_path


def run(folder: Path, *arguments: object, name: str = "sudoku4", out: str = "out") -> Result:
    given = [name, "--config", folder / "tiny.toml", "--out", folder / out, *arguments]
    return CliRunner().invoke(application(main), [str(argument) for argument in given])


def found(folder: Path, out: str = "out") -> dict[str, object]:
    return json.loads((folder / out / "result.json").read_text())


def test_a_run_leaves_its_result_its_answers_its_network_and_two_pictures(folder: Path) -> None:
    result = run(folder, "--data", folder / "mine.txt", "--steps", 3)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"result.json", "answers.csv", "network.safetensors", "spent.json", "steps.png", "steps.gif"}
    assert (folder / "out/steps.png").read_bytes()[:4] == b"\x89PNG" and (folder / "out/steps.gif").read_bytes()[:3] == b"GIF"
    record = found(folder)
    assert {"exact", "valid", "cpu_seconds", "parameters", "seed", "halted"} <= set(record) and record["held_out"] == 12
    assert set(record["exact"]) == {"1", "2", "3"} and record["cpu_seconds"] > 0  # type: ignore[call-overload, operator]


def test_every_puzzle_of_the_file_is_answered_in_its_order_and_judged_as_anyone_would(folder: Path) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    answers = pl.read_csv(folder / "out/answers.csv", schema_overrides={"puzzle": pl.String, "answer": pl.String})
    assert answers["puzzle"].to_list() == (folder / "mine.txt").read_text().split()
    grids = np.array([[int(cell) for cell in line] for line in answers["answer"]], np.int8)
    right = valid(FOUR, PUZZLES.questions, grids)
    assert answers["valid"].to_list() == right.tolist() == answers["exact"].to_list()
    assert found(folder)["exact"]["16"] == right.mean() == found(folder)["valid"]  # type: ignore[index]


def test_no_puzzle_of_the_file_is_trained_on_however_turned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[Any] = []

    def noted(samples: Any, train: Any, validation: Any, **others: Any) -> Any:
        taught.extend(samples.look(np.unique(rows % len(samples.puzzles))) for rows in (train, validation))
        return fit(samples, train, validation, **others)

    monkeypatch.setattr("trmfin.puzzles.experiment.fit", noted)
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    held, train, validation = (set(families(FOUR, part)) for part in (PUZZLES, *taught))
    assert not held & train and not held & validation and not validation & train and len(train) > 100


def test_a_killed_training_goes_on_to_the_same_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, "--data", folder / "mine.txt", out="whole").exit_code == 0

    def kill(self: TrainingProgress, member: int, progress: Progress) -> None:
        if progress.step == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "tell", kill)
        assert run(folder, "--data", folder / "mine.txt").exit_code == 130
    assert {path.name for path in (folder / "out").iterdir()} == {"training.safetensors", "spent.json"}
    assert run(folder, "--data", folder / "mine.txt").exit_code == 1  # neither resumed nor replaced
    assert run(folder, "--data", folder / "mine.txt", "--resume").exit_code == 0
    for name in ("answers.csv", "network.safetensors", "steps.png"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    one, other = found(folder), found(folder, "whole")
    assert one.pop("cpu_seconds") and other.pop("cpu_seconds") and one == other


def test_a_finished_run_answers_again_without_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    before = (folder / "out/network.safetensors").read_bytes()
    monkeypatch.setattr("trmfin.puzzles.experiment.fit", lambda *given, **named: pytest.fail("trained again"))
    again = run(folder, "--data", folder / "mine.txt", "--resume", "--steps", 5, "--rollouts", 2, "--noise", 0.1)
    assert again.exit_code == 0 and set(found(folder)["exact"]) == {"1", "2", "4", "5"}  # type: ignore[call-overload]
    assert (folder / "out/network.safetensors").read_bytes() == before


def test_a_network_is_not_judged_on_puzzles_it_may_have_learnt_from(folder: Path) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    write_lines(folder / "others.txt", FOUR, generate(FOUR, 5, 7, givens=(6, 8)).questions)
    other = run(folder, "--data", folder / "others.txt", "--resume")
    assert other.exit_code == 1 and "other data or settings" in other.stderr
    assert run(folder, "--data", folder / "others.txt", "--force").exit_code == 0 and found(folder)["held_out"] == 5


def test_a_folder_with_anything_else_is_left_alone(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/thesis.txt").write_text("years of work")
    for option in ("--resume", "--force"):
        result = run(folder, option)
        assert result.exit_code == 1 and "thesis.txt" in result.stderr
    assert (folder / "out/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no puzzle"),
        ("# only a comment\n\n", "no puzzle"),
        ("1234....\n", "line 1: 8 characters"),
        ("................\n1..x............\n", "line 2: 'x' as character 4"),
        ("11..............\n", "line 1: the puzzle contradicts itself"),
        ("................\n", "line 1: the puzzle has more than one solution"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line_and_leaves_nothing(content: str, said: str, folder: Path) -> None:
    (folder / "bad.txt").write_text(content)
    result = run(folder, "--data", folder / "bad.txt")
    assert result.exit_code == 1 and said in result.stderr and "bad.txt" in result.stderr
    assert result.stderr.count("error: ") == 1 and list((folder / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sudoku5", (), "puzzle 'sudoku5' is unknown"),
        ("sudoku4", ("--level", "full"), "only sudoku9 has levels"),
        ("sudoku9", ("--level", "devilish"), "no level 'devilish'"),
        ("sudoku4", ("--rollouts", 3), "rollouts"),
        ("sudoku4", ("--noise", 0.5), "rollouts"),
        ("sudoku4", ("--rollouts", 3, "--noise", 0.5, "--pick", "luck"), "pick is 'luck'"),
        ("sudoku4", ("--resume", "--force"), "--resume and --force"),
        ("sudoku4", ("--data", "nowhere.txt"), "nowhere.txt"),
        ("sudoku-hard", (), "no --data"),
        ("maze-hard", (), "no --data"),
        ("maze9", ("--data", "x"), "leave --data out"),
    ],
)
def test_what_cannot_be_asked_for_is_one_clear_line(name: str, arguments: tuple[object, ...], said: str, folder: Path) -> None:
    result = run(folder, *arguments, name=name)
    assert result.exit_code == 1 and said in result.stderr and "Traceback" not in result.output
    assert result.stderr.count("error: ") == 1
