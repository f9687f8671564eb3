"""The card benchmarks at sizes too small to tell speed: each measures what it says, and says all of it."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks import adaptation, features, stream
from trmfin.data.files import raw_from_frame
from trmfin.data.prepared import apply
from trmfin.data.simulate import transactions
from trmfin.learn.metrics import average_precision
from trmfin.scoring.rings import SPARE
from trmfin.scoring.stream import Stream
from trmfin.shipped import load_pipeline


def test_a_stream_is_filled_to_its_end_and_every_transaction_timed() -> None:
    lines = stream.measured(200, 60, "tiny", lasting=True)
    assert (
        lines[0].startswith("200 entities, 32 events a card, 44 events a terminal (filled in ")
        and ", 54 transactions, one thread, preset tiny (1 x " in lines[0]
    )
    assert [line.split()[0] for line in lines[1:4]] == ["prepare", "step", "both"] and lines[4].startswith("memory: ")
    assert re.fullmatch(r"opening: \d+\.\d\d ms a record \(\d+\.\d\d of CPU\), [\d,]+ bytes", lines[5])
    assert [line.split()[0] for line in lines[6:]] == ["checkpoint:", "restore:"] and all("GiB of windows" in line for line in lines[6:])


def test_the_pipelines_own_recipe_can_be_timed() -> None:
    members = load_pipeline("transactions").recipe["model"]["members"]
    assert members > 1 and f"preset own ({members} x " in stream.measured(200, 60, stream.OWN, lasting=False)[0]


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
    head, first, second, wide = features.tables([2_000, 4_000], 20_000, with_file=False, most=2_000)
    assert all(name in head for name in features.HEADS)
    assert first.split()[:3] == ["simulated", "2,000", "2,000"] and first.split()[6] == "100%" and first.split()[9] == "1.00"
    assert second.split()[1] == "4,000" and 45 <= int(second.split()[6].rstrip("%")) <= 55, "about every second sample is filled"
    assert wide.split()[:4] == ["25", "columns", "20,000", "200"] and wide.split()[7] == "100%"


DAY = 86_400_000_000  # microseconds


def small() -> adaptation.World:
    world = transactions.World(customers=1_200, terminals=2_400, days=76, seed=3, new_from=54)
    return adaptation.World(table=transactions.simulate(world), new=transactions.NEW, begins=date(2018, 5, 25))


def test_cases_come_before_the_test_and_training_before_the_cases() -> None:
    setting = adaptation.made_ready(small(), flat=False)
    as_of = setting.sequences.as_of
    assert as_of[setting.train].max() < as_of[setting.cases].min() and as_of[setting.cases].max() < as_of[setting.test].min()
    first_day = as_of[setting.test].min() // DAY * DAY
    known_at = setting.sequences.targets.known_at["fraud"]
    assert known_at[setting.train].max() <= known_at[setting.cases].max() <= first_day, "every verdict is known when the test begins"
    assert (setting.scenario[setting.cases] == setting.new).all() and not (setting.scenario[setting.train] == setting.new).any()
    kinds = setting.scenario[setting.test]
    assert (kinds == setting.new).sum() > 10 and ((kinds > 0) & (kinds != setting.new)).sum() > 10
    whole = (as_of >= as_of[setting.test].min()) & (as_of < first_day + adaptation.TEST * DAY)
    card_day = setting.sequences.group * 1_000_000 + as_of // DAY  # known to be bad is a card from one day to the next
    tested = np.flatnonzero(whole & np.isin(card_day, card_day[setting.test]))
    np.testing.assert_array_equal(setting.test, tested, "all of each card and day that is tested")
    np.testing.assert_allclose(setting.judged(setting.y[setting.test] + 0.0)[:, 0], 1.0)
    new, old = setting.judged((kinds == setting.new) + 0.0)[:, 0]
    assert new == 1.0 and old < 0.2


@given(st.integers(0, 10_000), st.integers(2, 60))
@settings(max_examples=40, deadline=None)
def test_average_precision_of_drawn_cards_is_that_of_repeated_rows(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    y, scores = np.append(random.integers(0, 2, count), [0, 1]), np.round(random.standard_normal(count + 2), 1)
    cards, drawn = random.integers(0, 9, count + 2), random.integers(1, 4, (3, 9))
    expected = [average_precision(np.repeat(y, often[cards]), np.repeat(scores, often[cards])) for often in drawn]
    np.testing.assert_allclose(adaptation.precisions(y, scores, cards, drawn.astype(np.float32)), expected, rtol=1e-6)


def test_cards_are_drawn_whole() -> None:
    setting = adaptation.made_ready(small(), flat=False)
    group = setting.sequences.group[setting.test]
    assert len(setting.cards) == len(group) and setting.drawn.shape == (1 + adaptation.DRAWN, len(np.unique(group)))
    assert all(len(np.unique(setting.cards[group == card])) == 1 for card in np.unique(group)[:20])
    assert (setting.drawn[0] == 1).all() and abs(setting.drawn[1:].mean() - 1) < 0.01 and setting.drawn[1:, 0].std() > 0.5


@pytest.mark.parametrize("kind", ["handbook", "windows"])
def test_trees_that_are_updated_learn_the_cases(kind: str) -> None:
    pytest.importorskip("lightgbm")
    setting = adaptation.made_ready(small(), flat=kind == "windows")
    base = adaptation.trees(setting, kind, setting.cases[:0], 60, 0.0)
    before = setting.judged(adaptation.told_by(setting, kind, base))[0, 0]
    for booster in (base, None):
        scores, seconds = adaptation.trees_updated(setting, kind, booster, setting.cases[:20], 0.75, 60, 0)
        assert setting.judged(scores)[0, 0] > before and seconds > 0


def measured(model: str, cases: int, draw: int, scores: list[float], seconds: float = 3.0) -> adaptation.Measured:
    return adaptation.Measured(model=model, cases=cases, draw=draw, seconds=seconds, scores=np.array(scores))


class Judge:
    """Judges five rows: two new frauds, an old one, two genuine; drawn sets are the set itself."""

    y, new = np.array([1.0, 1, 1, 0, 0]), np.array([True, True, False, False, False])

    def judged(self, scores: np.ndarray) -> np.ndarray:
        parts = [self.new | (self.y == 0), ~self.new]
        return np.array([[average_precision(self.y[part], scores[part])] * 3 for part in parts])


def test_the_table_has_means_over_draws_what_was_gained_and_lost_and_what_trm_has_more() -> None:
    best, none, half = [9.0, 8, 7, 1, 0], [0.0, 1, 2, 8, 9], [9.0, 0, 7, 1, 2]
    found = [measured("trm base", 0, 0, none, 0.0), measured("handbook base", 0, 0, best, 0.0)]
    found += [measured("trm adapted", 5, draw, scores) for draw, scores in enumerate((best, half))]
    found += [measured("handbook warm 5%", 5, 0, none, 1.0)]
    lines = [line.split() for line in adaptation.table(Judge(), found)]  # type: ignore[arg-type]
    half_ap, none_ap = average_precision(np.array([1.0, 1, 0, 0]), np.array([9.0, 0, 1, 2])), 0.5 * (1 / 3 + 2 / 4)
    mean = (1 + half_ap) / 2
    rows = {tuple(line[:2]): line for line in lines}
    trm = rows["trm", "adapted"]
    assert trm[2:5] == ["5", "2", f"{mean:.3f}"] and trm[7] == f"{(1 - half_ap) / 2:.3f}" and trm[8] == f"{mean - none_ap:+.3f}"
    assert trm[-1] == "3.0" and trm[9] == "1.000" and trm[-2] == f"{1 / 3 - 1:.3f}", "the base found the old one third"
    assert rows["less", "handbook"][2:7] == ["warm", "5%", "5", "1", f"{1 - none_ap:+.3f}"], "of the draw that both have"


def test_what_was_measured_is_taken_from_the_folder(tmp_path: Path) -> None:
    one = measured("handbook warm 5%", 5, 0, [1.0, 2.0])
    one.save(tmp_path, "base")
    with np.load(tmp_path / "handbook_warm_5-5-0.npz") as kept:
        assert kept["scores"].tolist() == [1.0, 2.0] and float(kept["seconds"]) == 3.0 and str(kept["base"]) == "base"
