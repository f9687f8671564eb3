"""ARC from tasks to votes: what is learnt and what is never, whose vector a version has, and what a run leaves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.puzzles.tiny_arc import grid, real, task, tasks
from trmfin.command import application
from trmfin.errors import ConfigError, DataError
from trmfin.learn.fit import Progress
from trmfin.learn.recipe import Recipe
from trmfin.model.config import ModelConfig
from trmfin.model.network import Network
from trmfin.model.refine import Thinking
from trmfin.puzzle import main
from trmfin.puzzles import arc_experiment, arc_lessons, experiment
from trmfin.puzzles.arc import CELLS, END, PADDING, SIDE, augmentations, decode, decode_all, encode
from trmfin.puzzles.arc_experiment import OTHERWISE, ArcAsk, as_text, cropped, run, unlike_published
from trmfin.puzzles.arc_lessons import ARC, Lessons, arc_kind, check_size, given_away, lessons, some
from trmfin.puzzles.judge import Answered
from trmfin.puzzles.pictures import ARC_COLOURS, draw_refinement
from trmfin.puzzles.puzzle_samples import ANSWER
from trmfin.sequences.targets import IGNORE

VERSIONS = 3
GIVEN_AWAY = {
    "arc1": {"by_training_tasks": ["070dd51e"], "by_training_tasks_of_kaggle2025": 376},
    "arc2": {"by_training_tasks": [], "by_training_tasks_of_arcagi": 0},
}
PASSES = {"arc1": 2665, "arc2": 3590}  # demonstrations in all
MODEL = ModelConfig(width=8, head_width=8, inner_multiple=8, blocks=1, latent_steps=1, answer_steps=1, supervision_steps=2)
CONFIG = """
[model]
width = 8
head_width = 8
inner_multiple = 8
blocks = 1
latent_steps = 1
answer_steps = 1
supervision_steps = 2
[training]
steps = 4
batch_size = 2
validations = 2
"""
OPEN = (grid("123"), grid("321")), (grid("45"), grid("5", "4"))
TASKS = (
    replace(task("shown"), tests=((grid("60", "06"), grid("6")), (grid("7"), grid("77")))),
    replace(task("leaky"), tests=((grid("8"), grid("88")),)),
    replace(task("open", "evaluation", demonstrations=3), tests=OPEN),
    replace(task("known", "evaluation"), tests=((grid("8"), grid("88")),)),
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tasks in place of each release."""
    monkeypatch.setattr(arc_lessons, "load", lambda name: TASKS)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures: they take longer than everything else."""
    monkeypatch.setattr(arc_experiment, "draw_refinement", lambda *given: None)


def given(seed: int = 0, versions: int = VERSIONS) -> Lessons:
    return lessons(arc_kind("arc1", versions), seed)


def ask(asked: int | None = None, **changes: Any) -> ArcAsk:
    kind = arc_kind("arc1", VERSIONS, asked)
    training = replace(kind.recipe.training, steps=4, batch_size=2, validations=2)
    standard = {"kind": kind, "recipe": Recipe(model=MODEL, training=training), "thinking": Thinking(steps=2)}
    return ArcAsk(**(standard | changes))


def done(asked: ArcAsk, out: Path, kill_at: int = 0, anew: bool = False) -> dict[str, Any]:
    """The result, or KeyboardInterrupt after so many training steps."""
    out.mkdir(exist_ok=True)

    def tell(progress: Progress) -> None:
        if progress.step == kill_at:
            raise KeyboardInterrupt

    return run(asked, out, tell=tell, say=lambda what: None, anew=anew)


def answered_but(wrong: set[int]) -> Callable[..., Answered]:
    """A network's place: all is wrong after the first of two steps, and the rows `wrong` of each task after the second."""

    def answer(network: Any, samples: Any, rows: Any, thinking: Any) -> Answered:
        truth = samples.puzzles.answers
        black = np.stack([encode(grid("0"))] * len(truth))  # in any look
        last = np.where(np.isin(rows, list(wrong))[:, None], black, truth)
        return Answered(grids=np.stack([black, last], 1), halts=np.zeros((len(truth), 2), np.float32), truth=truth)

    return answer


