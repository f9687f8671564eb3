"""Links: which tokens are related, once it is known that they are."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from tests.worlds import at, document_chain
from trmfin.sequences.links import Links, relation
from trmfin.sequences.sequences import build


def links(*rows: tuple[int, int, str, int]) -> Links:
    source, target, kind, known_at = zip(*sorted(rows), strict=True)
    return Links(source=np.array(source), target=np.array(target), kind=np.array(kind), known_at=np.array(known_at))


def related(found: np.ndarray) -> set[tuple[int, ...]]:
    return {(*map(int, place), int(found[tuple(place)])) for place in np.argwhere(found)}


def test_a_link_relates_two_tokens_of_one_sample_either_way() -> None:
    tokens = np.array([[9, 0, 1], [9, 1, 2]])
    found = relation(
        links((0, 1, "bills", 0), (1, 2, "pays", 0), (0, 2, "bills", 0)), ("bills", "pays"), tokens, np.array([5, 5]), absent=9
    )
    assert related(found) == {(0, 1, 2, 1), (0, 2, 1, 1), (1, 1, 2, 2), (1, 2, 1, 2)}


def test_a_link_counts_only_when_known_strictly_before_as_of() -> None:
    tokens = np.array([[9, 0, 1]] * 2)
    found = relation(links((0, 1, "bills", 5)), ("bills",), tokens, np.array([5, 6]), absent=9)
    assert related(found) == {(1, 1, 2, 1), (1, 2, 1, 1)}


def test_an_event_that_stands_twice_in_a_sample_is_related_at_both_places() -> None:
    found = relation(links((0, 1, "bills", 0)), ("bills",), np.array([[9, 0, 1, 0]]), np.array([5]), absent=9)
    assert related(found) == {(0, 1, 2, 1), (0, 2, 1, 1), (0, 2, 3, 1), (0, 3, 2, 1)}


def test_of_several_kinds_the_first_named_counts_and_others_are_left_out() -> None:
    several = links((0, 1, "pays", 0), (0, 1, "bills", 0), (1, 0, "other", 0))
    assert related(relation(several, ("bills", "pays"), np.array([[9, 0, 1]]), np.array([5]), absent=9)) == {(0, 1, 2, 1), (0, 2, 1, 1)}


def test_a_document_joins_another_case_through_a_link_and_is_related_there() -> None:
    sequences = build(*document_chain())
    ids = [i for i in sequences.event_ids([1])[0]]
    assert ids[-1] == "0.pay" and ids.count(None) == 2
    found = sequences.batch([1]).relation
    assert found is not None and found[0, ids.index("0.pay"), ids.index("1.i1")] == 3


@pytest.mark.parametrize(("day", "joined"), [(6, False), (7, True)])
def test_a_document_does_not_join_before_its_link_is_known(day: int, joined: bool) -> None:
    data, task = document_chain()
    samples = data.samples.select("sample_id", "case_id", as_of=pl.lit(at(day)).cast(pl.Datetime("us", "UTC")))
    sequences = build(replace(data, samples=samples), task)
    assert ("0.pay" in sequences.event_ids([1])[0]) is joined


def test_a_task_with_relations_but_data_without_links_has_none() -> None:
    data, task = document_chain()
    sequences = build(
        replace(
            data,
            links=None,
            samples=data.samples.drop("target_cell", "target_settles").drop("target_cell_known_at", "target_settles_known_at"),
        ),
        task,
    )
    found = sequences.batch([0, 1]).relation
    assert found is not None and found.shape == (2, 8, 8) and not found.any()
