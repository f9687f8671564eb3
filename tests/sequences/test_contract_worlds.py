"""Five unlike worlds go the same way: Prepared, as a folder and back, to Sequences, to Batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worlds import WORLDS, card_and_shop, document_chain, grid, monthly_panel, order_book
from trmfin.data.prepared import Prepared
from trmfin.sequences.batch import Batch
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import IGNORE, Sequences, build
from trmfin.sequences.task import TOKEN_HEADS, Task

World = Callable[[], tuple[Prepared, Task]]


def aligned(world: World) -> Sequences:
    sequences = build(*world())
    return sequences.aligned(Fitted.fit(sequences, np.arange(len(sequences)), bins=4))


def whole(sequences: Sequences) -> Batch:
    return sequences.batch(np.arange(len(sequences)))


@pytest.mark.parametrize("world", WORLDS)
def test_a_batch_has_the_shapes_types_and_codes_that_a_network_is_made_for(world: World) -> None:
    sequences = aligned(world)
    task, batch, fitted = sequences.task, whole(sequences), sequences.fitted
    B, L, F, C = len(sequences), task.length, len(task.numbers), len(task.codes)
    assert (batch.numbers.shape, batch.numbers.dtype) == ((B, L, F), np.float32)
    assert (batch.codes.shape, batch.codes.dtype) == ((B, L, C), np.int64)
    assert (batch.tag.shape, batch.tag.dtype, batch.mask.shape, batch.mask.dtype) == ((B, L), np.int64, (B, L), np.bool_)
    assert fitted is not None and set(fitted.edges) == {f.name for f in task.numbers}
    sizes = [len(fitted.vocabulary[f.name]) + 2 for f in task.codes]
    assert (batch.codes >= 0).all() and (batch.codes < np.array(sizes)).all()
    assert batch.mask[:, 0].all() and not np.isinf(batch.numbers).any()
    assert (batch.relation is not None) == bool(task.relations)


@pytest.mark.parametrize("world", WORLDS)
def test_padding_is_absent_and_stands_left_of_each_history(world: World) -> None:
    batch = whole(aligned(world))
    assert np.isnan(batch.numbers[~batch.mask]).all() and not batch.codes[~batch.mask].any()
    for history in range(1, batch.tag.max() + 1):
        mask = batch.mask[:, batch.tag[0] == history]
        assert (np.diff(mask.astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("world", WORLDS)
def test_fields_of_the_sample_stand_on_the_leading_token_only_and_the_others_only_behind_it(world: World) -> None:
    sequences = aligned(world)
    batch = whole(sequences)
    for fields, there in ((sequences.task.numbers, ~np.isnan(batch.numbers)), (sequences.task.codes, batch.codes > 0)):
        for axis, field in enumerate(fields):
            own, other = (there[:, :1, axis], there[:, 1:, axis]) if field.of == "sample" else (there[:, 1:, axis], there[:, :1, axis])
            assert own.any() and not other.any(), field.name


@pytest.mark.parametrize("world", WORLDS)
def test_targets_are_known_or_marked_as_unknown(world: World) -> None:
    sequences = aligned(world)
    batch = whole(sequences)
    for target in sequences.task.targets:
        values = batch.targets[target.name]
        if target.head in TOKEN_HEADS:
            assert values.shape == batch.mask.shape and (values[~batch.mask] == IGNORE).all() and (values != IGNORE).any()
        else:
            assert values.shape == (len(sequences),) and np.isfinite(values).any()


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_written_and_read_gives_the_same_batches(world: World, tmp_path: Path) -> None:
    data, task = world()
    data.write(tmp_path / "prepared")
    before, after = whole(build(data, task)), whole(build(Prepared.read(tmp_path / "prepared"), task))
    assert before.numbers.tobytes() == after.numbers.tobytes() and before.codes.tobytes() == after.codes.tobytes()
    assert before.mask.tobytes() == after.mask.tobytes()


def ids(sequences: Sequences, sample: str) -> list[Any]:
    return list(sequences.event_ids([sequences.sample_ids.tolist().index(sample)])[0])


def test_a_month_sees_its_own_statement_and_the_two_before() -> None:
    assert ids(aligned(monthly_panel), "c2@4") == [None, "c2@2", "c2@3", "c2@4"]


def test_a_payment_sees_the_earlier_ones_of_card_and_shop_and_never_itself() -> None:
    assert ids(aligned(card_and_shop), "p09") == [None, None, "p00", "p03", "p06", "p03", "p05", "p07"]


def test_a_payment_learns_of_a_fraud_three_days_later() -> None:
    sequences = aligned(card_and_shop)
    axis = [f.name for f in sequences.task.codes].index("fraud")
    seen = [sequences.batch([row]).codes[0, ids(sequences, f"p{row:02}").index("p00"), axis] for row in (6, 9)]
    names = (None, "unknown", *sequences.categories["fraud"])
    assert [names[code] for code in seen] == [None, "fraud"]


def test_a_book_keeps_the_order_of_its_sequence_numbers_and_its_session() -> None:
    assert ids(aligned(order_book), "b13") == [None, None, None, "b10", "b11", "b12", "b13"]


def test_a_case_gathers_its_documents_and_one_through_a_link() -> None:
    assert ids(aligned(document_chain), "case0")[2:] == ["0.order", "0.i0", "0.i1", "0.receipt", "0.pay", "1.i1"]


def test_a_grids_cells_stand_in_reading_order() -> None:
    assert ids(aligned(grid), "g1") == [None, *(f"g1.{cell:02}" for cell in range(16))]
