"""What training may ask of samples: both kinds offer it, and what they are made of tells one set from every other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.learn.tiny import notes, world
from tests.model.test_network import world as aligned
from tests.puzzles.tiny_puzzles import kind
from tests.worlds import WORLDS, at, card_and_shop, document_chain, grid, prepared, table
from trmfin.learn.checkpoint import content
from trmfin.puzzles.board import FOUR
from trmfin.puzzles.puzzle_samples import PuzzleSamples
from trmfin.puzzles.sudoku import generate
from trmfin.sequences.samples import Samples
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task
from trmfin.sequences.transforms import NEVER

Array = NDArray[Any]
PUZZLES = generate(FOUR, 4, 0, givens=(6, 8))


def puzzles(**changes: Any) -> PuzzleSamples:
    return replace(kind().samples(PUZZLES, seed=3, redrawn=True), **changes)


@pytest.mark.parametrize("samples", [aligned(document_chain), puzzles()], ids=["sequences", "puzzles"])
def test_both_kinds_of_samples_offer_what_training_asks_for(samples: Samples) -> None:
    assert samples.fitted is not None and samples.fitted.task_sha256 == samples.task.sha256
    assert samples.known.shape == (len(samples),) and samples.known.dtype == bool
    assert set(samples.targets.values) <= {target.name for target in samples.task.targets}
    rows = np.flatnonzero(samples.known)[[1, 0]]
    batch = samples.batch(rows)
    assert batch.rows.tolist() == rows.tolist() and batch.mask.shape == (2, samples.task.length)
    assert {target.name for target in samples.task.targets} == set(batch.targets)


def test_a_sample_is_known_where_its_primary_answer_is() -> None:
    assert world(notes()).sequences.known.all() and not world(notes(labelled=False)).sequences.known.any()
    sequences = aligned(grid)
    times = sequences.targets.known_at[sequences.task.primary]
    assert sequences.known.tolist() == (times < NEVER).tolist() == [True, False]


def held(value: Any) -> Iterator[Array]:
    """All arrays inside a value."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from held(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from held(getattr(value, field.name))


@pytest.mark.parametrize("make", WORLDS)
def test_every_array_of_sequences_is_told(make: Callable[..., Any]) -> None:
    sequences = aligned(make)
    told = sequences.arrays()
    assert {id(array) for array in held(sequences)} <= {id(array) for array in told} and len(told) > 8
    assert not any(array.dtype.hasobject for array in told)  # bytes of objects are addresses, which differ from run to run


@pytest.mark.parametrize(
    ("late", "other"), [({"one": 2, "two": 2}, {"one": 2}), ({"one": 2, "two": 3, "three": 2}, {"one": 2, "two": 3, "three": 3})]
)
def test_columns_that_become_known_at_other_times_are_other_content(late: dict[str, int], other: dict[str, int]) -> None:
    names = ("one", "two", "three")
    asked = Task(
        name="late",
        histories=(History(name="all", keys=("key",), length=3),),
        fields=tuple(Field(name=name, column=name, transform="number") for name in names),
        targets=(Target(name="any", head="binary", meaning="nothing"),),
        primary="any",
        group="key",
    )

    def made(days: dict[str, int]) -> Sequences:
        events = [
            {"event_id": f"e{day}", "event_time": at(day), "known_at": at(day), "event_type": "x", "key": "k"}
            | dict.fromkeys(names, float(day))
            | {f"{name}_known_at": at(day + after) for name, after in days.items()}
            for day in range(4)
        ]
        samples = [{"sample_id": f"s{day}", "as_of": at(day, 1), "key": "k"} for day in range(1, 5)]
        return build(prepared(table(events), table(samples)), asked)

    one, two = made(late), made(other)
    assert not np.array_equal(one.batch(range(4)).numbers, two.batch(range(4)).numbers, equal_nan=True)
    assert content(one) == content(made(late)) != content(two)


@pytest.mark.parametrize("make", WORLDS)
def test_no_byte_of_a_record_is_left_to_chance(make: Callable[..., Any]) -> None:
    for columns in ((sequences := aligned(make)).events, sequences.samples):
        parts = columns.records.dtype
        assert parts.itemsize == sum(parts[name].itemsize for name in parts.names or ()), "content would differ from run to run"
        assert parts.itemsize % 8 == 0, "every other record would begin amid a word"


@pytest.mark.parametrize("make", [card_and_shop, document_chain, grid])
def test_a_changed_byte_of_any_array_is_other_content(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = aligned(make)
    told, seen = sequences.arrays(), {content(sequences)}
    for place, array in enumerate(told):
        if not array.nbytes:
            continue
        changed = bytearray(array.tobytes())
        changed[-1] ^= 1
        other = np.frombuffer(bytes(changed), array.dtype).reshape(array.shape)
        monkeypatch.setattr(Sequences, "arrays", lambda self, place=place, other=other: [*told[:place], other, *told[place + 1 :]])
        seen.add(content(sequences))
    assert len(seen) == 1 + sum(bool(array.nbytes) for array in told)


def test_puzzles_are_told_apart_by_all_they_are_made_of() -> None:
    made = puzzles()
    question, answer = made.puzzles.questions.copy(), made.puzzles.answers.copy()
    question[-1, -1] ^= 1
    answer[-1, -1] ^= 1
    others = [
        puzzles(seed=4),
        puzzles(looks=made.looks + 1),
        puzzles(symbols=("_", *made.symbols[1:])),
        puzzles(puzzles=replace(made.puzzles, questions=question)),
        puzzles(puzzles=replace(made.puzzles, answers=answer)),
        puzzles(task=replace(made.task, name="other")),
        puzzles(redraw=None, looks=1),
    ]
    assert content(puzzles()) == content(made) and len({content(made), *map(content, others)}) == 1 + len(others)
