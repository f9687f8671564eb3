"""Pictures of an answer being refined."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.puzzles.tiny_puzzles import kind
from trmfin.puzzles import mazes_made
from trmfin.puzzles.board import FOUR
from trmfin.puzzles.judge import Answered
from trmfin.puzzles.kinds import KINDS
from trmfin.puzzles.pictures import FRAMES_A_SECOND, draw_refinement
from trmfin.puzzles.puzzles import Puzzles
from trmfin.puzzles.sudoku import generate

PUZZLE = generate(FOUR, 1, 0, givens=(8, 8))


def refined(puzzle: Puzzles, wrong: tuple[int, ...]) -> Answered:
    """An answer that has so many wrong cells after each step."""
    grids = np.repeat(puzzle.answers[:, None], len(wrong), 1)
    for step, count in enumerate(wrong):
        grids[0, step, :count] = grids[0, step, :count] % 4 + 1
    return Answered(grids=grids, halts=np.zeros((1, len(wrong)), np.float32), truth=puzzle.answers)


def drawn(folder: Path, wrong: tuple[int, ...] = (3, 1, 0, 0, 0)) -> tuple[Path, Path]:
    draw_refinement(kind(), PUZZLE.questions[0], refined(PUZZLE, wrong), folder / "steps.png", folder / "steps.gif")
    return folder / "steps.png", folder / "steps.gif"


def colours(image: Image.Image) -> set[Any]:
    return {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}


def test_the_film_shows_the_question_and_every_step_until_the_answer_rests(tmp_path: Path) -> None:
    picture, film = drawn(tmp_path)
    with Image.open(picture) as image:
        assert image.format == "PNG" and image.width > 2 * image.height / 2 > 100
        assert len(colours(image)) > 3
    with Image.open(film) as image:
        shown = 0.0
        for frame in range(image.n_frames):
            image.seek(frame)
            shown += image.info["duration"]
        assert image.format == "GIF" and image.n_frames >= 4  # question, two steps, the settled answer
    assert shown == (1 + 4 + 2) * 1000 / FRAMES_A_SECOND


def test_the_same_answers_give_the_same_pictures_to_the_byte(tmp_path: Path) -> None:
    one = [path.read_bytes() for path in drawn(tmp_path)]
    assert [path.read_bytes() for path in drawn(tmp_path)] == one
    assert [path.read_bytes() for path in drawn(tmp_path, wrong=(3, 0, 0, 0, 0))] != one
    assert {path.name for path in tmp_path.iterdir()} == {"steps.png", "steps.gif"}


def test_a_film_that_fails_leaves_the_one_before_and_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, film = drawn(tmp_path)
    before = film.read_bytes()

    def full(*given: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.animation.PillowWriter.finish", full)
    with pytest.raises(Exception, match="No space left"):
        drawn(tmp_path, wrong=(3, 0, 0, 0, 0))
    assert film.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("wrong", [(0,), (5,), (16, 16)])
def test_a_single_step_and_an_answer_that_is_never_right_can_be_drawn(wrong: tuple[int, ...], tmp_path: Path) -> None:
    assert all(path.stat().st_size > 500 for path in drawn(tmp_path, wrong))


def test_a_maze_is_drawn_in_colours(tmp_path: Path) -> None:
    mazes = mazes_made.generate(9, 1, 0)
    answered = Answered(grids=mazes.answers[:, None], halts=np.zeros((1, 1), np.float32), truth=mazes.answers)
    draw_refinement(KINDS["maze9"], mazes.questions[0], answered, tmp_path / "a.png", tmp_path / "a.gif")
    with Image.open(tmp_path / "a.png") as image:
        assert {(0x2D, 0x37, 0x48), (0x68, 0xD3, 0x91), (0xF6, 0xAD, 0x55), (0x63, 0xB3, 0xED)} <= colours(image)
