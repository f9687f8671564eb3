"""A bundle that learns a few confirmed cases: what is new is found, what was known stays, and nothing else is touched."""

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from tests.learn.tiny import MODEL, TASK, TRAINING, asking, few_draws, notes
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError, DataError, TaskError
from trmfin.learn.adapt import A_CASE, MISTAKEN, MORE_OFTEN, adapt, adapting_recipe, case_rows, rehearsable, with_answers
from trmfin.learn.bundle import Bundle
from trmfin.learn.fit import Trained
from trmfin.learn.members import primary_logits
from trmfin.learn.metrics import auc
from trmfin.learn.recipe import Recipe
from trmfin.learn.settings import TrainSettings
from trmfin.learn.training import bundle_of, learn
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Target

CASES = 6


@cache
def world(base: int = 0) -> tuple[Sequences, Bundle, NDArray[np.int64], NDArray[np.int64]]:
    """Samples, a bundle trained on those of before, the rows of something new (limit 5), which it has not seen, and those of before."""
    data = notes(240)
    new = data.samples["limit"] == 500
    samples = data.samples.with_columns(
        *(pl.when(~new).then(name).alias(name) for name in ("target_bad", "target_bad_known_at")),
    )
    sequences = build(replace(data, samples=samples), TASK)
    recipe = Recipe(model=replace(MODEL, members=2), training=replace(TRAINING, seed=base))
    with few_draws():
        learnt = learn(sequences, np.flatnonzero(~new), recipe, histories=np.arange(240))  # so that bins know this limit
        bundle = bundle_of(learnt, sequences, np.flatnonzero(~new), recipe, {})
    return sequences, replace(bundle, sha256="ab" * 32), np.flatnonzero(new), np.flatnonzero(~new)


@cache
def adapted(frozen: tuple[str, ...] = (), seed: int = 0, base: int = 0) -> Bundle:
    sequences, bundle, new, old = world(base)
    recipe = adapting_recipe(bundle, seed)
    return adapt(
        bundle,
        sequences,
        new[:CASES],
        old,
        replace(recipe, training=replace(recipe.training, frozen=frozen, batch_size=32, learning_rate=1e-2)),
    )


