"""`python -m trmfin`: every command as one program; `trmfin prepare …` is `python -m trmfin.prepare …`."""

from __future__ import annotations

from trmfin import dashboard, evaluate, explain, journal, outcomes, prepare, puzzle, score, train
from trmfin.command import applications

# Command modules import what is heavy inside their functions, so that asking for help stays quick.
app = applications(
    {
        "prepare": prepare.main,
        "train": train.main,
        "score": score.main,
        "explain": explain.main,
        "evaluate": evaluate.main,
        "puzzle": puzzle.main,
        "dashboard": dashboard.main,
        "journal": journal.main,
        "outcomes": outcomes.main,
    }
)


def main() -> None:
    """Runs the command that sys.argv names. Exits like `trmfin.command.run`."""
    app()


if __name__ == "__main__":
    main()
