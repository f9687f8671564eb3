"""A world of monthly card statements in which the probability of default is known exactly.

Every client is in one of six hidden states that last for months (`STATES`). The state decides how a client pays, spends
and moves on. Two shocks push it: a lost job (straight to `distressed`) and a large one-off expense, seen on the statement
as a `large` spending, after which `tight` is likelier. A statement shows two choices drawn from the state, the payment
(`PAYMENTS`) and the spending (`SPENDING`); the amount inside the chosen interval is uniform and says nothing more. Both
choices can be read back from billed, paid and limit, so the forward algorithm of a hidden Markov model (Rabiner 1989,
doi:10.1109/5.18626) gives the exact posterior over states, and with it the exact probability of default, from observed
columns alone: `oracle`. Order matters: one missed payment followed by full payment is carelessness, misses in a row are
distress, late months that shrink are recovery, whatever their count.

Half-way through the months the economy turns: jobs are lost more often, recovery is slower, the base hazard rises and
utilisation weighs more. A client who defaults leaves the panel; the last row carries the label 1. A client enters without
arrears, and the first statement's payment says nothing. Amounts are whole currency units. The oracle reads a client's
whole past and the calendar; a model that sees six statements and no calendar cannot reach it wholly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.simulate.bounds import check_bounds

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

LAST_MONTH = "2024-12"  # worlds end here, so that no month lies in the future
STATES = ("transactor", "revolver", "careless", "tight", "distressed", "recovering")
PAYMENTS = ((0, 0), (2, 10), (10, 90), (100, 100))  # missed, minimum, part, full: percent of the statement before, (low, high]
SPENDING = ((0, 0), (0, 10), (10, 30), (30, 70))  # none, small, medium, large: percent of the room under the limit, (low, high]
LARGE = 3  # the spending that is a one-off expense
SMALL = 100  # a statement or a room below this leaves no choice, so that no interval is empty
BLOCKED_AT = 3  # months late from which the card can no longer be used
WORST = 8  # the highest status
INTEREST = 15  # per mille a month on what stays unpaid
LIMITS = np.array([10, 20, 30, 50, 80, 100, 150, 200, 300, 500]) * 1000  # currency units
LIMIT_SHARES = np.array([0.10, 0.12, 0.14, 0.16, 0.12, 0.12, 0.09, 0.08, 0.05, 0.02])
SHARE_FROM_START = 0.7  # clients in the panel from its first month; the others enter in a random later one

# Rows are STATES everywhere below; each row of probabilities sums to 1.
START_LOW = np.array([0.20, 0.34, 0.14, 0.22, 0.05, 0.05])  # state on entering, at the lowest limit
START_HIGH = np.array([0.56, 0.26, 0.10, 0.05, 0.01, 0.02])  # and at the highest
OPENING = np.array([  # tenth of utilisation of the first statement
    [0.42, 0.26, 0.14, 0.08, 0.04, 0.02, 0.01, 0.01, 0.01, 0.01],
    [0.05, 0.10, 0.14, 0.15, 0.15, 0.13, 0.11, 0.08, 0.06, 0.03],
    [0.22, 0.22, 0.16, 0.12, 0.09, 0.07, 0.05, 0.03, 0.02, 0.02],
    [0.02, 0.03, 0.05, 0.06, 0.08, 0.10, 0.13, 0.17, 0.20, 0.16],
    [0.02, 0.02, 0.04, 0.05, 0.06, 0.09, 0.12, 0.16, 0.22, 0.22],
    [0.04, 0.06, 0.08, 0.10, 0.12, 0.14, 0.14, 0.13, 0.11, 0.08],
])  # fmt: skip
PAYS = np.array([  # choice of payment without arrears, and with arrears
    [[0.005, 0.015, 0.05, 0.93], [0.01, 0.40, 0.50, 0.09], [0.20, 0.10, 0.15, 0.55],
     [0.09, 0.60, 0.26, 0.05], [0.58, 0.28, 0.11, 0.03], [0.06, 0.34, 0.45, 0.15]],
    [[0.02, 0.03, 0.15, 0.80], [0.04, 0.16, 0.45, 0.35], [0.10, 0.05, 0.10, 0.75],
     [0.20, 0.40, 0.33, 0.07], [0.68, 0.22, 0.08, 0.02], [0.06, 0.18, 0.62, 0.14]],
])  # fmt: skip
SPENDS = np.array([  # choice of spending
    [0.06, 0.36, 0.55, 0.03], [0.15, 0.57, 0.25, 0.03], [0.10, 0.36, 0.48, 0.06],
    [0.25, 0.45, 0.25, 0.05], [0.45, 0.33, 0.17, 0.05], [0.38, 0.50, 0.11, 0.01],
])  # fmt: skip
OVERSPENT = np.array([0.10, 0.20, 0.10, 0.0, 0.0, 0.25])  # moved to `tight` in the month after a large expense


@dataclass(frozen=True, kw_only=True)
class Economy:
    """What the calendar decides."""

    moves: Float  # (K, K) next month's state, row = this month's
    hazard: Float  # (K,) probability of default next month at half utilisation
    utilisation: float  # added to the log-odds of default per unit of utilisation above one half

    @property
    def moves_by_expense(self) -> Float:
        """(2, K, K): the moves in a usual month, and in the month after a large expense."""
        pushed = self.moves * (1 - OVERSPENT[:, None])
        pushed[:, STATES.index("tight")] += OVERSPENT
        return np.stack([self.moves, pushed])

    def default(self, used: Float) -> Float:
        """Probability of default next month (C, K) at utilisation `used` (C,), for each state."""
        odds = np.log(self.hazard / (1 - self.hazard)) + self.utilisation * (used[:, None] - 0.5)
        return np.asarray(1 / (1 + np.exp(-odds)))


CALM = Economy(
    moves=np.array([
        [0.970, 0.012, 0.004, 0.008, 0.006, 0.000], [0.012, 0.952, 0.004, 0.020, 0.012, 0.000], [0.003, 0.004, 0.975, 0.010, 0.008, 0.000],
        [0.004, 0.036, 0.000, 0.890, 0.060, 0.010], [0.000, 0.000, 0.000, 0.020, 0.850, 0.130], [0.020, 0.100, 0.005, 0.045, 0.040, 0.790],
    ]),
    hazard=np.array([0.002, 0.006, 0.008, 0.030, 0.240, 0.045]),
    utilisation=0.8,
)  # fmt: skip
STRESS = Economy(
    moves=np.array([
        [0.950, 0.012, 0.004, 0.016, 0.018, 0.000], [0.008, 0.912, 0.004, 0.040, 0.036, 0.000], [0.003, 0.004, 0.953, 0.018, 0.022, 0.000],
        [0.002, 0.022, 0.000, 0.848, 0.120, 0.008], [0.000, 0.000, 0.000, 0.020, 0.890, 0.090], [0.012, 0.080, 0.005, 0.063, 0.080, 0.760],
    ]),
    hazard=np.array([0.003, 0.010, 0.012, 0.050, 0.320, 0.070]),
    utilisation=2.4,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Panel:
    """What can be observed of C clients in M months; of no meaning where a client is not present. Currency units."""

    limit: Int  # (C,)
    billed: Int  # (C, M)
    paid: Int  # (C, M) in the month, towards the statement before
    status: Int  # (C, M) -2 no use, -1 paid in full, 0 revolving, n months late
    present: Bool  # (C, M)

    @classmethod
    def blank(cls, limit: Int, months: int) -> Panel:
        """A panel to be filled in, with nobody present."""
        billed, paid, status = np.zeros((3, len(limit), months), np.int64)
        return cls(limit=limit, billed=billed, paid=paid, status=status, present=np.zeros(billed.shape, bool))


def simulate(clients: int, months: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A long table of monthly statements, and the exact probability of each label.

    Returns (table, truth). table: client, month 'YYYY-MM', status, billed, paid, limit, default_next_month, by client and
    month. truth: sample_id 'client@month', target 'default', probability, in the same order. Equal arguments give equal
    bytes. Raises ConfigError on fewer than 1 client, fewer than 2 or more than 600 months, or a negative seed.
    """
    for name, value, least, most in (("clients", clients, 1, 10**8), ("months", months, 2, 600), ("seed", seed, 0, 2**63 - 1)):
        check_bounds("payments", name, value, least, most)
    panel, default = draw(clients, months, np.random.default_rng(seed))
    client, month = np.nonzero(panel.present)
    table = pl.DataFrame(
        {
            "client": np.array([f"C{c + 1:06d}" for c in range(clients)])[client],
            "month": np.array(calendar(months))[month],
            **{name: getattr(panel, name)[client, month] for name in ("status", "billed", "paid")},
            "limit": panel.limit[client],
            "default_next_month": default[client, month].astype(np.int64),
        }
    )
    return table, oracle(table, change_month(months))


