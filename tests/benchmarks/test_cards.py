"""The card benchmarks at sizes too small to tell speed: each measures what it says, and says all of it."""

import re
from datetime import date

import numpy as np
import polars as pl
import pytest

from tests.benchmarks import adaptation, features, stream
from trmfin.data.files import raw_from_frame
from trmfin.data.prepared import apply
from trmfin.data.simulate import transactions
from trmfin.scoring.rings import SPARE
from trmfin.scoring.stream import Stream
from trmfin.shipped import load_pipeline


def test_a_stream_is_filled_to_its_end_and_every_transaction_timed() -> None:
    lines = stream.measured(200, 60, "tiny", lasting=True)
    assert (
        lines[0].startswith("200 entities, 32 events a card, 44 events a terminal (filled in ")
        and ", 54 transactions, preset tiny, one thread" in lines[0]
    )
    assert [line.split()[0] for line in lines[1:4]] == ["prepare", "step", "both"] and lines[4].startswith("memory: ")
    assert re.fullmatch(r"opening: \d+\.\d\d ms a record \(\d+\.\d\d of CPU\), [\d,]+ bytes", lines[5])
    assert [line.split()[0] for line in lines[6:]] == ["checkpoint:", "restore:"] and all("GiB of windows" in line for line in lines[6:])


def test_the_windows_that_are_timed_are_full_of_events_of_rising_times() -> None:
    use, raw = load_pipeline("transactions"), stream.raw_table(60, 200)

    def prepare(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        data = apply(use, {"transactions": raw_from_frame(rows, "now")}, stream.NOW)
        return data.events, data.samples

    filled = Stream(stream.untrained(use, "tiny", raw))
    stream.fill(filled, prepare, 200, raw)
    events, samples = prepare(raw)
    assert stream.held(filled) == {"card": 24 + SPARE, "terminal": 36 + SPARE} and filled.entities == 200
    for history in use.task.histories:
        window = filled.rings[history.name].window((samples[history.keys[0]][0],), 2**62)
        assert len(window) == len(np.unique(window["id"])) == history.length
        for name in ("known_at", "operand time event_time"):
            assert (np.diff(window[name]) == stream.HOUR).all() and window[name].max() < events["known_at"].to_physical().min()
    before = filled.bytes
    filled.step(events, samples)
    assert stream.held(filled) == {"card": 24 + SPARE, "terminal": 36 + SPARE} and filled.bytes == before


def test_features_of_worlds_and_of_wide_events_are_built_and_counted() -> None:
    head, first, second, wide = features.tables([2_000, 4_000], 20_000, with_file=False)
    assert first.split()[:2] == ["simulated", "2,000"] and first.split()[5] == "1.00" and second.split()[1] == "4,000"
    assert len(head.split()) >= len(features.HEADS) and wide.startswith("20,000 events of 25 columns: windows ")


DAY = 86_400_000_000  # microseconds


def small() -> adaptation.World:
    world = transactions.World(customers=1_200, terminals=2_400, days=76, seed=3, new_from=54)
    return adaptation.World(table=transactions.simulate(world), new=transactions.NEW, begins=date(2018, 5, 25))


def test_cases_come_before_the_test_and_training_before_the_cases() -> None:
    setting = adaptation.made_ready(small())
    as_of = setting.sequences.as_of
    assert as_of[setting.train].max() < as_of[setting.cases].min() and as_of[setting.cases].max() < as_of[setting.test].min()
    first_day = as_of[setting.test].min() // DAY * DAY
    known_at = setting.sequences.targets.known_at["fraud"]
    assert known_at[setting.train].max() <= known_at[setting.cases].max() <= first_day, "every verdict is known when the test begins"
    assert (setting.scenario[setting.cases] == setting.new).all() and not (setting.scenario[setting.train] == setting.new).any()
    kinds = setting.scenario[setting.test]
    assert (kinds == setting.new).sum() > 10 and ((kinds > 0) & (kinds != setting.new)).sum() > 10
    assert setting.judged(setting.y[setting.test] + 0.0) == (1.0, 1.0)
    new, old = setting.judged((kinds == setting.new) + 0.0)
    assert new == 1.0 and old < 0.2


def test_trees_that_are_updated_learn_the_cases() -> None:
    pytest.importorskip("lightgbm")
    setting = adaptation.made_ready(small())
    base = adaptation.trees(setting, setting.train)
    before = setting.judged(np.asarray(base.predict(setting.features[setting.test], raw_score=True)))
    for booster in (base, None):
        scores, seconds = adaptation.lightgbm_updated(setting, booster, setting.cases[:20], 0.25, 0)
        assert setting.judged(scores)[0] > before[0] and seconds > 0


def test_the_table_has_means_and_what_is_lost_against_the_models_own_base() -> None:
    rows = [("trm base", 0, 0, 0.1, 0.7, 0.0), ("lightgbm base", 0, 0, 0.2, 0.6, 0.0)]
    rows += [("trm adapted", 5, draw, 0.4 + 0.2 * draw, 0.65, 3.0) for draw in (0, 1)] + [("lightgbm warm 5%", 5, 0, 0.3, 0.5, 1.0)]
    found = pl.DataFrame(rows, schema=["model", "cases", "draw", "new", "old", "seconds"], orient="row")
    lines = [line.split() for line in adaptation.table(found)]
    assert lines[3] == ["trm", "adapted", "5", "2", "0.500", "0.100", "0.650", "0.050", "0.000", "3.0"]
    assert lines[4] == ["lightgbm", "warm", "5%", "5", "1", "0.300", "0.500", "0.100", "1.0"]


def test_the_table_has_what_trm_finds_more_on_the_same_draws() -> None:
    rows = [("trm base", 0, 0, 0.1, 0.7, 0.0), ("lightgbm base", 0, 0, 0.2, 0.6, 0.0)]
    rows += [("trm adapted", 5, draw, 0.5 + 0.1 * draw, 0.6, 3.0) for draw in range(3)]
    rows += [("lightgbm retrained 25%", 5, draw, 0.4, 0.5 + 0.1 * draw, 1.0) for draw in range(2)]
    found = pl.DataFrame(rows, schema=["model", "cases", "draw", "new", "old", "seconds"], orient="row")
    (less,) = [line.split() for line in adaptation.table(found) if line.startswith(" less")]
    assert less == ["less", "lightgbm", "retrained", "25%", "5", "2", "+0.150", "0.050", "+0.050", "0.050"]