def answers(out: Path) -> pl.DataFrame:
    return pl.read_csv(out / "answers.csv", schema_overrides={name: pl.String for name in ("task", "first", "second")})


def command(*arguments: object) -> Result:
    return CliRunner().invoke(application(main), [str(argument) for argument in arguments])


def key(pair: tuple[Any, Any]) -> tuple[Any, ...]:
    return tuple((side.shape, side.tobytes()) for side in pair)


@pytest.mark.usefixtures("tiny")
def test_what_is_learnt_are_the_demonstrations_of_all_tasks_each_look_with_a_vector_of_its_own() -> None:
    known = given()
    for place, one in enumerate(TASKS):
        for version, look in enumerate(augmentations(one, VERSIONS, 0)):
            rows = known.train[known.samples.owner[known.train] == place * VERSIONS + version]
            puzzles = known.samples.puzzles.take(rows)
            learnt = {key((decode(question), decode(answer))) for question, answer in zip(puzzles.questions, puzzles.answers, strict=True)}
            assert learnt == {key((look.apply(a), look.apply(b))) for a, b in one.demonstrations}
            assert known.samples.owners[place * VERSIONS + version] == f"{one.id}/{version}"


@pytest.mark.usefixtures("tiny")
def test_a_test_is_asked_in_every_look_with_the_vector_that_its_demonstrations_had() -> None:
    known = given()
    assert [one.id for one in known.asked_tasks] == ["open", "known"]
    looks = augmentations(TASKS[2], VERSIONS, 0)
    samples = known.tests(2, looks)
    assert samples.owner.tolist() == [6, 7, 8] * 2 and samples.owners == known.samples.owners and samples.task == known.samples.task
    for row, (test, look) in enumerate((test, look) for test in OPEN for look in looks):
        assert np.array_equal(samples.puzzles.questions[row], encode(look.apply(test[0])))
        assert np.array_equal(samples.puzzles.answers[row], encode(look.apply(test[1])))


@pytest.mark.usefixtures("tiny")
def test_the_best_step_is_chosen_by_tests_of_training_tasks_but_by_none_of_an_evaluation_task() -> None:
    known = given()
    held = known.samples.puzzles.take(known.validation)
    assert [key(pair) for pair in zip(decode_all(held.questions), decode_all(held.answers), strict=True)] == [
        key(pair)
        for pair in TASKS[0].tests  # "leaky" shows what "known" asks
    ]
    assert known.samples.owner[known.validation].tolist() == [0, 0]
    assert not set(known.validation) & set(known.train) and len(known.samples) == len(known.train) + len(known.validation)


@pytest.mark.usefixtures("tiny")
def test_the_leading_token_alone_says_whose_puzzle_it_is_and_padding_is_not_asked() -> None:
    known = given()
    batch = known.samples.batch(known.train[:4])
    assert batch.codes.shape == (4, 1 + CELLS, 2)
    assert (batch.codes[:, 0, 1] - 2).tolist() == known.samples.owner[known.train[:4]].tolist()
    assert not batch.codes[:, 1:, 1].any() and not batch.codes[:, 0, 0].any()
    answers = known.samples.puzzles.answers[known.train[:4]]
    asked = batch.targets[ANSWER][:, 1:] != IGNORE
    assert np.array_equal(asked, answers != PADDING) and (batch.targets[ANSWER][:, 1:][asked] == answers[asked] - END).all()
    assert known.samples.task.target(ANSWER).classes[0] == "end"


@pytest.mark.usefixtures("tiny")
def test_another_versions_vector_changes_the_leading_token_and_no_cell() -> None:
    known = given()
    network = Network(known.samples.task, known.samples.fitted, MODEL)
    own = known.samples.batch(known.train[:1])
    other = replace(own, codes=np.where(np.arange(2) == 1, own.codes + (own.codes > 0), own.codes))
    moved = (network.encode(own) != network.encode(other)).any(2)[0]
    assert moved.tolist() == [True] + [False] * CELLS
    assert network.codes.table.shape[0] == 12 + 2 + len(TASKS) * VERSIONS + 2


