"""A world of card transactions with known frauds, after the published description of the Fraud Detection Handbook's simulator.

Source: Le Borgne et al. 2022, https://fraud-detection-handbook.github.io, chapter 3, "Transaction data simulator". Cards and
terminals lie on a grid of 100 x 100. A card pays at the terminals around it, a Poisson number of times a day, around noon,
amounts that are normal around its own mean. Three scenarios make frauds; where more than one holds, the highest number is told:

1. every amount above 220 is fraud;
2. two of 10,000 terminals are compromised a day, and all transactions there are fraud for 28 days;
3. three of 5,000 cards are stolen a day, and in 14 days a third of their transactions has five times the amount and is fraud.

A world of any size has the same rates a terminal and a card, so that about 0.8 % of its transactions are fraud, less in the first
weeks. The Handbook draws exactly so many a day; here the number is binomial, so that small worlds have some as well. In scenario 3
the Handbook draws a third of the transactions of the day's three cards taken together, rounded down; here it is a third of each
card's, rounded down, so that a card that pays less than three times in its days has no fraud, and there are somewhat fewer. Where
scenario 3 takes the same transaction twice, its amount is raised once.

For experiments with drift, scenarios can be left out, and from a day `new_from` on a fourth one can begin that no earlier day
shows: thieves try a card's number. Three of 5,000 cards a day suffer a burst of 6 to 12 payments of 0.50 to 3.00 at as many
terminals anywhere on the grid within an hour, and in the hour after a payment of four to eight times the card's mean amount at
one more terminal. All are fraud and come on top of what the card does otherwise. Its history shows a fast run of small amounts at
unknown terminals before the large one; a terminal's history shows a small amount of a card that was never there.

Scenarios and the new typology draw from streams of their own: with equal seeds, worlds that differ only in these hold the same
genuine transactions. There is no truth file: the probability of fraud, given the past, has no form that could be computed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trmfin.data.simulate.bounds import check_bounds
from trmfin.errors import ConfigError

Int = NDArray[np.int64]
Float = NDArray[np.float64]

START = np.datetime64("2018-04-01", "us")  # the Handbook's first day
DAY, HOUR = 86_400, 3_600  # seconds
GRID = 100.0  # length of a side
RADIUS, OF_TERMINALS = 5.0, 10_000  # the Handbook's, and in a world of how many terminals
MEAN_AMOUNT = (5.0, 100.0)  # currency units
PER_DAY = (0.0, 4.0)  # mean number of transactions of a card
TIME, TIME_SPREAD = 43_200, 20_000  # seconds of the day, mean and standard deviation
SCENARIOS = frozenset({1, 2, 3})
ABOVE_CENTS = 22_000  # scenario 1
TERMINALS_A_DAY, TERMINAL_DAYS = 2 / 10_000, 28  # scenario 2
CARDS_A_DAY, CARD_DAYS, CARD_SHARE, CARD_TIMES = 3 / 5_000, 14, 3, 5  # scenario 3: one of CARD_SHARE has CARD_TIMES the amount
NEW = 4  # the new typology's number
TESTS, TEST_CENTS, LARGE_TIMES = (6, 12), (50, 300), (4.0, 8.0)  # of a burst: least and most


@dataclass(frozen=True, kw_only=True)
class World:
    """What is to be simulated. Raises ConfigError, in one line, on what cannot be."""

    customers: int  # each has one card
    terminals: int
    days: int  # from START
    seed: int = 0
    radius: float | None = None  # how far a card goes, on the grid; None: RADIUS, farther where terminals are sparser
    scenarios: frozenset[int] = SCENARIOS  # which frauds there are
    new_from: int | None = None  # first day of the new typology, 0 is the first of all; None: never

    def __post_init__(self) -> None:
        least_terminals = 1 if self.new_from is None else TESTS[1] + 1  # a burst goes to different ones
        check_bounds("transactions", "customers", self.customers, 1, 100_000)
        check_bounds("transactions", "terminals", self.terminals, least_terminals, 100_000)
        check_bounds("transactions", "days", self.days, 1, 2_400)  # the last is in 2024, so that no day lies in the future
        check_bounds("transactions", "seed", self.seed, 0, 2**63 - 1)
        if self.radius is not None:
            check_bounds("transactions", "radius", self.radius, 0.01, 142)  # the diagonal: every card goes to every terminal
        if self.new_from is not None:
            check_bounds("transactions", "new_from", self.new_from, 0, self.days - 1)
        if unknown := sorted(self.scenarios - SCENARIOS):
            raise ConfigError(f"simulate transactions, scenarios: found {unknown[0]}; expected some of 1, 2, 3; leave out the others")

    @property
    def reach(self) -> float:
        """How far a card goes, on the grid; the circle has room for as many terminals as the Handbook's unless `radius` says other."""
        return RADIUS * float(np.sqrt(OF_TERMINALS / self.terminals)) if self.radius is None else self.radius


