"""One experiment from puzzles to answers: what it leaves, what it goes on from, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.puzzles.tiny_puzzles import kind
from trmfin.errors import ConfigError, DataError, RunError
from trmfin.learn.fit import Progress
from trmfin.model.refine import Thinking
from trmfin.puzzles import experiment
from trmfin.puzzles.board import FOUR, NINE, Shuffle
from trmfin.puzzles.experiment import Ask, lines, run
from trmfin.puzzles.judge import MARGINS, SAFETY, Answered
from trmfin.puzzles.kinds import KINDS, Kind, Parts, of_level, sudoku_kind
from trmfin.puzzles.puzzles import Puzzles
from trmfin.puzzles.sudoku import of_level as drawn
from trmfin.puzzles.sudoku import write_lines

TRAINED_ON = (40, 6, 3)  # drawn 9×9 puzzles


@pytest.fixture(autouse=True)
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: they take longer than everything else."""
    monkeypatch.setattr(experiment, "draw_refinement", lambda *given: None)


def nine() -> Kind:
    return sudoku_kind(NINE, "sudoku9", replace(kind(), name="").recipe, of_level(TRAINED_ON, "full"))


def ask(of: Kind | None = None, **changes: Any) -> Ask:
    of = of or kind()
    return Ask(**({"kind": of, "recipe": of.recipe, "thinking": Thinking(steps=3)} | changes))


def done(asked: Ask, out: Path, anew: bool = False, kill_at: int = 0) -> dict[str, Any]:
    """The result, or KeyboardInterrupt after so many training steps."""
    out.mkdir(exist_ok=True)

    def tell(progress: Progress) -> None:
        if progress.step == kill_at:
            raise KeyboardInterrupt

    return run(asked, out, tell=tell, say=lambda what: None, anew=anew)


def answers(out: Path) -> pl.DataFrame:
    return pl.read_csv(out / "answers.csv", schema_overrides={"puzzle": pl.String, "answer": pl.String})


def untaught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "fit", lambda *given, **named: pytest.fail("trained"))


def solves(size: int, box: tuple[int, int], question: str, answer: str) -> bool:
    """Whether an answer is a solution, by the rules as one tells them."""
    rows = [answer[size * r : size * (r + 1)] for r in range(size)]
    columns = ["".join(row[c] for row in rows) for c in range(size)]
    boxes = [
        "".join(rows[r + i][c + j] for i in range(box[0]) for j in range(box[1]))
        for r in range(0, size, box[0])
        for c in range(0, size, box[1])
    ]
    full = set("123456789"[:size])
    kept = all(given in (".", cell) for given, cell in zip(question, answer, strict=True))
    return kept and all(set(unit) == full for unit in (*rows, *columns, *boxes))


def test_the_result_is_what_anyone_finds_in_the_answers(tmp_path: Path) -> None:
    recipe = kind().recipe
    result = done(ask(recipe=replace(recipe, training=replace(recipe.training, steps=120))), tmp_path)
    told = answers(tmp_path)
    right = [solves(4, (2, 2), *row) for row in told.select("puzzle", "answer").rows()]
    assert told["valid"].to_list() == right == told["exact"].to_list() and 0 < np.mean(right) < 1
    assert result["exact"]["3"] == result["valid"] == np.mean(right) and list(result["exact"]) == ["1", "2", "3"]
    assert result["halted"]["mean_steps"] == told["halting_step"].mean() and result["halted"]["margin"] - SAFETY in MARGINS
    assert result["held_out"] == len(told) == 30 and result["trained_on"] > 100
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))
    assert {"puzzle", "exact", "valid", "cpu_seconds", "parameters", "seed"} <= set(result)


def test_a_line_is_a_puzzles_cells_in_reading_order() -> None:
    assert lines(np.array([[0, 1, 4, 2]], np.int8), (".", "1", "2", "3", "4")) == [".142"]
    assert lines(np.array([[0, 1, 2, 3]], np.int8), KINDS["maze9"].symbols) == ["# SG"]


def test_seconds_of_an_interrupted_training_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.process_time", lambda: 10.0)
    with pytest.raises(KeyboardInterrupt):
        done(ask(), tmp_path, kill_at=8)
    assert json.loads((tmp_path / "spent.json").read_text()) == {"cpu": 10.0}
    assert done(ask(), tmp_path)["cpu_seconds"] == 20.0
    assert done(ask(), tmp_path)["cpu_seconds"] == 30.0  # answered again: training's and this answering's
    assert done(ask(), tmp_path, anew=True)["cpu_seconds"] == 10.0


@pytest.mark.parametrize("text", ["{}", '{"cpu": null}', '{"cpu": "9"}', '{"cpu": -1}', '{"cpu": 1e999}', "[]", "{"])
def test_seconds_that_cannot_be_read_are_one_clear_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "spent.json").write_text(text)
    with pytest.raises(RunError, match=r"spent\.json"):
        done(ask(), tmp_path)