def raw(bundle: Bundle, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    return primary_logits(bundle.network, world()[0].aligned(bundle.fitted), rows)[:, -1]


def test_what_it_is_compared_with_stays_what_it_was_trained_on() -> None:
    assert adapted().profile == world()[1].profile and world()[1].profile.scores is not None


def test_something_new_is_found_and_what_was_known_is_not_forgotten() -> None:
    rises = []  # of each base: what rounding alone changes moves that of one base by half
    for base in range(3):
        sequences, before, new, old = world(base)
        after, unseen = adapted() if base == 0 else adapted(base=base), new[CASES:]
        y = sequences.targets.values["bad"][old]
        assert auc(y, raw(before, old)) > 0.8 and auc(y, raw(after, old)) > auc(y, raw(before, old)) - 0.05
        rises.append([float((raw(after, rows) - raw(before, rows)).mean()) for rows in (unseen, old)])
        assert rises[-1][0] > 3 * abs(rises[-1][1]), rises
    assert np.mean(rises, 0)[0] > 1, rises


def test_the_bundle_is_changed_in_its_weights_and_card_alone() -> None:
    _, before, _, old = world()
    kept = {name: value.clone() for name, value in before.network.state_dict().items()}
    after = adapted()
    assert all(torch.equal(value, kept[name]) for name, value in before.network.state_dict().items())
    assert (after.fitted, after.calibration, after.policy, after.task) == (before.fitted, before.calibration, before.policy, before.task)
    told = after.card["adapted"]
    assert told["data"] == {"samples": CASES, "first_as_of": "2024-01-31T00:00:00.000000Z", "last_as_of": "2024-01-31T00:00:00.000000Z"}
    assert (told["bundle"], told["cases"], told["rehearsed"]) == (before.sha256, CASES, len(old)) and told["seconds"] > 0
    assert {name: value for name, value in after.card.items() if name != "adapted"} == before.card and "adapted" not in before.card
    again = adapted.__wrapped__()
    assert all(torch.equal(value, again.network.state_dict()[name]) for name, value in after.network.state_dict().items())
    assert not torch.equal(adapted(seed=1).network.networks[0].places, after.network.networks[0].places)


@pytest.mark.parametrize(
    ("frozen", "moved"), [(("inputs",), ("core", "heads")), (("inputs", "core"), ("heads",)), (("heads",), ("inputs", "core"))]
)
def test_frozen_parts_keep_their_weights_and_the_others_move(frozen: tuple[str, ...], moved: tuple[str, ...]) -> None:
    part = {"numbers": "inputs", "codes": "inputs", "places": "inputs", "core": "core", "heads": "heads", "halt": "heads"}
    before, after = (bundle.network.networks[0] for bundle in (world()[1], adapted(frozen)))
    new = dict(after.named_parameters())
    changed = {part[name.partition(".")[0]] for name, value in before.named_parameters() if not torch.equal(value, new[name])}
    assert changed == set(moved)


@pytest.mark.parametrize("frozen", ["core", ["all"], ["inputs", "core", "heads"], [1]])
def test_only_parts_of_a_network_can_be_frozen_and_not_all(frozen: object) -> None:
    with pytest.raises(ConfigError, match="frozen is .*; expected some of inputs, core, heads, not all of them"):
        TrainSettings(frozen=frozen)  # type: ignore[arg-type]
    assert TrainSettings.from_json(TrainSettings(frozen=("core", "inputs")).to_json()).frozen == ("inputs", "core")


def test_the_old_is_rehearsed_with_own_answers_and_mistakes_of_the_first_round_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What rows are learnt with which answers, of a member that after the first round takes the first half of the rows for cases."""
    sequences, bundle, new, old = world()
    lessons: list[tuple[NDArray[np.float64], Counter[int]]] = []

    def say(sequences: Sequences, rows: NDArray[np.int64], weights: object, *others: object) -> NDArray[np.float64]:
        return np.where(rows < np.median(rows), 0.9, 0.2) if len(lessons) % 2 else np.full(len(rows), 0.25)

    def learn_nothing(sequences: Sequences, pool: NDArray[np.int64], judged: NDArray[np.int64], **others: object) -> Trained:
        assert set(judged) <= set(pool)
        lessons.append((np.asarray(sequences.targets.values["bad"], np.float64), Counter(pool.tolist())))
        weights = {name: value.numpy() for name, value in bundle.network.networks[0].state_dict().items()}
        return Trained(weights=weights, best_step=1, steps=1, seconds=0.0, history=[], depths={})

    monkeypatch.setattr("trmfin.learn.adapt._said", say)
    monkeypatch.setattr("trmfin.learn.adapt.fit", learn_nothing)
    recipe = adapting_recipe(bundle, 0)
    adapt(replace(bundle), sequences, new[:CASES], old, recipe)
    (answers, first), (_, second) = lessons[:2]
    assert len(lessons) == 4 and set(first) == {*old.tolist(), *new[:CASES].tolist()}, "two rounds of two members"
    assert (answers[old] == 0.25).all() and (answers[new[:CASES]] == 1).all()
    of_cases = sum(first[row] for row in new[:CASES].tolist())
    assert of_cases / first.total() == pytest.approx(A_CASE * CASES, abs=0.01) and {first[row] for row in old.tolist()} == {1}
    often = np.array([row for row in old.tolist() if second[row] == MORE_OFTEN])
    assert len(often) == round(len(old) * MISTAKEN) and (sequences.targets.values["bad"][often] == 0).all()
    assert (often < np.median(old)).all(), "they are those whose scores rose"


def test_a_case_needs_no_known_answer_and_its_answer_is_yes() -> None:
    sequences, _, new, old = world()
    known = with_answers(sequences, new[:2])
    assert known.known[new[:2]].all() and not known.known[new[2:]].any() and (known.targets.values["bad"][new[:2]] == 1).all()
    assert not sequences.known[new].any() and np.array_equal(known.targets.values["bad"][old], sequences.targets.values["bad"][old])


def test_cases_are_samples_each_told_once_and_not_known_to_be_the_opposite() -> None:
    sequences, _, new, old = world()
    ids = sequences.sample_ids[new[:2]].tolist()
    assert case_rows(sequences, pl.DataFrame({"sample_id": ids, "by": ["x", "y"]})).tolist() == new[:2].tolist()
    good = sequences.sample_ids[old[sequences.targets.values["bad"][old] == 0][0]]
    for cases, said in (
        (pl.DataFrame({"id": ids}), "2 rows of id; expected a column sample_id"),
        (pl.DataFrame({"sample_id": []}), "0 rows of sample_id"),
        (pl.DataFrame({"sample_id": [ids[0], ids[0]]}), f"sample_id '{ids[0]}' is told more than once"),
        (pl.DataFrame({"sample_id": [ids[0], None]}), "is empty"),
        (pl.DataFrame({"sample_id": [*ids, "nobody"]}), "1 of 3 are no prepared samples .first: 'nobody'"),
        (pl.DataFrame({"sample_id": [good]}), f"1 are known to be no bad .first: '{good}'"),
    ):
        with pytest.raises(DataError, match=said):
            case_rows(sequences, cases)
    classes = build(_of_three(), asking(Target(name="three", head="classes", meaning="which", classes=("0", "1", "2"))))
    with pytest.raises(TaskError, match="'three' has others"):
        case_rows(classes, pl.DataFrame({"sample_id": ids}))


def test_only_labelled_samples_of_the_time_that_was_trained_on_are_rehearsed() -> None:
    """Months 1 and 2 of four were trained on; the last holds labelled samples of what may be new."""
    _, bundle, _, _ = world()
    sequences = build(notes(8, months=4), TASK)
    times = np.unique(sequences.as_of).astype("datetime64[us]")
    data = {"samples": 16, "first_as_of": f"{times[1]}Z", "last_as_of": f"{times[2]}Z"}
    trained = replace(bundle, card=bundle.card | {"data": data})
    assert rehearsable(trained, sequences).tolist() == list(range(8, 24))
    again = adapted()
    assert again.card["data"] == bundle.card["data"], "an adapted bundle still knows its time"
    with pytest.raises(DataError, match="16 have a known answer, as of 2024-01-31 to 2024-05-30, none as of 2024-03-01 to 2024-04-01"):
        ends = notes(8, months=5).samples.filter(pl.col("sample_id").str.contains("@[04]"))
        rehearsable(
            replace(trained, card={"data": data | {"last_as_of": "2024-04-01T00:00:00.000000Z"}}),
            build(replace(notes(8, months=5), samples=ends), TASK),
        )
    with pytest.raises(DataError, match="samples: 0 have a known answer, none as of"):
        rehearsable(trained, build(notes(8, labelled=False), TASK))


def test_there_must_be_something_to_rehearse() -> None:
    sequences, bundle, new, _ = world()
    with pytest.raises(DataError, match="no labelled sample beside the cases"):
        adapt(bundle, sequences, new[:2], new, adapting_recipe(bundle, 0))


def _of_three() -> Prepared:
    data = notes(8)
    return replace(data, samples=data.samples.with_columns(target_three=pl.lit("1"), target_three_known_at="target_bad_known_at"))