@dataclass(frozen=True, kw_only=True)
class Cards:
    """How C cards are used."""

    place: Float  # (C, 2) on the grid
    mean: Float  # (C,) amount in currency units; the standard deviation is half of it
    per_day: Float  # (C,) mean number of transactions


@dataclass(frozen=True, kw_only=True)
class Payments:
    """N transactions, sorted by time."""

    card: Int  # (N,)
    terminal: Int  # (N,)
    second: Int  # (N,) since START
    cents: Int  # (N,)
    scenario: Int  # (N,) 0 is genuine

    @property
    def day(self) -> Int:
        """(N,) 0 is the first."""
        return np.asarray(self.second // DAY)


class Hits(NamedTuple):
    """Who is compromised when; E times in all."""

    which: Int  # (E,) card or terminal
    day: Int  # (E,) the first of its days


def simulate(world: World) -> pl.DataFrame:
    """A table of transactions with the Handbook's columns, sorted by time. Equal worlds give equal bytes.

    TRANSACTION_ID, CUSTOMER_ID and TERMINAL_ID are numbers from 0 as text, TX_DATETIME is to the second, TX_AMOUNT is exact;
    TX_FRAUD is 0 or 1, TX_FRAUD_SCENARIO 0 where genuine. Raises ConfigError where the world has no transaction at all.
    """
    of_places, of_payments, of_terminals, of_cards, of_tests = np.random.default_rng(world.seed).spawn(5)
    cards = Cards(
        place=of_places.uniform(0, GRID, (world.customers, 2)),
        mean=of_places.uniform(*MEAN_AMOUNT, world.customers),
        per_day=of_places.uniform(*PER_DAY, world.customers),
    )
    payments = genuine(world, cards, of_places.uniform(0, GRID, (world.terminals, 2)), of_payments)
    if 1 in world.scenarios:
        payments = replace(payments, scenario=np.where(payments.cents > ABOVE_CENTS, 1, payments.scenario))
    if 2 in world.scenarios:
        payments = at_terminals(payments, hits(world.terminals, world.days, TERMINALS_A_DAY, of_terminals))
    if 3 in world.scenarios:
        payments = with_stolen(payments, hits(world.customers, world.days, CARDS_A_DAY, of_cards), of_cards)
    if world.new_from is not None:
        payments = _in_order(payments, card_testing(world, cards, np.unique(payments.card), world.new_from, of_tests))
    if not payments.card.size:
        raise ConfigError("simulate transactions: found no transaction; expected at least one; choose more customers, days or radius")
    return _table(payments)


def genuine(world: World, cards: Cards, terminals: Float, rng: np.random.Generator) -> Payments:
    """What the cards pay before there is any fraud. terminals: (T, 2) places.

    A Poisson number on each day is a Poisson number in all of them, each on a day drawn evenly. A card without any terminal in
    reach pays nothing.
    """
    number = rng.poisson(cards.per_day * world.days)  # (C,)
    card = np.repeat(np.arange(world.customers), number)
    second = rng.normal(TIME, TIME_SPREAD, len(card)).astype(np.int64)
    mean = cards.mean[card]
    amount = rng.normal(mean, mean / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean), amount)
    day = rng.integers(0, world.days, len(card))
    terminal = np.concatenate([_near(place, n, terminals, world.reach, rng) for place, n in zip(cards.place, number, strict=True)])
    kept = (second > 0) & (second < DAY) & (terminal >= 0)
    found = Payments(
        card=card, terminal=terminal, second=day * DAY + second, cents=np.rint(amount * 100).astype(np.int64), scenario=np.zeros_like(card)
    )
    return _in_order(_taken(found, kept))


def hits(number: int, days: int, a_day: float, rng: np.random.Generator) -> Hits:
    """Each of so many cards or terminals is hit on each day with the probability `a_day`, on its own."""
    chosen = rng.choice(number * days, rng.binomial(number * days, a_day), replace=False)
    return Hits(*np.divmod(chosen, days))