@pytest.mark.usefixtures("tiny", "unseen")
@pytest.mark.parametrize(
    ("wrong", "share", "exact", "right"),
    [({2, 3, 4, 5}, 0.75, 4 / 9, [True, False, True]), ({1, 2}, 1.0, 5 / 9, [True, True, True]), (set(range(6)), 0.0, 0.0, [False] * 3)],
)
def test_votes_of_all_looks_decide_and_a_second_try_counts(
    wrong: set[int], share: float, exact: float, right: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arc_experiment, "answer", answered_but(wrong))  # rows 0 to 2 are a task's first test, 3 to 5 its second
    result = done(ask(), tmp_path)
    assert result["pass_at_2"] == share and result["exact"] == {"1": 0.0, "2": exact}
    assert result["tasks"] == result["tasks_in_all"] == 2 and result["tests"] == 3 and result["predictions"] == 9
    told = answers(tmp_path)
    assert told.columns == ["task", "test", "first", "second", "right"] and told["right"].to_list() == right
    assert told.select("task", "test").rows() == [("open", 1), ("open", 2), ("known", 1)]
    truths = ["321", "5/4", "88"]
    assert [truth in tries for truth, tries in zip(truths, told.select("first", "second").rows(), strict=True)] == right


@pytest.mark.usefixtures("tiny", "unseen")
def test_a_killed_training_goes_on_to_the_same_answers_and_a_finished_network_answers_fewer_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(ask(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        done(ask(), tmp_path / "out", kill_at=3)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"training.safetensors", "spent.json"}
    done(ask(), tmp_path / "out")
    for name in ("answers.csv", "network.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    monkeypatch.setattr(experiment, "fit", lambda *given, **named: pytest.fail("trained"))
    one = done(ask(asked=1), tmp_path / "out")
    assert one["tasks"] == 1 and one["tasks_in_all"] == 2 and answers(tmp_path / "out")["task"].n_unique() == 1
    assert "1 tasks of 2" in one["unlike_published"]


@pytest.mark.usefixtures("tiny")
def test_the_command_teaches_answers_and_draws(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(CONFIG)
    ran = command("arc2", "--config", tmp_path / "tiny.toml", "--versions", 2, "--steps", 2, "--max-seconds", 2, "--out", tmp_path / "out")
    assert ran.exit_code == 0, ran.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"result.json", "answers.csv", "network.safetensors", "spent.json", "steps.png", "steps.gif"}
    told = ran.stdout.splitlines()
    assert [line.split()[0] for line in told] == ["pass@2", "exact", "published", "unlike", "cost", "answers"]
    assert "of 2 of 2 evaluation tasks" in told[0] and "of 6 answers to 3 tests" in told[1] and "7.8 on the 120" in told[2]
    assert "a small run (2 versions of 1,000, 2 seconds of training, width 8 not 512" in told[3]
    found = json.loads((tmp_path / "out/result.json").read_text())
    assert found["release"] == "kaggle2025" and found["versions"] == 2 and found["seed"] == 0 and found["cpu_seconds"] > 0
    assert found["parameters_of_versions"] == len(TASKS) * 2 * 8 < found["parameters"]
    assert found["trained_on"] == 2 * sum(len(one.demonstrations) for one in TASKS)
    right = {(one.id, number): as_text(pair[1]) for one in TASKS for number, pair in enumerate(one.tests, 1)}
    for name, number, first, second, said in answers(tmp_path / "out").rows():
        assert said == (right[name, number] in (first, second))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("sudoku4", "--versions", 2), "only arc1 and arc2 have them"),
        (("sudoku4", "--tasks", 2), "only arc1 and arc2 have them"),
        (("arc1", "--level", "full"), "leave both out"),
        (("arc2", "--data", "x"), "leave both out"),
        (("arc3",), "choose one of sudoku4, sudoku6, sudoku9, sudoku-hard, maze9, maze-hard, arc1, arc2"),
    ],
)
def test_what_cannot_be_asked_for_is_one_clear_line(arguments: tuple[object, ...], said: str, tmp_path: Path) -> None:
    ran = command(*arguments, "--out", tmp_path / "out")
    assert ran.exit_code == 1 and said in ran.stderr and ran.stderr.count("error: ") == 1 and not (tmp_path / "out").exists()


