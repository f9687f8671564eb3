"""What every file in pipelines/ must keep, on the sample data it reads."""

from datetime import UTC, datetime
from functools import cache

import numpy as np
import polars as pl
import pytest

from trmfin import Fitted, Protocol, Task
from trmfin.data.files import RawTable, raw_from_frame
from trmfin.data.prepared import Prepared, apply, read_raws
from trmfin.errors import DataError
from trmfin.explaining.players import players_of
from trmfin.learn.recipe import Recipe
from trmfin.sequences.sequences import build
from trmfin.shipped import Pipeline, load_pipeline, pipeline_names, shipped_folder

NOW = datetime(2100, 1, 1, tzinfo=UTC)
PLAYERS_AT_MOST = 12  # exact Shapley values need 2^players coalitions
OWN_COLUMNS = {"event_id", "event_time", "known_at", "event_type", "sample_id", "as_of"}

every_pipeline = pytest.mark.parametrize("name", pipeline_names())


@cache
def use(name: str) -> Pipeline:
    return load_pipeline(name)


@cache
def raws(name: str) -> dict[str, RawTable]:
    """The first sample data that the pipeline can read."""
    for folder in sorted(shipped_folder("sample_data").glob("*/raw")):
        try:
            return read_raws(use(name), folder)
        except DataError:
            continue
    pytest.fail(f"pipeline {name}: no folder sample_data/*/raw fits its SCHEMAS; add a simulated world")


@cache
def made(name: str) -> Prepared:
    return apply(use(name), raws(name), NOW)


def changed(name: str, change: dict[str, pl.DataFrame]) -> Prepared:
    return apply(use(name), {table: raw_from_frame(frame, table) for table, frame in change.items()}, NOW)


def test_there_is_a_pipeline() -> None:
    assert "payment_history" in pipeline_names()


@every_pipeline
def test_task_and_protocol_are_plain_data(name: str) -> None:
    task, protocol = use(name).task, use(name).protocol
    assert Task.from_json(task.to_json()) == task and Task.from_json(task.to_json()).sha256 == task.sha256
    assert Protocol.from_json(protocol.to_json()) == protocol
    assert load_pipeline(name).task.sha256 == task.sha256


@every_pipeline
def test_a_recipe_of_its_own_is_one_that_can_be_trained(name: str) -> None:
    training = Recipe.chosen(use(name).recipe, name).training
    training.check_for(build(made(name), use(name).task))


@every_pipeline
def test_the_primary_target_says_what_a_high_score_means(name: str) -> None:
    task = use(name).task
    assert task.target(task.primary).meaning.endswith("higher = riskier")


@every_pipeline
def test_every_cell_is_in_one_player_of_the_task_and_every_player_has_a_reason(name: str) -> None:
    task = use(name).task
    assert players_of(task).names == tuple(player.name for player in task.players), "no field plays alone"
    assert {field for player in task.players for field in player.fields} == {field.name for field in task.fields}
    assert len(task.players) <= PLAYERS_AT_MOST
    assert {reason.player for reason in task.reasons} == {player.name for player in task.players}
    assert len({reason.code for reason in task.reasons}) == len({reason.text for reason in task.reasons}) == len(task.reasons)


@every_pipeline
def test_aliases_lead_to_columns_of_a_schema(name: str) -> None:
    columns = {column for schema in use(name).schemas.values() for column in schema.column_names()}
    assert [alias for alias, column in use(name).aliases.items() if column not in columns or alias in columns] == []


@every_pipeline
def test_sample_data_give_events_samples_and_labels_of_both_kinds(name: str) -> None:
    prepared, target = made(name), f"target_{use(name).task.primary}"
    assert prepared.rejects.is_empty()
    assert prepared.events.height > 0 and prepared.samples.height > 0
    assert prepared.samples[target].n_unique() > 1
    assert prepared.samples.filter(pl.col(target).is_not_null() & ~(pl.col(f"{target}_known_at") > pl.col("as_of"))).is_empty()


@every_pipeline
def test_everything_the_task_names_is_in_the_prepared_tables(name: str) -> None:
    task, prepared = use(name).task, made(name)
    events, samples = set(prepared.events.columns), set(prepared.samples.columns)
    keys = {key for history in task.histories for key in history.keys}
    assert keys <= events & samples and task.group in samples
    assert {field.column for field in task.fields if field.of == "event"} <= events
    assert {field.column for field in task.fields if field.of == "sample"} <= samples
    assert {field.against.removeprefix("sample.") for field in task.fields if field.against.startswith("sample.")} <= samples
    assert {field.against.removeprefix("previous.") for field in task.fields if field.against.startswith("previous.")} <= events
    assert set(task.money) <= events | samples


