"""Blocks of prepared data: each has the events its samples can see, and no byte of the folder may have changed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.scoring.models import PANEL, panel
from tests.worlds import WORLDS, card_and_shop
from trmfin.data.order import in_order_of_samples
from trmfin.data.prepared import Prepared
from trmfin.errors import DataError, TaskError
from trmfin.scoring import places
from trmfin.scoring.blocks import open_source
from trmfin.scoring.places import Indexed, read_chunks
from trmfin.sequences.sequences import build
from trmfin.sequences.task import Task

World = Callable[[], tuple[Prepared, Task]]


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("world", WORLDS)
def test_a_block_has_the_same_tokens_as_the_whole(world: World, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "CHUNK", chunk)
    prepared, task = world()
    prepared.write(tmp_path)
    whole = build(prepared, task)
    seen = 0
    for number, block in open_source(tmp_path, task).blocks(2):
        rows = np.arange(2 * number, 2 * number + len(block.samples))
        part = build(block, task)
        assert part.sample_ids.tolist() == whole.sample_ids[rows].tolist()
        assert part.event_ids(np.arange(len(rows))).tolist() == whole.event_ids(rows).tolist()
        np.testing.assert_array_equal(part.batch(np.arange(len(rows))).numbers, whole.batch(rows).numbers)
        relations = part.batch(np.arange(len(rows))).relation, whole.batch(rows).relation
        assert (relations[0] is None) == (relations[1] is None) and (relations[0] is None or np.array_equal(*relations))
        seen += len(rows)
    assert seen == len(whole)


def test_all_blocks_together_read_each_chunk_of_ordered_events_about_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = panel(60)
    shuffled = prepared.events.sample(fraction=1, shuffle=True, seed=1)
    replace(prepared, events=in_order_of_samples(shuffled, prepared.samples, ("client",))).write(tmp_path)
    read: list[int] = []

    def counted(path: Path, chunks: set[int], wanted: pl.Expr) -> pl.DataFrame:
        read.append(len(chunks))
        return read_chunks(path, chunks, wanted)

    monkeypatch.setattr(places, "CHUNK", 10)
    monkeypatch.setattr(places, "read_chunks", counted)
    blocks = dict(open_source(tmp_path, PANEL).blocks(6))
    chunks = len(prepared.events) // 10
    assert (len(blocks), chunks) == (10, 15)
    assert sum(read) < chunks + len(blocks)  # neighbours share a chunk at most; each block on its own would read all 15
    assert sum(len(block.events) for block in blocks.values()) == len(prepared.events)


@pytest.mark.parametrize("chunk", [1, 2, 4, 1000])
def test_only_chunks_that_hold_a_key_are_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(places, "CHUNK", chunk)
    pl.DataFrame({"row": range(7), "a": [1, None, 1, 2, 3, 1, 2], "b": ["x", "y", "y", "x", "x", "x", "x"]}).write_parquet(tmp_path / "f")
    file = Indexed.by(tmp_path / "f", [("a", "b"), ("b",)])

    def rows(**values: list[object]) -> list[int]:
        return file.rows(pl.lit(True), [pl.DataFrame(values)])["row"].to_list()

    def around(*found: int) -> list[int]:
        return [row for row in range(7) if row // chunk in {place // chunk for place in found}]

    assert rows(a=[1, 9], b=["x", "x"]) == around(0, 5)
    assert rows(a=[None, 2], b=["y", None]) == rows(b=["z"]) == []
    assert rows(b=["y"]) == around(1, 2)
    assert file.rows(pl.col("a") == 2, [pl.DataFrame({"b": ["x"]})])["row"].to_list() == [3, 6]


def test_a_block_has_no_events_of_others_and_none_known_later(tmp_path: Path) -> None:
    prepared = panel(12)
    late = prepared.events.with_columns(
        event_id=pl.format("{}-later", "event_id"), known_at=pl.lit(prepared.samples["as_of"][0]), event_time="known_at"
    )
    replace(prepared, events=pl.concat([prepared.events, late])).write(tmp_path)
    blocks = dict(open_source(tmp_path, PANEL).blocks(4))
    assert [sorted(set(block.events["client"])) for block in blocks.values()] == [
        ["c1", "c2", "c3"],
        ["c4", "c5", "c7"],
        ["c10", "c11", "c8", "c9"],
    ]
    assert not any(event.endswith("-later") for block in blocks.values() for event in block.events["event_id"])


def test_a_sample_keeps_the_event_that_triggers_it(tmp_path: Path) -> None:
    prepared, task = card_and_shop()
    prepared.write(tmp_path)
    for _, block in open_source(tmp_path, task).blocks(3):
        assert set(block.samples["trigger"]) <= set(block.events["event_id"])


def test_a_key_of_unlike_types_holds_no_event_and_is_named_by_the_sequences(tmp_path: Path) -> None:
    prepared = panel(12)
    number = pl.col("client").str.slice(1)
    mixed = replace(
        prepared,
        events=prepared.events.with_columns(number.cast(pl.Int64)),
        samples=prepared.samples.with_columns(number),
    )
    mixed.write(tmp_path)
    for _, block in open_source(tmp_path, PANEL).blocks(5):
        assert block.events.is_empty()
        with pytest.raises(TaskError, match="key column client: String, but Int64 in events; write both as String"):
            build(block, PANEL)


def test_blocks_can_be_skipped(tmp_path: Path) -> None:
    panel(10).write(tmp_path)
    assert [number for number, _ in open_source(tmp_path, PANEL).blocks(3, skip={0, 2})] == [1, 3]


def test_a_missing_key_column_is_named_by_the_sequences(tmp_path: Path) -> None:
    prepared = panel(6)
    replace(prepared, events=prepared.events.drop("client")).write(tmp_path)
    [(_, block)] = open_source(tmp_path, PANEL).blocks(6)
    with pytest.raises(TaskError, match="no key column 'client'"):
        build(block, PANEL)


def test_a_changed_byte_of_the_data_is_found_before_scoring(tmp_path: Path) -> None:
    panel(6).write(tmp_path)
    path = tmp_path / "events.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"events\.parquet: is not what manifest\.json says"):
        open_source(tmp_path, PANEL)


@pytest.mark.parametrize("change", ["gone", "cut", "renamed"])
def test_data_that_change_while_they_are_read_are_one_clear_error(tmp_path: Path, change: str) -> None:
    panel(12).write(tmp_path)
    blocks = open_source(tmp_path, PANEL).blocks(4)
    next(blocks)
    path = tmp_path / "events.parquet"
    if change == "gone":
        path.unlink()
    elif change == "renamed":
        pl.read_parquet(path).rename({"known_at": "seen_at"}).write_parquet(path)
    else:
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"was changed while it was read \(.+\); leave it alone while it is scored") as caught:
        next(blocks)
    assert "\n" not in str(caught.value)


def test_data_without_samples_are_refused(tmp_path: Path) -> None:
    prepared = panel(6)
    replace(prepared, samples=prepared.samples.clear()).write(tmp_path)
    with pytest.raises(DataError, match=r"samples\.parquet: has no samples"):
        open_source(tmp_path, PANEL)


def test_samples_that_ask_before_any_event_have_none(tmp_path: Path) -> None:
    prepared = panel(6)
    early = prepared.samples.with_columns(pl.col("as_of") - timedelta(days=1000))
    replace(prepared, samples=early).write(tmp_path)
    [(_, block)] = open_source(tmp_path, PANEL).blocks(6)
    assert block.events.is_empty()
