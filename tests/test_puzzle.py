"""`python -m trmfin.puzzle`, in this process, with a network of a few hundred weights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.puzzles.tiny_puzzles import CONFIG
from trmfin.command import application
from trmfin.errors import RunError
from trmfin.learn.fit import Progress, fit
from trmfin.learn.recipe import Recipe
from trmfin.model.refine import Thinking
from trmfin.progress import TrainingProgress
from trmfin.puzzle import main
from trmfin.puzzles.board import FOUR, valid
from trmfin.puzzles.experiment import Ask
from trmfin.puzzles.kinds import KINDS
from trmfin.puzzles.sudoku import families, generate, write_lines
from trmfin.scoring.folder import locked

PUZZLES = generate(FOUR, 12, 99, givens=(6, 8))
UNSEEN = pytest.mark.usefixtures("unseen")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trmfin.progress.EVERY_SECONDS", float("inf"))
        yield


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: they take longer than everything else."""
    monkeypatch.setattr("trmfin.puzzles.experiment.draw_refinement", lambda *given: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(CONFIG)
    write_lines(tmp_path / "mine.txt", FOUR, PUZZLES.questions)
    return tmp_path


def run(folder: Path, *arguments: object, name: str = "sudoku4", out: str = "out") -> Result:
    given = [name, "--config", folder / "tiny.toml", "--out", folder / out, *arguments]
    return CliRunner().invoke(application(main), [str(argument) for argument in given])


def found(folder: Path, out: str = "out") -> Any:
    return json.loads((folder / out / "result.json").read_text())


def contents(folder: Path, out: str = "out") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / out).iterdir()}


def test_a_run_leaves_its_result_its_answers_its_network_and_two_pictures(folder: Path) -> None:
    result = run(folder, "--data", folder / "mine.txt", "--steps", 3)
    assert result.exit_code == 0, result.output
    names = {path.name for path in (folder / "out").iterdir()}
    assert names == {"result.json", "answers.csv", "network.safetensors", "spent.json", "steps.png", "steps.gif"}
    assert (folder / "out/steps.png").read_bytes()[:4] == b"\x89PNG" and (folder / "out/steps.gif").read_bytes()[:3] == b"GIF"
    record = found(folder)
    assert {"exact", "valid", "cpu_seconds", "parameters", "seed", "halted"} <= set(record) and record["held_out"] == 12
    assert set(record["exact"]) == {"1", "2", "3"} and record["cpu_seconds"] > 0
    told = result.stdout.splitlines()
    assert [line.split()[0] for line in told] == ["exact", "valid", "halting", "cost", "answers"]
    assert "of 12 held-out puzzles" in told[0] and told[-1].endswith(str(folder / "out/answers.csv"))


@UNSEEN
def test_every_puzzle_of_the_file_is_answered_in_its_order_and_judged_as_anyone_would(folder: Path) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    answers = pl.read_csv(folder / "out/answers.csv", schema_overrides={"puzzle": pl.String, "answer": pl.String})
    assert answers["puzzle"].to_list() == (folder / "mine.txt").read_text().split()
    grids = np.array([[int(cell) for cell in line] for line in answers["answer"]], np.int8)
    right = valid(FOUR, PUZZLES.questions, grids)
    assert answers["valid"].to_list() == right.tolist() == answers["exact"].to_list()
    assert found(folder)["exact"]["16"] == right.mean() == found(folder)["valid"]


@UNSEEN
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
    for name in ("answers.csv", "network.safetensors", "steps.png", "steps.gif"):
        assert contents(folder)[name] == contents(folder, "whole")[name], name
    one, other = found(folder), found(folder, "whole")
    assert one.pop("cpu_seconds") and other.pop("cpu_seconds") and one == other


@UNSEEN
def test_a_finished_run_answers_again_without_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    before = (folder / "out/network.safetensors").read_bytes()
    monkeypatch.setattr("trmfin.puzzles.experiment.fit", lambda *given, **named: pytest.fail("trained again"))
    again = run(folder, "--data", folder / "mine.txt", "--resume", "--steps", 5, "--rollouts", 2, "--noise", 0.1)
    assert again.exit_code == 0 and set(found(folder)["exact"]) == {"1", "2", "4", "5"}
    assert (folder / "out/network.safetensors").read_bytes() == before


@UNSEEN
def test_a_network_is_not_judged_on_puzzles_it_may_have_learnt_from(folder: Path) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    write_lines(folder / "others.txt", FOUR, generate(FOUR, 5, 7, givens=(6, 8)).questions)
    other = run(folder, "--data", folder / "others.txt", "--resume")
    assert other.exit_code == 1 and "other data or settings" in other.stderr
    assert run(folder, "--data", folder / "others.txt", "--force").exit_code == 0 and found(folder)["held_out"] == 5


@UNSEEN
def test_a_finished_run_is_replaced_only_by_force_and_only_once_its_puzzles_are_known_to_be_good(folder: Path) -> None:
    assert run(folder, "--data", folder / "mine.txt").exit_code == 0
    before = contents(folder)
    refused = run(folder, "--data", folder / "mine.txt")
    assert refused.exit_code == 1 and "go on with --resume, start again with --force" in refused.stderr
    (folder / "bad.txt").write_text("1234\n")
    assert run(folder, "--data", folder / "bad.txt", "--force").exit_code == 1 and contents(folder) == before
    assert run(folder, "--data", folder / "mine.txt", "--force", "--seed", 1).exit_code == 0
    assert found(folder)["seed"] == 1 and contents(folder)["network.safetensors"] != before["network.safetensors"]


