"""The simulated world of card transactions: each rule of the description holds on what comes out."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trmfin.data.simulate import write_world
from trmfin.data.simulate.__main__ import app
from trmfin.data.simulate.transactions import (
    CARDS_A_DAY,
    DAY,
    Cards,
    Hits,
    Payments,
    World,
    at_terminals,
    genuine,
    hits,
    simulate,
    with_stolen,
)
from trmfin.errors import ConfigError

MEDIUM = World(customers=1_000, terminals=400, days=120, seed=1)
SMALL = World(customers=20, terminals=40, days=10, seed=5)
PER_DAY = 1.9385  # 2, of which the day's time of 3.1 % lies outside the day
FACTS = ("TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD", "TX_FRAUD_SCENARIO")


@cache
def medium(scenarios: tuple[int, ...] = (1, 2, 3), new_from: int | None = None) -> pl.DataFrame:
    """The medium world with these frauds; `day` counts from 0."""
    table = simulate(replace(MEDIUM, scenarios=frozenset(scenarios), new_from=new_from))
    return table.with_columns(day=(pl.col("TX_DATETIME") - pl.datetime(2018, 4, 1)).dt.total_days())


def daily(card: int, terminal: int, days: range) -> Payments:
    """A payment of 10.00 at noon on each of the days."""
    second = np.array([day * DAY + DAY // 2 for day in days])
    same = np.ones_like(second)
    return Payments(card=same * card, terminal=same * terminal, second=second, cents=same * 1_000, scenario=same * 0)


def both(one: Payments, other: Payments) -> Payments:
    return Payments(**{name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in vars(one)})


def test_equal_worlds_give_equal_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    worlds = {"a": SMALL, "b": SMALL, "c": replace(SMALL, seed=6)}
    first, again, other = (
        (write_world("transactions", simulate(world), out=tmp_path / name) / "transactions.csv").read_bytes()
        for name, world in worlds.items()
    )
    assert first == again != other


def test_columns_are_the_handbooks_sorted_by_time_and_numbered() -> None:
    table = simulate(MEDIUM)
    text, number = pl.String(), pl.Int64()
    assert dict(table.schema) == {
        "TRANSACTION_ID": text,
        "TX_DATETIME": pl.Datetime("us"),
        "CUSTOMER_ID": text,
        "TERMINAL_ID": text,
        "TX_AMOUNT": pl.Decimal(18, 2),
        "TX_FRAUD": number,
        "TX_FRAUD_SCENARIO": number,
    }
    assert table["TRANSACTION_ID"].to_list() == [str(row) for row in range(table.height)]
    assert table["TX_DATETIME"].is_sorted() and table["TX_DATETIME"].equals(table["TX_DATETIME"].dt.truncate("1s"))
    assert (table["TX_FRAUD"] == (table["TX_FRAUD_SCENARIO"] > 0).cast(pl.Int64)).all()
    assert table["TX_AMOUNT"].min() >= 0  # type: ignore[operator]


def test_a_csv_file_has_times_to_the_second_and_exact_amounts_and_no_truth_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "truth.parquet").write_bytes(b"of another world")
    raw = write_world("transactions", simulate(SMALL), out=tmp_path)
    assert [path.name for path in raw.iterdir()] == ["transactions.csv"]
    lines = (raw / "transactions.csv").read_text().splitlines()
    assert lines[0] == ",".join(("TRANSACTION_ID", *FACTS))
    assert pl.Series(lines[1:]).str.contains(r"^\d+,2018-04-\d\d \d\d:\d\d:\d\d,\d+,\d+,\d+\.\d\d,[01],[0123]$").all()


def test_cards_pay_about_two_times_a_day_around_noon() -> None:
    table = medium(())
    assert table.height / (MEDIUM.customers * MEDIUM.days) == pytest.approx(PER_DAY, abs=4 * 4 / np.sqrt(12 * MEDIUM.customers))
    busiest = table["CUSTOMER_ID"].value_counts()["count"].max() / MEDIUM.days  # type: ignore[operator]
    assert 3.7 < busiest < 4.4
    second = table["TX_DATETIME"].dt.epoch("s").to_numpy() % DAY
    assert second.min() > 0
    assert second.mean() == pytest.approx(DAY / 2, abs=200)
    assert (np.abs(second - DAY / 2) < 20_000).mean() == pytest.approx(0.6827 / 0.9692, abs=0.005)
    assert table["day"].unique().sort().to_list() == list(range(MEDIUM.days))


def test_a_cards_amounts_lie_around_its_own_mean_with_half_of_it_as_their_spread() -> None:
    of_card = medium(()).group_by("CUSTOMER_ID").agg(pl.len(), m=pl.col("TX_AMOUNT").cast(pl.Float64).mean(), s=pl.col("TX_AMOUNT").std())
    often = of_card.filter(pl.col("len") > 100)
    assert often["m"].mean() == pytest.approx(52.5 * 1.027, abs=4)  # 2.3 % are negative and drawn again, which lifts the mean
    assert 4 < often["m"].min() < 10 and 95 < often["m"].max() < 115  # type: ignore[operator]
    assert (often["s"] / often["m"]).mean() == pytest.approx(0.47, abs=0.01)


def test_a_card_pays_evenly_at_the_terminals_in_its_radius_and_nothing_where_there_is_none() -> None:
    world = World(customers=2, terminals=3, days=500, radius=5)
    cards = Cards(place=np.array([[0.0, 0.0], [90.0, 90.0]]), mean=np.array([20.0, 20.0]), per_day=np.array([4.0, 4.0]))
    payments = genuine(world, cards, np.array([[3.0, 3.9], [4.0, 3.1], [0.0, 4.9]]), np.random.default_rng(0))
    assert set(payments.card) == {0}
    assert np.bincount(payments.terminal, minlength=3) / len(payments.terminal) == pytest.approx([0.5, 0, 0.5], abs=0.05)


@pytest.mark.parametrize(("terminals", "reach"), [(10_000, 5), (2_500, 10), (100, 50)])
def test_cards_go_farther_where_terminals_are_sparser(terminals: int, reach: float) -> None:
    assert World(customers=1, terminals=terminals, days=1).reach == pytest.approx(reach)
    assert World(customers=1, terminals=terminals, days=1, radius=3).reach == 3


def test_every_amount_above_220_is_fraud_where_scenario_1_is() -> None:
    high = pl.col("TX_AMOUNT") > 220
    alone = medium((1,))
    assert (alone["TX_FRAUD"].cast(pl.Boolean) == alone.select(high).to_series()).all() and alone["TX_FRAUD"].sum() > 50
    assert medium().filter(high & (pl.col("TX_FRAUD") == 0)).is_empty()
    assert medium((2, 3)).filter(high & (pl.col("TX_FRAUD") == 0)).height > 50


def test_a_compromised_terminal_is_fraud_for_28_days_and_no_other_is() -> None:
    payments = both(daily(0, 0, range(60)), daily(0, 1, range(60)))
    found = at_terminals(payments, Hits(np.array([1]), np.array([20])))
    assert found.scenario[:60].tolist() == [0] * 60
    assert found.scenario[60:].tolist() == [0] * 20 + [2] * 28 + [0] * 12
    assert (found.cents == payments.cents).all()


def test_frauds_at_a_terminal_stand_in_unbroken_runs_of_28_days() -> None:
    lengths = []
    for (terminal,), rows in medium((2,)).filter(pl.col("TX_FRAUD").max().over("TERMINAL_ID") == 1).group_by("TERMINAL_ID"):
        days = rows.group_by("day").agg(least=pl.col("TX_FRAUD").min(), most=pl.col("TX_FRAUD").max()).sort("day")
        assert days["least"].equals(days["most"].alias("least")), terminal  # a day is all fraud or all genuine
        runs = days.with_columns(run=pl.col("most").rle_id()).filter(pl.col("most") == 1).group_by("run")
        lengths += [(last, last - first + 1) for _, first, last in runs.agg(pl.col("day").min(), last=pl.col("day").max()).rows()]
    whole = [length for last, length in lengths if last < MEDIUM.days - 1]
    assert len(whole) >= 4 and np.median(whole) == 28 and min(whole) >= 26  # a terminal may rest on the first or last day


def test_a_third_of_a_stolen_cards_payments_in_14_days_is_fraud_of_five_times_the_amount() -> None:
    payments = both(daily(0, 0, range(40)), daily(1, 0, range(40)))
    found = with_stolen(payments, Hits(np.array([1]), np.array([10])), np.random.default_rng(0))
    rows = np.flatnonzero(found.scenario)
    assert len(rows) == 14 // 3 and set(found.scenario[rows]) == {3}
    assert (found.card[rows] == 1).all() and (found.day[rows] >= 10).all() and (found.day[rows] < 24).all()
    assert (found.cents == payments.cents * np.where(found.scenario == 3, 5, 1)).all()


def test_a_stolen_cards_frauds_reach_over_all_its_14_days_and_not_further() -> None:
    stolen = Hits(np.array([0]), np.array([10]))
    found = [with_stolen(daily(0, 0, range(40)), stolen, np.random.default_rng(seed)) for seed in range(40)]
    seen = {int(day) for payments in found for day in payments.day[payments.scenario == 3]}
    assert seen == set(range(10, 24))


def test_a_payment_of_a_card_that_is_stolen_twice_is_raised_once() -> None:
    payments = daily(0, 0, range(14))
    found = with_stolen(payments, Hits(np.zeros(30, np.int64), np.zeros(30, np.int64)), np.random.default_rng(0))
    assert (found.scenario == 3).all() and (found.cents == payments.cents * 5).all()


def test_scenario_3_raises_its_frauds_and_leaves_all_else_as_it_was() -> None:
    before, after = medium(()), medium((3,))
    times = pl.when(after["TX_FRAUD"] == 1).then(5).otherwise(1)
    assert after["TX_AMOUNT"].equals(before.select((pl.col("TX_AMOUNT") * times).cast(pl.Decimal(18, 2))).to_series())
    a_third = MEDIUM.customers * CARDS_A_DAY * (14 * MEDIUM.days - 91) * PER_DAY / 3  # the last thefts are cut short
    assert 0.75 * a_third < after["TX_FRAUD"].sum() < 1.1 * a_third


def test_scenarios_overwrite_lower_ones_and_draw_on_their_own() -> None:
    alone = [medium((number,)) for number in (1, 2, 3)]
    highest = np.max([table["TX_FRAUD_SCENARIO"].to_numpy() for table in alone], axis=0)
    assert (medium()["TX_FRAUD_SCENARIO"].to_numpy() == highest).all()
    assert medium().drop("TX_FRAUD", "TX_FRAUD_SCENARIO").equals(alone[2].drop("TX_FRAUD", "TX_FRAUD_SCENARIO"))
    assert sum(int(table["TX_FRAUD"].sum()) for table in alone) > np.count_nonzero(highest)  # some were more than one


@pytest.mark.parametrize("scenarios", [(), (1,), (2,), (1, 3), (1, 2, 3)])
def test_only_the_scenarios_asked_for_are_there(scenarios: tuple[int, ...]) -> None:
    assert set(medium(scenarios)["TX_FRAUD_SCENARIO"].unique()) == {0, *scenarios}


def test_the_rate_of_compromise_is_the_handbooks_in_any_size() -> None:
    for number, days in ((10_000, 183), (500, 2_000)):
        found = hits(number, days, 2 / 10_000, np.random.default_rng(3))
        expected = number * days * 2 / 10_000
        assert abs(len(found.which) - expected) < 4 * np.sqrt(expected)
        assert len(set(zip(*found, strict=True))) == len(found.which)
        assert found.which.max() < number and found.day.max() < days and found.which.min() >= 0
        assert found.day.mean() / days == pytest.approx(0.5, abs=0.1) and found.which.mean() / number == pytest.approx(0.5, abs=0.1)


def test_about_eight_of_a_thousand_are_fraud() -> None:
    assert 0.006 < medium()["TX_FRAUD"].mean() < 0.010  # type: ignore[operator]


def test_the_new_typology_comes_on_top_from_its_day_on() -> None:
    with_new, without = medium(new_from=60), medium()
    new = with_new.filter(pl.col("TX_FRAUD_SCENARIO") == 4)
    assert with_new.filter(pl.col("TX_FRAUD_SCENARIO") != 4).select(FACTS).sort(FACTS).equals(without.select(FACTS).sort(FACTS))
    assert new["day"].min() >= 60 and set(new["TX_FRAUD"]) == {1}  # type: ignore[operator]
    expected = MEDIUM.customers * 60 * CARDS_A_DAY * 10  # six to twelve and one
    assert 0.5 * expected < new.height < 1.5 * expected
    assert set(medium((), 60)["TX_FRAUD_SCENARIO"].unique()) == {0, 4}


def test_a_burst_is_many_small_payments_at_different_terminals_in_an_hour_and_a_large_one_after() -> None:
    usual = dict(medium(()).group_by("CUSTOMER_ID").agg(pl.col("TX_AMOUNT").cast(pl.Float64).mean()).iter_rows())
    new = medium(new_from=60).filter(pl.col("TX_FRAUD_SCENARIO") == 4).sort("CUSTOMER_ID", "TX_DATETIME")
    pause = (pl.col("TX_DATETIME").diff() > pl.duration(hours=3)).fill_null(False) | (
        pl.col("CUSTOMER_ID") != pl.col("CUSTOMER_ID").shift()
    )
    bursts = new.with_columns(burst=pause.fill_null(True).cast(pl.Int64).cum_sum()).partition_by("burst")
    assert len(bursts) > 15
    for burst in bursts:
        amount, time = burst["TX_AMOUNT"].cast(pl.Float64).to_list(), burst["TX_DATETIME"].to_list()
        assert 6 <= len(amount) - 1 <= 12 and burst["TERMINAL_ID"].n_unique() == len(amount)
        assert all(0.5 <= small <= 3 for small in amount[:-1]) and (time[-2] - time[0]).total_seconds() < 3_600
        assert 3 < amount[-1] / usual[burst["CUSTOMER_ID"][0]] < 10
        assert 0 < (time[-1] - time[0]).total_seconds() < 2 * 3_600 and time[0].date() == time[-1].date()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"customers": 0}, "customers: found 0; expected 1 to 100000"),
        ({"terminals": 0}, "terminals: found 0; expected 1 to 100000"),
        ({"terminals": 12, "new_from": 3}, "terminals: found 12; expected 13 to 100000"),
        ({"days": 0}, "days: found 0; expected 1 to 2400"),
        ({"days": 2_401}, "days: found 2401; expected 1 to 2400"),
        ({"seed": -1}, "seed: found -1; expected 0"),
        ({"radius": 0.0}, "radius: found 0.0; expected 0.01 to 142"),
        ({"radius": float("nan")}, "radius: found nan; expected 0.01 to 142"),
        ({"new_from": 10}, "new_from: found 10; expected 0 to 9"),
        ({"scenarios": frozenset({1, 4})}, "scenarios: found 4; expected some of 1, 2, 3"),
    ],
)
def test_a_world_that_cannot_be_is_refused_in_one_line(change: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError) as problem:
        replace(SMALL, **change)  # type: ignore[arg-type]
    assert str(problem.value).startswith(f"simulate transactions, {text}") and "\n" not in str(problem.value)


def test_a_world_without_any_transaction_is_refused() -> None:
    with pytest.raises(ConfigError, match="found no transaction; expected at least one; choose more"):
        simulate(World(customers=1, terminals=1, days=1, radius=0.01, seed=1))


def test_a_world_of_one_card_one_terminal_and_one_day_can_be() -> None:
    assert set(simulate(World(customers=1, terminals=1, days=1, seed=1))["TERMINAL_ID"]) == {"0"}


def test_the_sample_data_are_what_their_readme_says(checkout: Path) -> None:
    table = simulate(World(customers=32, terminals=64, days=140, seed=7))
    file, readme = (
        checkout / "sample_data" / "transactions" / "raw" / "transactions.csv",
        (checkout / "sample_data" / "README.md").read_text(),
    )
    counts = dict(table["TX_FRAUD_SCENARIO"].value_counts().iter_rows())
    assert "--customers 32 --terminals 64 --days 140 --seed 7" in readme
    assert f"{table.height:,} card transactions, {table['TX_FRAUD'].sum()} of them fraud" in readme
    assert f"above 220 ({counts[1]} rows)" in readme and f"terminal ({counts[2]})" in readme and f"card ({counts[3]})" in readme
    assert file.read_text() == table.write_csv(datetime_format="%Y-%m-%d %H:%M:%S")
    assert file.stat().st_size < 400_000


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--scenarios", "2"], 0, "wrote "),
        (["--scenarios", "", "--new-from", "0"], 0, "wrote "),
        (["--customers", "0"], 1, "error: simulate transactions, customers: found 0"),
        (["--scenarios", "all"], 1, "error: --scenarios 'all': expected numbers such as 1,3"),
        (["--scenarios", "1,7"], 1, "error: simulate transactions, scenarios: found 7"),
        (["--new-from", "60"], 1, "error: simulate transactions, new_from: found 60; expected 0 to 59"),
    ],
)
def test_the_command_writes_the_world_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    with pytest.raises(SystemExit) as end:
        app(["transactions", "--out", str(tmp_path), *arguments])
    shown = capsys.readouterr()
    assert (end.value.code or 0) == code
    assert (shown.out + shown.err).startswith(text) and len((shown.out + shown.err).splitlines()) == 1
    assert (tmp_path / "raw" / "transactions.csv").exists() == (code == 0)


def test_the_command_passes_every_option_on(tmp_path: Path) -> None:
    words = "--customers 20 --terminals 40 --days 10 --seed 5 --radius 30 --scenarios 1,3 --new-from 4".split()
    with pytest.raises(SystemExit):
        app(["transactions", "--out", str(tmp_path / "a"), *words])
    asked = replace(SMALL, radius=30, scenarios=frozenset({1, 3}), new_from=4)
    raw = write_world("transactions", simulate(asked), out=tmp_path / "b")
    assert (tmp_path / "a" / "raw" / "transactions.csv").read_bytes() == (raw / "transactions.csv").read_bytes()
