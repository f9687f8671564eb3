"""`python -m trmfin.data.simulate WORLD`: write a seeded world's raw table, and its truth where it has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from trmfin.data.simulate import payments as payments_world
from trmfin.data.simulate import transactions as transactions_world
from trmfin.data.simulate import write_world
from trmfin.errors import ConfigError, TrmfinError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Out = Annotated[Path, typer.Option(help="Folder to write; `raw` is made in it.")]
Seed = Annotated[int, typer.Option(help="Equal seeds give equal bytes.")]


@app.callback()
def world() -> None:
    """Write a simulated world: OUT/raw/WORLD.csv, and OUT/raw/truth.parquet where its truth can be known."""


@app.command()
def payments(
    out: Out,
    clients: Annotated[int, typer.Option(help="Borrowers, those who enter late included.")] = 300,
    months: Annotated[int, typer.Option(help="Calendar months; the economy turns half-way.")] = 12,
    seed: Seed = 0,
) -> None:
    """Monthly card statements with hidden borrower state, shocks and a change of regime."""
    with _failing_in_one_line():
        typer.echo(f"wrote {write_world('payments', *payments_world.simulate(clients, months, seed), out=out)}")


@app.command()
def transactions(
    out: Out,
    customers: Annotated[int, typer.Option(help="Cards, one a customer; about two transactions a day each.")] = 60,
    terminals: Annotated[int, typer.Option(help="Terminals; the Handbook has two a customer.")] = 120,
    days: Annotated[int, typer.Option(help="Days from 2018-04-01 on; the Handbook has 183.")] = 60,
    radius: Annotated[
        float | None,
        typer.Option(help="How far a card goes on a grid of 100 x 100. Left out: 5 at 10,000 terminals, farther where they are sparser."),
    ] = None,
    scenarios: Annotated[
        str,
        typer.Option(help="Which frauds there are: 1 amounts above 220, 2 compromised terminals, 3 stolen cards; '' for none of them."),
    ] = "1,2,3",
    new_from: Annotated[
        int | None,
        typer.Option(help="From this day on, 0 is the first, card numbers are tried with small payments before a large one: scenario 4."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Card transactions with the frauds of the Fraud Detection Handbook, about 0.8 % of them, in a world of any size.

    \b
    Example:
      python -m trmfin.data.simulate transactions --customers 60 --terminals 120 --days 60 --seed 7 --out build/world
      python -m trmfin.data.simulate transactions --customers 500 --terminals 1000 --days 183 --new-from 120 --out build/drift
    """
    with _failing_in_one_line():
        asked = transactions_world.World(
            customers=customers,
            terminals=terminals,
            days=days,
            seed=seed,
            radius=radius,
            scenarios=_numbers(scenarios),
            new_from=new_from,
        )
        typer.echo(f"wrote {write_world('transactions', transactions_world.simulate(asked), out=out)}")


@contextmanager
def _failing_in_one_line() -> Iterator[None]:
    try:
        yield
    except TrmfinError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _numbers(scenarios: str) -> frozenset[int]:
    try:
        return frozenset(int(number) for number in scenarios.split(",") if number.strip())
    except ValueError as error:
        raise ConfigError(f"--scenarios {scenarios!r}: expected numbers such as 1,3") from error


if __name__ == "__main__":
    app()
