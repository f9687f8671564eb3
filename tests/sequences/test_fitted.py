"""Fitted: bin edges and vocabularies, of training rows only."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.worlds import at, card_and_shop, monthly_panel, prepared, table
from trmfin.errors import BundleError, ConfigError, DataError, TaskError
from trmfin.sequences import fitted as module
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task


def with_sizes(sizes: list[float | None], **columns: list[Any]) -> Sequences:
    """One event and one sample for each size."""
    rows = [{"client": f"c{i}", "size": size} | {name: values[i] for name, values in columns.items()} for i, size in enumerate(sizes)]
    events = [{"event_id": f"e{i}", "event_time": at(0), "known_at": at(0), "event_type": "x", **row} for i, row in enumerate(rows)]
    samples = [{"sample_id": f"s{i}", "as_of": at(1 + i), "client": f"c{i}"} for i in range(len(rows))]
    task = Task(
        name="t",
        histories=(History(name="h", keys=("client",), length=2),),
        fields=(
            Field(name="size", column="size", transform="number"),
            *(Field(name=name, column=name, transform="category") for name in columns),
        ),
        targets=(Target(name="y", head="binary", meaning="m"),),
        primary="y",
        group="client",
    )
    return build(prepared(table(events, size=float), table(samples)), task)


def test_edges_are_quantiles_of_the_training_rows_alone() -> None:
    sequences = with_sizes([0.0, 1.0, 2.0, 3.0, 4.0, 1e6])
    assert Fitted.fit(sequences, np.arange(5), bins=2).edges == {"size": (0.0, 2.0, 4.0)}


def test_equal_edges_merge() -> None:
    assert Fitted.fit(with_sizes([0.0] * 8 + [1.0, 2.0]), np.arange(10), bins=4).edges["size"] == (0.0, 2.0)


@pytest.mark.parametrize(("sizes", "edges"), [([7.0, 7.0], (7.0,)), ([None, None], (0.0,)), ([None, 3.0], (3.0,))])
def test_a_constant_or_always_absent_field_has_one_edge(sizes: list[float | None], edges: tuple[float, ...]) -> None:
    assert Fitted.fit(with_sizes(sizes), np.arange(2), bins=3).edges["size"] == edges


def test_edges_rise_also_as_float32() -> None:
    edges = Fitted.fit(with_sizes([1e9, 1e9 + 1, 1e9 + 2, 2e9]), np.arange(4), bins=3).edges["size"]
    assert (np.diff(np.array(edges, np.float32)) > 0).all()


def test_the_vocabulary_is_what_training_rows_saw_in_sorted_order() -> None:
    sequences = with_sizes([1.0] * 4, kind=["b", "a", "b", "c"])
    assert Fitted.fit(sequences, np.array([2, 1, 0]), bins=1).vocabulary == {"kind": ("a", "b")}


def test_a_late_value_that_no_training_sample_could_see_is_not_in_the_vocabulary() -> None:
    sequences = build(*card_and_shop())
    early = Fitted.fit(sequences, np.arange(6), bins=1)
    assert early.vocabulary["fraud"] == () and Fitted.fit(sequences, np.arange(20), bins=1).vocabulary["fraud"] == ("fraud", "genuine")


def test_the_order_and_repetition_of_rows_do_not_matter() -> None:
    sequences = build(*monthly_panel())
    assert Fitted.fit(sequences, np.array([3, 1, 7, 1]), bins=4) == Fitted.fit(sequences, np.array([1, 3, 7]), bins=4)


def test_many_rows_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EDGE_ROWS", 3)
    monkeypatch.setattr(module, "CHUNK", 2)
    sequences = with_sizes([float(i) for i in range(9)], kind=[str(i) for i in range(9)])
    fitted = Fitted.fit(sequences, np.arange(9), bins=2)
    assert fitted.edges["size"] == (0.0, 4.0, 8.0) and len(fitted.vocabulary["kind"]) == 9


def test_it_knows_its_task_and_how_far_it_looked() -> None:
    sequences = build(*monthly_panel())
    fitted = Fitted.fit(sequences, np.array([0, 1]), bins=2)
    assert fitted.task_sha256 == sequences.task.sha256 and fitted.fit_until == "2024-03-01T00:00:00+00:00"


def test_it_survives_json() -> None:
    fitted = Fitted.fit(build(*monthly_panel()), np.arange(20), bins=5)
    assert Fitted.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2 is newer"),
        ({"colour": 1}, "keys .*colour"),
        ({"edges": {"size": [2.0, 1.0]}}, "edges of 'size'.*increasing"),
        ({"edges": {"size": []}}, "edges of 'size'"),
        ({"edges": {"size": ["x"]}}, "must be lists"),
        ({"edges": {"size": [float("nan"), 1.0]}}, "edges of 'size'"),
        ({"vocabulary": [1]}, "must be lists"),
    ],
)
def test_json_of_another_form_is_refused(change: dict[str, Any], words: str) -> None:
    data = Fitted.fit(with_sizes([1.0, 2.0]), np.arange(2), bins=1).to_json()
    with pytest.raises(BundleError, match=words):
        Fitted.from_json({**data, **change})


def test_fitting_needs_rows_bins_and_fresh_sequences() -> None:
    sequences = build(*monthly_panel())
    with pytest.raises(DataError, match="no training rows"):
        Fitted.fit(sequences, np.arange(0), bins=4)
    with pytest.raises(ConfigError, match="0 bins"):
        Fitted.fit(sequences, np.arange(3), bins=0)
    fitted = Fitted.fit(sequences, np.arange(3), bins=4)
    with pytest.raises(TaskError, match="aligned to a vocabulary already"):
        Fitted.fit(sequences.aligned(fitted), np.arange(3), bins=4)
    assert replace(fitted, fit_until="") != fitted
