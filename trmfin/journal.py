"""`python -m trmfin.journal URL`: checks a journal of reviews, and writes it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trmfin.command import run


def main(
    url: Annotated[str, typer.Argument(metavar="URL", help="sqlite:///journal.db, or postgresql+psycopg://USER@HOST/NAME.")],
    anchor: Annotated[str | None, typer.Option(help="Hash of an event, noted elsewhere, that must still be in the chain.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write all events here, a JSON line each.")] = None,
) -> None:
    """Check that no event of a journal was changed, dropped, added or moved, and that cases are what their events made them.

    Prints how many events there are and the hash of the last one: note it where writers of the journal cannot write, and give it as
    --anchor next time, so that a chain that was made anew is found too. People and samples are in the events under pseudonyms.

    \b
    Example:
      python -m trmfin.journal sqlite:///journal.db
      python -m trmfin.journal sqlite:///journal.db --anchor 3f9a… --export events.jsonl
    """
    from trmfin.data.files import replacing
    from trmfin.scoring.journal import Journal

    with Journal(url, create=False) as journal:
        count, end = journal.verify(anchor)
        if export is not None:
            with replacing(export) as file:
                file.writelines(event.line.encode() + b"\n" for event in journal.events())
        typer.echo(f"{journal.name}: {count:,} events, the chain is intact and cases are what their events made them; it ends with {end}")


if __name__ == "__main__":
    run(main)
