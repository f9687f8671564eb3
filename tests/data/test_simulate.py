"""The simulated world of card statements: what it looks like, and that its oracle is exact."""

from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from trmfin.data.simulate import TRUTH, read_truth, write_world
from trmfin.data.simulate.__main__ import app
from trmfin.data.simulate.payments import (
    BLOCKED_AT,
    CALM,
    INTEREST,
    LIMIT_SHARES,
    OPENING,
    PAYMENTS,
    PAYS,
    SPENDING,
    SPENDS,
    START_HIGH,
    START_LOW,
    STATES,
    STRESS,
    calendar,
    change_month,
    oracle,
    simulate,
)
from trmfin.errors import ConfigError, DataError
from trmfin.learn.metrics import auc

LIMIT = 100_000
RANK_OF_LIMIT = 5 / 9  # 100,000 is the sixth of ten limits


@pytest.fixture(scope="module")
def world() -> pl.DataFrame:
    """20,000 clients, 24 months; `p` is the oracle's probability."""
    table, truth = simulate(20_000, 24, 1)
    assert truth["sample_id"].to_list() == table.select(pl.format("{}@{}", "client", "month")).to_series().to_list()
    return table.with_columns(truth["probability"].alias("p"), after=pl.col("month") >= change_month(24))


def statements(*choices: tuple[str, int]) -> pl.DataFrame:
    """One client of LIMIT who opens at half of it; then per month ("missed" | "part" | "full", spending in currency units)."""
    billed, arrears, rows = 50_000, 0, [(0, 50_000, 2_500)]
    for payment, spent in choices:
        paid = {"missed": 0, "part": billed // 2, "full": billed}[payment]
        arrears = {"missed": arrears + 1, "part": max(arrears - 1, 0), "full": 0}[payment]
        billed = billed - paid + (billed - paid) * INTEREST // 1000 + spent
        rows.append((arrears or (-1 if payment == "full" else 0), billed, paid))
    table = pl.DataFrame(rows, schema=["status", "billed", "paid"], orient="row")
    months = calendar(24)[: len(rows)]
    return table.with_columns(pl.Series("month", months), client=pl.lit("c"), limit=pl.lit(LIMIT))


def interval(base: int, edges: tuple[tuple[int, int], ...], amount: int) -> int:
    """Which interval of percents holds the amount."""
    return next(i for i, (low, high) in enumerate(edges) if base * low // 100 + (low < high) <= amount <= base * high // 100)


def by_enumeration(table: pl.DataFrame, change: str) -> float:
    """The last row's probability of default, by summing over every path of hidden states."""
    rows = table.select("month", "status", "billed", "paid").rows()
    hit = total = 0.0
    for path in product(range(len(STATES)), repeat=len(rows)):
        chance, hazard, before, large = 1.0, 0.0, None, 0
        for state, (month, status, billed, paid) in zip(path, rows, strict=True):
            economy = CALM if month < change else STRESS
            if before is None:
                start = START_LOW * (1 - RANK_OF_LIMIT) + START_HIGH * RANK_OF_LIMIT
                chance *= start[state] * OPENING[state][interval(LIMIT, tuple((10 * i, 10 * i + 10) for i in range(10)), billed)]
            else:
                chance *= 1 - hazard
                chance *= economy.moves_by_expense[large][before[0], state]
                chance *= PAYS[int(before[1] > 0)][state][interval(before[2], PAYMENTS, paid)]
                carried = before[2] - paid + (before[2] - paid) * INTEREST // 1000
                large = 0
                if status < BLOCKED_AT:
                    spending = interval(LIMIT - carried, SPENDING, billed - carried)
                    chance, large = chance * SPENDS[state][spending], int(spending == 3)
            hazard = economy.default(np.array([billed / LIMIT]))[0, state]
            before = (state, status, billed)
        hit, total = hit + chance * hazard, total + chance
    return hit / total


@pytest.mark.parametrize(
    "choices",
    [
        [],
        [("full", 3_000), ("missed", 40_000), ("missed", 0)],
        [("missed", 4_000), ("missed", 4_000), ("missed", 0), ("part", 9_000)],
    ],
)
@pytest.mark.parametrize("changed_at", [0, 2, 23])
def test_the_oracle_equals_the_sum_over_all_hidden_paths(choices: list[tuple[str, int]], changed_at: int) -> None:
    table, change = statements(*choices), calendar(24)[changed_at]
    assert oracle(table, change)["probability"][-1] == pytest.approx(by_enumeration(table, change), rel=1e-12)


def test_the_order_of_late_payments_matters_and_not_only_their_count() -> None:
    careless = statements(("missed", 3_000), ("full", 3_000), ("missed", 3_000), ("full", 3_000))
    sinking = statements(("full", 3_000), ("full", 3_000), ("missed", 3_000), ("missed", 3_000))
    recovered = statements(("missed", 3_000), ("missed", 3_000), ("full", 3_000), ("full", 3_000))
    risk = [oracle(table, "2024-12")["probability"][-1] for table in (careless, recovered, sinking)]
    assert [table.filter(pl.col("status") > 0).height for table in (careless, recovered, sinking)] == [2, 2, 2]
    assert risk[0] < risk[1] < risk[2] / 3


def test_the_oracle_is_calibrated(world: pl.DataFrame) -> None:
    for regime in (False, True):
        rows = world.filter(pl.col("after") == regime).sort("p")
        for part in np.array_split(np.arange(rows.height), 20):
            p, y = rows["p"].to_numpy()[part], rows["default_next_month"].to_numpy()[part]
            assert abs(y.sum() - p.sum()) < 4 * np.sqrt((p * (1 - p)).sum())


@pytest.mark.parametrize(
    "scorer",
    [
        pl.lit(0),
        pl.col("status"),
        pl.col("billed") * 20 // pl.col("limit"),
        pl.struct(pl.col("status").shift(lag).over("client").alias(f"status_{lag}") for lag in range(3)),
        pl.struct(
            (pl.col("status") > 0).cast(pl.Int64).rolling_sum(6, min_samples=1).over("client"), pl.col("billed") * 4 // pl.col("limit")
        ),
        pl.struct("after", "status", pl.col("billed") * 4 // pl.col("limit"), pl.col("paid") == 0),
    ],
)
def test_no_simple_scorer_beats_the_oracle_even_fitted_on_the_rows_it_is_judged_on(world: pl.DataFrame, scorer: pl.Expr) -> None:
    rows = world.with_columns(key=scorer).with_columns(rate=pl.col("default_next_month").mean().over("key"))
    y, p, q = (rows[name].to_numpy() for name in ("default_next_month", "p", "rate"))
    excess = np.log(np.where(y == 1, p, 1 - p)) - np.log(np.where(y == 1, q, 1 - q))
    assert excess.mean() > 3 * excess.std() / np.sqrt(len(excess))
    assert auc(y, p) > auc(y, q) + 0.01


def test_the_change_of_regime_shows_in_the_base_rate_and_in_the_weight_of_utilisation(world: pl.DataFrame) -> None:
    rate = {after: world.filter(pl.col("after") == after)["default_next_month"].mean() for after in (False, True)}
    assert 0.015 < rate[False] < 0.025 and 1.7 * rate[False] < rate[True] < 0.05  # type: ignore[operator]
    empty, full = np.array([0.0]), np.array([1.0])
    assert (STRESS.default(full) / STRESS.default(empty) > 2 * CALM.default(full) / CALM.default(empty)).all()


def test_statements_look_like_statements(world: pl.DataFrame) -> None:
    assert set(world["status"].unique()) == set(range(-2, 9))
    assert world.filter((pl.col("limit") <= 0) | (pl.col("paid") < 0) | (pl.col("billed") < 0)).is_empty()
    assert not world.select("client", "month").is_duplicated().any()
    assert world["month"].unique().sort().to_list() == calendar(24)
    assert (world["client"].n_unique() > 19_900, calendar(24)[-1], change_month(24)) == (True, "2024-12", "2024-01")


def test_a_client_who_defaults_leaves_and_no_other_does_before_the_end(world: pl.DataFrame) -> None:
    last = world.group_by("client", maintain_order=True).last()
    assert world["default_next_month"].sum() == last["default_next_month"].sum() > 0
    assert last.filter(pl.col("default_next_month") == 0)["month"].unique().to_list() == ["2024-12"]


def test_probabilities_of_the_world_sum_to_one() -> None:
    for table in (LIMIT_SHARES, START_LOW, START_HIGH, OPENING, PAYS, SPENDS, CALM.moves_by_expense, STRESS.moves_by_expense):
        np.testing.assert_allclose(table.sum(-1), 1, atol=1e-12)


def test_the_oracle_never_looks_ahead_nor_at_the_label() -> None:
    table, truth = simulate(200, 10, 3)
    early = table.filter(pl.col("month") < "2024-10")
    alone = oracle(early.drop("default_next_month"), change_month(10))
    assert alone.equals(truth.filter(table["month"] < "2024-10"))


def test_rows_in_another_order_have_the_same_truth() -> None:
    table, truth = simulate(50, 8, 3)
    mixed = table.sample(fraction=1, shuffle=True, seed=1)
    assert oracle(mixed, change_month(8)).sort("sample_id").equals(truth.sort("sample_id"))


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(tmp_path: Path) -> None:
    raws = [write_world("payments", *simulate(40, 6, seed), out=tmp_path / name) for name, seed in (("a", 5), ("b", 5), ("c", 6))]
    for name in ("payments.csv", "truth.parquet"):
        first, again, other = ((raw / name).read_bytes() for raw in raws)
        assert first == again != other


def test_the_sample_data_are_what_their_readme_says(checkout: Path) -> None:
    table, truth = simulate(300, 12, 7)
    folder = checkout / "sample_data" / "payments" / "raw"
    assert "--clients 300 --months 12 --seed 7" in (checkout / "sample_data" / "README.md").read_text()
    assert (folder / "payments.csv").read_text() == table.write_csv()
    shipped = pl.read_parquet(folder / "truth.parquet")
    assert shipped.drop("probability").equals(truth.drop("probability"))
    np.testing.assert_allclose(shipped["probability"], truth["probability"], rtol=1e-12)


def test_truth_is_read_for_the_samples_that_were_made(tmp_path: Path) -> None:
    raw = write_world("payments", *simulate(10, 4, 0), out=tmp_path)
    samples = pl.read_parquet(raw / "truth.parquet").select("sample_id")
    assert read_truth(tmp_path, samples) is None
    truth = read_truth(raw, samples[3:])
    assert truth is not None and truth.schema == TRUTH
    assert truth["sample_id"].to_list() == samples["sample_id"].to_list()[3:]


def test_truth_of_another_layout_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"sample_id": ["a"], "p": [0.5]}).write_parquet(tmp_path / "truth.parquet")
    with pytest.raises(DataError, match="truth.parquet: found columns sample_id String, p Float64; expected sample_id String, target"):
        read_truth(tmp_path, pl.DataFrame({"sample_id": ["a"]}))


@pytest.mark.parametrize(
    ("clients", "months", "seed", "name"), [(0, 12, 0, "clients"), (5, 1, 0, "months"), (5, 601, 0, "months"), (5, 12, -1, "seed")]
)
def test_a_world_of_impossible_size_is_refused(clients: int, months: int, seed: int, name: str) -> None:
    with pytest.raises(ConfigError, match=f"simulate payments, {name}: found"):
        simulate(clients, months, seed)


def test_the_smallest_world_has_rows_and_truth() -> None:
    table, truth = simulate(1, 2, 0)
    assert table.height == truth.height > 0
    assert truth["probability"].is_between(0, 1).all()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [(["--clients", "5", "--months", "3"], 0, "wrote "), (["--clients", "0"], 1, "error: simulate payments, clients")],
)
def test_the_command_writes_the_world_or_says_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, text: str
) -> None:
    with pytest.raises(SystemExit) as end:
        app(["payments", "--out", str(tmp_path), *arguments])
    shown = capsys.readouterr()
    assert (end.value.code or 0) == code
    assert (shown.out + shown.err).startswith(text)
    assert (tmp_path / "raw" / "payments.csv").exists() == (code == 0)