def test_what_a_kill_left_half_written_goes_and_so_does_a_finished_trainings_checkpoint(tmp_path: Path) -> None:
    done(ask(), tmp_path)
    for name in ("training.safetensors", ".result.json.77.part", ".steps.gif.77.part"):
        (tmp_path / name).write_text("half")
    done(ask(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"result.json", "answers.csv", "network.safetensors", "spent.json"}


def test_a_result_never_stands_beside_other_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done(ask(), tmp_path)

    def killed(*given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "draw_refinement", killed)
    with pytest.raises(KeyboardInterrupt):
        done(ask(thinking=Thinking(steps=1)), tmp_path)
    assert (tmp_path / "answers.csv").exists() and not (tmp_path / "result.json").exists()


def test_what_an_earlier_run_left_stays_until_the_new_puzzles_are_known_to_be_good(tmp_path: Path) -> None:
    done(ask(), tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(DataError, match=r"none\.txt: no such file"):
        done(ask(data=tmp_path / "none.txt"), tmp_path / "out", anew=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_other_puzzles_are_answered_by_a_finished_network_if_it_has_learnt_from_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = drawn("full", TRAINED_ON[0], 0), drawn("half", 4, 77)  # of seed 0 the first part is trained on
    write_lines(tmp_path / "others.txt", NINE, others.questions)
    turned = Shuffle(NINE)(own.take(np.array([5])), np.random.default_rng(0).random((1, Shuffle(NINE).draws)))
    write_lines(tmp_path / "learnt.txt", NINE, np.concatenate([others.questions, turned.questions]))
    done(ask(nine()), tmp_path / "out")
    untaught(monkeypatch)
    again = done(ask(nine(), data=tmp_path / "others.txt"), tmp_path / "out")
    assert again["held_out"] == 4 and answers(tmp_path / "out")["puzzle"].to_list() == (tmp_path / "others.txt").read_text().split()
    with pytest.raises(RunError, match="other data or settings"):
        done(ask(nine(), data=tmp_path / "learnt.txt"), tmp_path / "out")


@pytest.mark.parametrize("change", ["seed", "model", "training"])
def test_a_finished_network_answers_for_its_own_recipe_only(change: str, tmp_path: Path) -> None:
    done(ask(), tmp_path)
    recipe = kind().recipe
    others = {"seed": recipe.with_seed(1), "model": recipe.with_model(answer_steps=2)}
    others["training"] = replace(recipe, training=replace(recipe.training, learning_rate=1e-3))
    with pytest.raises(RunError, match="other data or settings"):
        done(ask(recipe=others[change]), tmp_path)


def test_a_part_without_puzzles_and_puzzles_of_another_size_are_refused_before_training(tmp_path: Path) -> None:
    parts = kind().parts(None, 0)
    empty = Parts(train=parts.train, validation=parts.validation, test=parts.test.take(np.array([], np.int64)))
    with pytest.raises(DataError, match=r"sudoku4: none are left for test \(train \d+, validation \d+, test 0\)"):
        done(ask(replace(kind(), parts=lambda data, seed: empty)), tmp_path)
    cut = Puzzles(questions=parts.test.questions[:, :9], answers=parts.test.answers[:, :9])
    with pytest.raises(DataError, match="found puzzles of 9 cells; expected 4 × 4, 16 cells"):
        done(ask(replace(kind(), parts=lambda data, seed: Parts(train=cut, validation=cut, test=cut))), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_and_settings_that_do_nothing_are_refused() -> None:
    recipe = kind().recipe
    for device in ("gpu", "meta", "cuda:99", ""):
        with pytest.raises(ConfigError, match=f"device is {device!r}; this machine has cpu"):
            ask(device=device)
    with pytest.raises(ConfigError, match="members 2"):
        ask(recipe=recipe.with_model(members=2))
    with pytest.raises(ConfigError, match="pretrain_epochs 1"):
        ask(recipe=replace(recipe, training=replace(recipe.training, pretrain_epochs=1.0)))


def test_answers_are_told_with_the_step_that_would_halt(tmp_path: Path) -> None:
    puzzles = kind().parts(None, 0).test.take(np.arange(2))
    wrong = puzzles.answers.copy()
    wrong[0, 0] = wrong[0, 0] % 4 + 1
    answered = Answered(grids=np.stack([wrong, puzzles.answers], 1), halts=np.array([[2.0, 0], [1, 0]], np.float32), truth=puzzles.answers)
    experiment.write_answers(tmp_path / "answers.csv", kind(), puzzles, answered, margin=1.0)
    told = answers(tmp_path)
    assert told["exact"].to_list() == told["valid"].to_list() == [True, True] and told["halting_step"].to_list() == [1, 2]
    assert told["puzzle"].to_list() == lines(puzzles.questions, kind().symbols) and FOUR.cells == len(told["answer"][0])


def test_the_halting_margin_is_chosen_on_validation_puzzles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, seen = ask(), list[Answered]()
    monkeypatch.setattr(experiment, "safe_margin", lambda answered: seen.append(answered) or 0.0)
    done(asked, tmp_path / "out")
    parts = asked.kind.parts(None, asked.recipe.training.seed)
    assert [answered.truth.shape for answered in seen] == [parts.validation.answers.shape]
    np.testing.assert_array_equal(seen[0].truth, parts.validation.answers)


def test_a_result_says_how_its_answers_were_made(tmp_path: Path) -> None:
    thinking = Thinking(steps=2, rollouts=2, noise=0.5, seed=3)
    found = done(ask(thinking=thinking, max_seconds=60.0), tmp_path / "out")
    assert Thinking(**found["thinking"]) == thinking
    assert (found["max_seconds"], found["level"], found["data"], found["unlike_published"]) == (60.0, "", "", "")
    hard = replace(kind(), name="sudoku-hard", published="87")
    found = done(ask(hard, max_seconds=60.0), tmp_path / "hard")
    assert found["unlike_published"].startswith("60 seconds of training, width 16 not 512, ")


def test_a_core_without_recursion_is_asked_once(tmp_path: Path) -> None:
    plain = replace(kind().recipe, model=replace(kind().recipe.model, core="plain", supervision_steps=1))
    for thinking in (Thinking(steps=3), Thinking(rollouts=2, noise=0.5)):
        with pytest.raises(ConfigError, match="core 'plain' has no recursion, so further ones would say the same"):
            ask(recipe=plain, thinking=thinking)
    assert list(done(ask(recipe=plain, thinking=Thinking(steps=1)), tmp_path)["exact"]) == ["1"]
