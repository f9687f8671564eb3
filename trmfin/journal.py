"""`python -m trmfin.journal URL`: checks a journal of reviews, and writes it out."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from trmfin.command import run
from trmfin.errors import ReviewError


def main(
    url: Annotated[str, typer.Argument(metavar="URL", help="sqlite:///journal.db, or postgresql+psycopg://USER@HOST/NAME.")],
    anchor: Annotated[str | None, typer.Option(help="Hash of an event, noted elsewhere, that must still be in the chain.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write all events here, a JSON line each.")] = None,
    policy: Annotated[Path | None, typer.Option(help="TOML of the review policy; its retention_months counts here.")] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="Erase what this sample's pseudonym and notes stand for; may be repeated.")
    ] = None,
    forget_expired: Annotated[bool, typer.Option("--forget-expired", help="The same for samples beyond the policy's retention.")] = False,
) -> None:
    """Check that no event of a journal was changed, dropped, added or moved, and that cases are what their events made them.

    Prints how many events there are and the hash of the last one: note it where writers of the journal cannot write, and give it as
    --anchor next time, so that a chain that was made anew is found too. People and samples are in the events under pseudonyms: what a
    sample's stand for can be forgotten, by name or once its retention is over (25 months unless --policy says more), and every hash stays.

    \b
    Example:
      python -m trmfin.journal sqlite:///journal.db
      python -m trmfin.journal sqlite:///journal.db --anchor 3f9a… --export events.jsonl
      python -m trmfin.journal sqlite:///journal.db --forget C000028@2024-11 --forget-expired
    """
    from trmfin.data.files import replacing
    from trmfin.scoring.journal import Journal
    from trmfin.scoring.review import Reviewer, ReviewPolicy

    rules = ReviewPolicy.from_toml(policy) if policy else ReviewPolicy()
    with Journal(url, rules, create=False) as journal:
        count, end = journal.verify(anchor)
        if export is not None:
            with replacing(export) as file:
                file.writelines(event.line.encode() + b"\n" for event in journal.events())
        operator = Reviewer(name=getpass.getuser(), roles=("compliance",))  # who may open the database may do what compliance may
        erased = journal.erase_expired(operator) if forget_expired else {}
        for sample in [name for name in dict.fromkeys(forget or ()) if name not in erased]:
            erased[sample] = journal.erase(operator, sample)
            if not erased[sample]:
                raise ReviewError(f"forget: {sample!r} has no keys in this journal, or they were forgotten before; check its name")
        for sample, keys in erased.items():
            typer.echo(f"{sample}: {keys} keys forgotten")
        if expired := journal.expired():
            typer.echo(f"{len(expired):,} samples are beyond {rules.retention_months} months of retention; --forget-expired erases them")
        typer.echo(f"{journal.name}: {count:,} events, the chain is intact and cases are what their events made them; it ends with {end}")


if __name__ == "__main__":
    run(main)
