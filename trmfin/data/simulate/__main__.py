"""`python -m trmfin.data.simulate WORLD`: write a seeded world's raw table and truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trmfin.data.simulate import write_world
from trmfin.errors import TrmfinError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def world() -> None:
    """Write a simulated world with known truth: OUT/raw/WORLD.csv and OUT/raw/truth.parquet."""


@app.command()
def payments(
    out: Annotated[Path, typer.Option(help="Folder to write; `raw` is made in it.")],
    clients: Annotated[int, typer.Option(help="Borrowers, those who enter late included.")] = 300,
    months: Annotated[int, typer.Option(help="Calendar months; the economy turns half-way.")] = 12,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 0,
) -> None:
    """Monthly card statements with hidden borrower state, shocks and a change of regime."""
    try:
        typer.echo(f"wrote {write_world('payments', clients=clients, months=months, seed=seed, out=out)}")
    except TrmfinError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