@every_pipeline
def test_every_sample_can_have_a_history(name: str) -> None:
    prepared = made(name)
    for history in use(name).task.histories:
        first = prepared.events.group_by(history.keys).agg(pl.col("known_at").min())
        joined = prepared.samples.join(first, on=history.keys, how="left")
        assert (joined["known_at"] < joined["as_of"]).mean() > 0.5  # type: ignore[operator]


@every_pipeline
def test_the_tables_become_batches_of_the_tasks_shape(name: str) -> None:
    task, sequences = use(name).task, build(made(name), use(name).task)
    rows = np.arange(min(8, len(sequences)))
    batch = sequences.aligned(Fitted.fit(sequences, np.arange(len(sequences)), bins=4)).batch(rows)
    assert len(sequences) == made(name).samples.height
    assert batch.numbers.shape == (len(rows), task.length, len(task.numbers))
    assert batch.codes.shape == (len(rows), task.length, len(task.codes))
    assert batch.mask[:, 0].all() and batch.mask[:, 1:].any()


@every_pipeline
def test_challengers_get_a_row_a_sample_in_order_numbers_only_and_nothing_protected(name: str) -> None:
    table = use(name).challenger_features(made(name))
    assert table["sample_id"].equals(made(name).samples["sample_id"])
    assert table.columns[0] == "sample_id" and all(dtype.is_numeric() for dtype in table.dtypes[1:])
    assert not any(set(column.lower().split("_")) & set(use(name).task.protected) for column in table.columns)
    assert not any(column.startswith("target_") for column in table.columns)
    assert table.select(pl.col(pl.Float64).is_infinite().any()).sum_horizontal().sum() == 0


@every_pipeline
def test_preparing_twice_gives_the_same_tables(name: str) -> None:
    again = apply(use(name), raws(name), NOW)
    assert again.events.equals(made(name).events) and again.samples.equals(made(name).samples)
    assert use(name).challenger_features(again).equals(use(name).challenger_features(made(name)))


@every_pipeline
def test_the_order_of_raw_rows_changes_no_event_sample_or_feature(name: str) -> None:
    shuffled = changed(name, {t: raw.frame.drop("line").sample(fraction=1, shuffle=True, seed=4) for t, raw in raws(name).items()})
    assert shuffled.events.sort("event_id").equals(made(name).events.sort("event_id"))
    assert shuffled.samples.sort("sample_id").equals(made(name).samples.sort("sample_id"))
    features = use(name).challenger_features
    assert features(shuffled).sort("sample_id").equals(features(made(name)).sort("sample_id"))


@every_pipeline
def test_what_becomes_known_later_changes_no_earlier_feature(name: str) -> None:
    prepared = made(name)
    cut = prepared.samples["as_of"].sort()[prepared.samples.height // 2]
    earlier = prepared.samples.filter(pl.col("as_of") <= cut)
    present = earlier["trigger"] if "trigger" in earlier.columns else pl.Series(dtype=pl.String)  # what is asked about, known at as_of
    seen = (pl.col("known_at") < cut) | pl.col("event_id").is_in(present.implode())
    untouched = prepared.events.filter(seen)
    values = [c for c, dtype in prepared.events.schema.items() if dtype.is_numeric() and c not in OWN_COLUMNS]
    later = prepared.events.filter(~seen).with_columns(pl.col(values) * 3 + 1)
    both = Prepared(events=pl.concat([untouched, later]), samples=earlier, manifest=prepared.manifest)
    late = [name for name in untouched.columns if f"{name}_known_at" in untouched.columns]
    told = untouched.with_columns(pl.when(pl.col(f"{name}_known_at") < cut).then(name) for name in late)
    alone = Prepared(events=told, samples=earlier, manifest=prepared.manifest)
    assert later.height > 0
    assert use(name).challenger_features(both).equals(use(name).challenger_features(alone))
    assert (
        use(name)
        .challenger_features(alone)
        .equals(
            use(name).challenger_features(prepared).join(earlier.select("sample_id"), on="sample_id", how="semi", maintain_order="left")
        )
    )


@every_pipeline
def test_features_do_not_need_labels(name: str) -> None:
    prepared = made(name)
    targets = [column for column in prepared.samples.columns if column.startswith("target_")]
    blank = prepared.samples.with_columns(pl.lit(None, prepared.samples.schema[column]).alias(column) for column in targets)
    unlabelled = Prepared(events=prepared.events, samples=blank, manifest=prepared.manifest)
    assert use(name).challenger_features(unlabelled).equals(use(name).challenger_features(prepared))