def calendar(months: int) -> list[str]:
    """The world's months 'YYYY-MM', oldest first; the last is LAST_MONTH."""
    return [_month_name(m) for m in range(_month_number(LAST_MONTH) - months + 1, _month_number(LAST_MONTH) + 1)]


def change_month(months: int) -> str:
    """The first month 'YYYY-MM' of the second economy in a world of so many months."""
    return calendar(months)[months // 2]


def draw(clients: int, months: int, rng: np.random.Generator) -> tuple[Panel, Bool]:
    """Let C clients live through M months. Returns what is observed and who defaults in the month after (C, M)."""
    which = rng.choice(len(LIMITS), size=clients, p=LIMIT_SHARES)
    limit = LIMITS[which]
    entry = np.where(rng.random(clients) < SHARE_FROM_START, 0, rng.integers(1, months, clients))
    panel = Panel.blank(limit, months)
    default = np.zeros((clients, months), bool)
    state, large, gone = _pick(_start(limit), rng), np.zeros(clients, np.int64), np.zeros(clients, bool)
    for t in range(months):
        economy = CALM if t < months // 2 else STRESS
        state = np.where(t > entry, _pick(economy.moves_by_expense[large, state], rng), state)
        new = t == entry
        opened = _amount(limit, np.array([(10 * i, 10 * i + 10) for i in range(10)]), _pick(OPENING[state], rng), rng)
        billed, paid, status, spending = _statement(panel, t, state, rng)
        panel.billed[:, t] = np.where(new, opened, billed)
        panel.paid[:, t] = np.where(new, opened // 20, paid)
        panel.status[:, t] = np.where(new, 0, status)
        panel.present[:, t] = (t >= entry) & ~gone
        large = (~new & (spending == LARGE)).astype(np.int64)
        chance = economy.default(panel.billed[:, t] / limit)[np.arange(clients), state]
        default[:, t] = panel.present[:, t] & (rng.random(clients) < chance)
        gone |= default[:, t]
    return panel, default


def oracle(table: pl.DataFrame, change: str) -> pl.DataFrame:
    """P(default next month | this and all earlier statements of the client), from the observed columns alone.

    table: as `simulate` gives it, the label not needed; change: first month of the second economy. Returns sample_id,
    target, probability, one row a row of the table, in its order.
    """
    number = np.array([_month_number(m) for m in table["month"].to_list()])
    key = table["client"].rank("dense").to_numpy().astype(np.int64) - 1
    month = number - number.min()
    panel = Panel.blank(np.ones(int(key.max()) + 1, np.int64), int(month.max()) + 1)
    panel.limit[key] = table["limit"].to_numpy()
    panel.present[key, month] = True
    for name in ("billed", "paid", "status"):
        getattr(panel, name)[key, month] = table[name].to_numpy()
    probability = _filter(panel, _month_number(change) - int(number.min()))[key, month]
    sample_id = table.select(pl.concat_str("client", "month", separator="@")).to_series()
    return pl.DataFrame({"sample_id": sample_id, "target": pl.repeat("default", len(table), eager=True), "probability": probability})


def _filter(panel: Panel, change: int) -> Float:
    """The forward algorithm: probability of default next month (C, M), NaN where a client is not present."""
    clients, months = panel.present.shape
    belief, large, seen = np.zeros((clients, len(STATES))), np.zeros(clients, np.int64), np.zeros(clients, bool)
    out = np.full((clients, months), np.nan)
    for t in range(months):
        economy = CALM if t < change else STRESS
        here = panel.present[:, t]
        tenth = np.maximum(-(-panel.billed[:, t] * 10 // panel.limit) - 1, 0)  # (low, high]: a tenth holds its upper end
        first = _start(panel.limit) * OPENING[:, np.minimum(tenth, 9)].T
        payment, spending = _choices(panel, t)
        late = (panel.status[:, t - 1] > 0).astype(np.int64)
        follows = (belief[:, None, :] @ economy.moves_by_expense[large])[:, 0]  # (C, K)
        follows *= np.where((payment >= 0)[:, None], PAYS[late, :, payment], 1)
        follows *= np.where((spending >= 0)[:, None], SPENDS[:, spending].T, 1)
        belief = np.where(seen[:, None], follows, first)
        belief = np.divide(belief, belief.sum(1, keepdims=True), out=np.zeros_like(belief), where=here[:, None])
        hazard = economy.default(panel.billed[:, t] / panel.limit)
        out[here, t] = (belief * hazard).sum(1)[here]
        belief *= 1 - hazard  # a client who is there next month has not defaulted
        large = (seen & (spending == LARGE)).astype(np.int64)
        seen |= here
    return out


def _statement(panel: Panel, t: int, state: Int, rng: np.random.Generator) -> tuple[Int, Int, Int, Int]:
    """Month t of every client from the month before: billed, paid, status (C,) and the choice of spending, -1 = none."""
    before, status = panel.billed[:, t - 1], panel.status[:, t - 1]
    owed = before >= SMALL
    payment = _pick(PAYS[(status > 0).astype(np.int64), state], rng)
    paid = np.where(owed, _amount(before, np.array(PAYMENTS), payment, rng), before)
    late = np.maximum(status, 0)
    then = [np.zeros_like(late), np.minimum(late + 1, WORST), late, np.maximum(late - 1, 0)]
    arrears = np.select([~owed, payment == 0, payment == 1, payment == 2], then, 0)
    carried = _carried(before, paid)
    room = panel.limit - carried
    spending = np.where((room >= SMALL) & (arrears < BLOCKED_AT), _pick(SPENDS[state], rng), -1)
    billed = carried + np.where(spending >= 0, _amount(room, np.array(SPENDING), spending, rng), 0)
    settled = np.where((before == 0) & (billed == 0), -2, -1)
    return billed, paid, np.select([arrears > 0, paid == before], [arrears, settled], 0), spending


def _choices(panel: Panel, t: int) -> tuple[Int, Int]:
    """Read month t's choices of payment and spending (C,) back from the statements; -1 where there was no choice."""
    before, paid = panel.billed[:, t - 1], panel.paid[:, t]
    payment = np.select([before < SMALL, paid == before, paid == 0, paid * 100 <= before * PAYMENTS[1][1]], [-1, 3, 0, 1], 2)
    carried = _carried(before, paid)
    room, spent = panel.limit - carried, panel.billed[:, t] - carried
    below = [spent * 100 <= room * high for _, high in SPENDING]
    return payment, np.select([(room < SMALL) | (panel.status[:, t] >= BLOCKED_AT), *below[:3]], [-1, 0, 1, 2], 3)


def _carried(before: Int, paid: Int) -> Int:
    """What stays of a statement, with interest, in whole units."""
    return np.asarray(before - paid + (before - paid) * INTEREST // 1000)


def _amount(base: Int, percents: Int, choice: Int, rng: np.random.Generator) -> Int:
    """A whole amount, uniform over the chosen interval of percents (k, 2) of the base (C,); (a, a) is exactly that share."""
    low, high = percents[choice].T
    base = np.maximum(base, SMALL)
    return np.asarray(rng.integers(base * low // 100 + (low < high), base * high // 100, endpoint=True))


def _start(limit: Int) -> Float:
    """State on entering (C, K): the higher the limit, the safer."""
    rank = np.searchsorted(LIMITS, limit)[:, None] / (len(LIMITS) - 1)
    return np.asarray(START_LOW * (1 - rank) + START_HIGH * rank)


def _pick(chances: Float, rng: np.random.Generator) -> Int:
    """One index a row, drawn with the row's probabilities (C, k)."""
    above = rng.random(len(chances))[:, None] >= chances.cumsum(1)
    return np.asarray(np.minimum(above.sum(1), chances.shape[1] - 1))


def _month_number(name: str) -> int:
    return int(name[:4]) * 12 + int(name[5:7]) - 1


def _month_name(number: int) -> str:
    return f"{number // 12:04d}-{number % 12 + 1:02d}"