@UNSEEN
@pytest.mark.parametrize("option", ["--resume", "--force"])
def test_a_folder_is_kept_to_one_run(option: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(*given: Any, **named: Any) -> Any:
        with pytest.raises(RunError, match="is writing this folder"), locked(folder / "out"):
            pass
        return fit(*given, **named)

    monkeypatch.setattr("trmfin.puzzles.experiment.fit", meanwhile)
    assert run(folder, "--data", folder / "mine.txt", option).exit_code == 0
    assert not (folder / "out/.lock").exists()


@UNSEEN
def test_the_config_changes_the_recipe_and_max_seconds_ends_it(folder: Path) -> None:
    (folder / "wide.toml").write_text(re.sub("steps = 12", "steps = 1000000", CONFIG.replace("width = 16", "width = 24")))
    assert run(folder, "--data", folder / "mine.txt", "--config", folder / "wide.toml", "--max-seconds", 1).exit_code == 0
    assert run(folder, "--data", folder / "mine.txt", out="tiny").exit_code == 0
    assert found(folder)["model"]["width"] == 24 and found(folder)["parameters"] > found(folder, "tiny")["parameters"]


@UNSEEN
def test_without_out_everything_lands_in_build(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    arguments = ["sudoku4", "--config", "tiny.toml", "--data", "mine.txt"]
    assert CliRunner().invoke(application(main), arguments).exit_code == 0
    assert (folder / "build/sudoku4/result.json").exists()


def test_a_folder_with_anything_else_is_left_alone(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/thesis.txt").write_text("years of work")
    for options in ((), ("--resume",), ("--force",)):
        result = run(folder, *options)
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
        ("1234341221434321\n\n1234341221434312\n", "line 3: the puzzle contradicts itself"),
        ("\x00\x01" * 8 + "\n", "line 1: '\\x00' as character 1"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line_and_leaves_nothing(content: str, said: str, folder: Path) -> None:
    (folder / "bad.txt").write_text(content)
    result = run(folder, "--data", folder / "bad.txt")
    assert result.exit_code == 1 and said in result.stderr and "bad.txt" in result.stderr
    assert result.stderr.count("error: ") == 1 and list((folder / "out").iterdir()) == []


def test_every_option_arrives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Ask] = []

    def told(ask: Ask, *given: object, **named: object) -> None:
        asked.append(ask)
        raise RunError("enough")

    monkeypatch.setattr("trmfin.puzzles.experiment.run", told)
    given = (
        "--data",
        "x.txt",
        "--seed",
        4,
        "--max-seconds",
        9,
        "--steps",
        5,
        "--rollouts",
        3,
        "--noise",
        0.5,
        "--restarts",
        "--pick",
        "residual",
    )
    run(folder, *given, "--compile", "--threads", 2, "--device", "cpu")
    run(folder, "--level", "guess", name="sudoku9")
    thinking = Thinking(steps=5, rollouts=3, noise=0.5, random_start=True, pick="residual", seed=4)
    recipe = Recipe.from_toml(folder / "tiny.toml", 4, KINDS["sudoku4"].recipe.with_seed(4))
    expected = {"data": Path("x.txt"), "recipe": recipe, "thinking": thinking, "max_seconds": 9.0, "compiled": True, "threads": 2}
    assert {name: getattr(asked[0], name) for name in expected} == expected
    assert (asked[1].kind.level, asked[1].thinking) == ("guess", Thinking(steps=16))


@pytest.mark.parametrize(("name", "said"), [("nowhere.txt", "no such file"), (".", "cannot be read (Is a directory)")])
def test_a_file_that_is_not_there_or_none_is_one_clear_line(name: str, said: str, folder: Path) -> None:
    result = run(folder, "--data", folder / name)
    assert result.exit_code == 1 and said in result.stderr and str(folder / name) in result.stderr
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
        ("sudoku4", ("--rollouts", 3, "--restarts", "--pick", "luck"), "pick is 'luck'"),
        ("sudoku4", ("--device", "gpu"), "device is 'gpu'; this machine has cpu"),
        ("sudoku4", ("--config", "none.toml"), "none.toml: cannot be read as TOML"),
        ("sudoku-hard", (), "no --data"),
        ("sudoku-hard", ("--data", "nowhere.txt"), "nowhere.txt: no such file"),
        ("maze-hard", (), "no --data"),
        ("maze-hard", ("--data", "nowhere"), "nowhere/train_inputs.npy: no such file"),
        ("maze9", ("--data", "x"), "leave --data out"),
    ],
)
def test_what_cannot_be_asked_for_is_one_clear_line(name: str, arguments: tuple[object, ...], said: str, folder: Path) -> None:
    result = run(folder, *arguments, name=name)
    assert result.exit_code == 1 and said in result.stderr and "Traceback" not in result.output
    assert result.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nwidht = 9", "unknown widht"),
        ("[training]\nseed = 1", "--seed"),
        ('preset = "small"\n[training]\ncurriculum = []', "members 8"),
        ("[model]\nmembers = 2", "members 2"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line_before_anything_is_written(text: str, said: str, folder: Path) -> None:
    (folder / "wrong.toml").write_text(text)
    result = run(folder, "--config", folder / "wrong.toml")
    assert result.exit_code == 1 and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--steps", 0), ("--seed", -1), ("--seed", 2**63), ("--rollouts", 0), ("--noise", -1), ("--max-seconds", 0), ("--threads", 0)],
)
def test_wrong_usage_is_exit_2(arguments: tuple[object, ...], folder: Path) -> None:
    assert run(folder, *arguments).exit_code == 2 and not (folder / "out").exists()
