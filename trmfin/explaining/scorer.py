"""A process that scores for the dashboard, whose pages load no torch: one JSON question a line in, one JSON answer a line out.

`python -m trmfin.explaining.scorer BUNDLE`. Its first line says which bundle it has ({"bundle": sha256}). Then:

    {"ask": "score", "run": MANIFEST, "case": CASE}      the parts `replay.OTHERWISE` of a record that the run would have had of it
    {"ask": "replay", "run": MANIFEST, "record": RECORD}  the fields of `Replayed`

MANIFEST is a run's, or `asking.RUN_PARTS` of it. What goes wrong as a TrmfinError is an answer too: {"error": its message}. The
process ends with its input. What else would be printed goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trmfin.errors import ScorerError, TrmfinError
from trmfin.explaining.replay import Replayer
from trmfin.learn.bundle import Bundle


class Answering:
    """A bundle, and the run that was asked about last."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._run: Any = None
        self._replayer: Replayer | None = None

    def to(self, line: bytes) -> dict[str, Any]:
        """The answer to one line."""
        try:
            return self._answer(*_question(line))
        except TrmfinError as problem:
            return {"error": str(problem)}
        except (KeyError, TypeError, ValueError, AttributeError) as problem:  # of a question that has not the parts that it should
            traceback.print_exc()
            return {
                "error": f"scorer: what was asked cannot be worked out ({problem!r}); take the run and its records as they were written"
            }

    def _answer(self, ask: str, run: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
        if self._replayer is None or run != self._run:
            self._replayer, self._run = Replayer(self.bundle, run), run
        return self._replayer.otherwise(about) if ask == "score" else asdict(self._replayer.again(about))


def _question(line: bytes) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What is asked, of which run, about what. Raises ScorerError on anything else."""
    try:
        question = json.loads(line)
        ask = question["ask"]
        return ask, question["run"], question[{"score": "case", "replay": "record"}[ask]]
    except (ValueError, KeyError, TypeError) as problem:
        raise ScorerError(
            f"scorer: the question cannot be read ({problem!r}); it is a line of JSON with ask, run and case or record"
        ) from None


def main(arguments: Sequence[str]) -> int:
    """Answers until its input ends; the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m trmfin.explaining.scorer BUNDLE\n")
        return 2
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(answer: dict[str, Any]) -> None:
            out.write(json.dumps(answer, allow_nan=False) + "\n")
            out.flush()

        try:
            answering = Answering(Bundle.load(Path(arguments[0])))
        except TrmfinError as problem:
            say({"error": str(problem)})
            return 1
        say({"bundle": answering.bundle.sha256})
        for line in sys.stdin.buffer:
            say(answering.to(line))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