def test_versions_that_do_not_fit_are_refused_with_the_number_that_do() -> None:
    with pytest.raises(ConfigError, match=r"arc1: 3,000 versions of 2,665 demonstrations take 14\.4 GB; .* --versions 1,667 or fewer"):
        check_size(arc_kind("arc1", 3000), 2665)
    check_size(arc_kind("arc1", 1667), 2665)
    check_size(arc_kind("arc2"), 3590)
    with pytest.raises(ConfigError):
        check_size(arc_kind("arc1", 1668), 2665)


def test_a_run_at_full_size_says_what_still_differs_and_a_smaller_one_all_that_does() -> None:
    kind = arc_kind("arc1")
    assert unlike_published(ArcAsk(kind=kind, recipe=kind.recipe.with_seed(7)), 400) == OTHERWISE
    small = ArcAsk(kind=arc_kind("arc1", 2, 20), recipe=kind.recipe.with_model(width=64), max_seconds=30.0)
    assert unlike_published(small, 400).startswith(
        "a small run (2 versions of 1,000, 20 tasks of 400, 30 seconds of training, width 64 not 512); and "
    )


def test_a_choice_of_tasks_is_the_seeds_and_in_order() -> None:
    rows = np.arange(10, 30)
    few = some(rows, 5, 1).tolist()
    assert few == sorted(few) == some(rows, 5, 1).tolist() and len(set(few)) == 5 and set(few) < set(rows.tolist())
    assert some(rows, 5, 2).tolist() != few and some(rows, None, 1).tolist() == some(rows, 99, 1).tolist() == rows.tolist()


def test_a_picture_shows_the_square_that_holds_question_and_answer_in_the_colours_of_arc(tmp_path: Path) -> None:
    question, truth = encode(grid("12")), encode(grid("34", "56", "78"))
    answered = Answered(grids=np.stack([question, truth])[None], halts=np.zeros((1, 2), np.float32), truth=truth[None])
    kind, cut, seen = cropped(ARC["arc1"], question, answered)
    assert kind.side == 4 and cut.reshape(4, 4)[0].tolist() == [3, 4, END, PADDING]
    assert np.array_equal(seen.truth, truth.reshape(1, SIDE, SIDE)[:, :4, :4].reshape(1, 16)) and seen.exact.tolist() == [[False, True]]
    draw_refinement(kind, cut, seen, tmp_path / "steps.png", tmp_path / "steps.gif")
    with Image.open(tmp_path / "steps.png") as image:
        found = {"#" + bytes(colour[:3]).hex() for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}
    assert {ARC_COLOURS[colour] for colour in "12345678"} <= found and ARC_COLOURS["9"] not in found


def test_tasks_that_leave_nothing_to_choose_by_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arc_lessons, "load", lambda name: TASKS[1:])
    with pytest.raises(DataError, match="validation rows: 0 rows"):
        done(ask(), tmp_path)


@real
def test_of_a_real_release_nothing_that_is_asked_is_learnt_or_chosen_by_and_what_would_give_it_away_is_named(name: str) -> None:
    kind = arc_kind(name, versions=1)
    known = lessons(kind, 0)
    assert len(known.train) == sum(len(one.demonstrations) for one in tasks(name)) == PASSES[name] and len(known.validation) == 100
    assert len(known.asked) == {"arc1": 400, "arc2": 120}[name] and kind.recipe.training.steps == 100_000 * PASSES[name] // 768
    puzzles = known.samples.puzzles
    seen = {key(pair) for pair in zip(decode_all(puzzles.questions), decode_all(puzzles.answers), strict=True)}
    assert not seen & {key(pair) for one in known.asked_tasks for pair in one.tests}
    told = given_away(kind, known)
    assert "one release alone" in str(told.pop("note")) and told == GIVEN_AWAY[name]