def at_terminals(payments: Payments, compromised: Hits) -> Payments:
    """Scenario 2: all transactions at a compromised terminal are fraud, on its first day and on the days after."""
    days = np.concatenate([payments.day, compromised.day]).max(initial=0) + TERMINAL_DAYS
    bad = np.zeros((np.concatenate([payments.terminal, compromised.which]).max(initial=0) + 1, days), bool)
    bad[compromised.which[:, None], compromised.day[:, None] + np.arange(TERMINAL_DAYS)] = True
    return replace(payments, scenario=np.where(bad[payments.terminal, payments.day], 2, payments.scenario))


def with_stolen(payments: Payments, stolen: Hits, rng: np.random.Generator) -> Payments:
    """Scenario 3: a third, rounded down, of a stolen card's transactions in its days is drawn; amounts rise, and they are fraud."""
    by_card = np.argsort(payments.card, kind="stable")
    days = np.concatenate([payments.day, stolen.day]).max(initial=0) + CARD_DAYS + 1
    key = (payments.card * days + payments.day)[by_card]
    first, end = (np.searchsorted(key, stolen.which * days + stolen.day + after) for after in (0, CARD_DAYS))
    drawn = [rng.permutation(by_card[a:b])[: (b - a) // CARD_SHARE] for a, b in zip(first, end, strict=True)]
    taken = np.isin(np.arange(len(by_card)), np.concatenate([by_card[:0], *drawn]))
    return replace(
        payments, cents=np.where(taken, payments.cents * CARD_TIMES, payments.cents), scenario=np.where(taken, 3, payments.scenario)
    )


def card_testing(world: World, cards: Cards, used: Int, new_from: int, rng: np.random.Generator) -> Payments:
    """The new typology: bursts of small payments and a large one after each. used: the cards that pay at all."""
    which, day = hits(len(used), world.days - new_from, CARDS_A_DAY, rng)
    card, number = used[which], rng.integers(*TESTS, len(which), endpoint=True)  # (E,)
    burst = np.repeat(np.arange(len(card)), number + 1)
    large = np.cumsum(number + 1) - 1  # (E,) the last row of each burst
    begin = (new_from + day) * DAY + rng.integers(0, DAY - 2 * HOUR, len(card))
    second = begin[burst] + rng.integers(0, HOUR, len(burst))
    second[large] = begin + HOUR + rng.integers(0, HOUR, len(card))
    cents = rng.integers(*TEST_CENTS, len(burst), endpoint=True)
    cents[large] = np.rint(cards.mean[card] * rng.uniform(*LARGE_TIMES, len(card)) * 100)
    places = [rng.choice(world.terminals, n + 1, replace=False) for n in number]
    return Payments(
        card=card[burst],
        terminal=np.concatenate([card[:0], *places]),
        second=second,
        cents=cents,
        scenario=np.full(len(burst), NEW),
    )


def _near(place: Float, number: int, terminals: Float, reach: float, rng: np.random.Generator) -> Int:
    """So many terminals (number,) drawn evenly from those within reach of a place (2,); -1 where there is none."""
    near = np.flatnonzero(((terminals - place) ** 2).sum(1) <= reach**2)
    return near[rng.integers(0, near.size, number)] if near.size else np.full(number, -1)


def _in_order(*parts: Payments) -> Payments:
    """All transactions of the parts, sorted by time."""
    names = [field.name for field in fields(Payments)]
    together = Payments(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
    return _taken(together, np.argsort(together.second, kind="stable"))


def _taken(payments: Payments, rows: NDArray[np.generic]) -> Payments:
    """Some of the transactions, by number or by a mask (N,)."""
    return Payments(**{field.name: getattr(payments, field.name)[rows] for field in fields(Payments)})


def _table(payments: Payments) -> pl.DataFrame:
    """The Handbook's columns."""
    money = pl.Decimal(18, 2)
    return pl.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(payments.card)),
            "TX_DATETIME": START + payments.second * np.timedelta64(1_000_000, "us"),
            "CUSTOMER_ID": payments.card,
            "TERMINAL_ID": payments.terminal,
            "TX_AMOUNT": payments.cents,
            "TX_FRAUD": (payments.scenario > 0).astype(np.int64),
            "TX_FRAUD_SCENARIO": payments.scenario,
        }
    ).with_columns(
        pl.col("TRANSACTION_ID", "CUSTOMER_ID", "TERMINAL_ID").cast(pl.String),
        (pl.col("TX_AMOUNT").cast(money) / 100).cast(money),
    )
