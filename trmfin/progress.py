"""Progress of long work: a bar on a terminal, now and then a plain line elsewhere. Always on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from trmfin.learn.fit import Progress as FitProgress

EVERY_SECONDS = 10.0  # between plain lines


class Bar:
    """One running total with a text beside it."""

    def __init__(self, what: str, total: int) -> None:
        self._console = Console(stderr=True)
        self._what, self._total, self._done, self._said, self._note = what, total, 0, time.monotonic(), ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def say(self, what: str) -> None:
        """A line of its own: what is being done now."""
        self._console.print(what, highlight=False, soft_wrap=True)

    def to(self, done: int, note: str = "", total: int | None = None) -> None:
        """The work is at `done` of the total (a new one where given); `note` stands behind the bar until another is given."""
        self._done, self._note, self._total = done, note or self._note, self._total if total is None else total
        self._progress.update(self._task, completed=done, total=self._total, note=self._note)
        if not self._console.is_terminal and time.monotonic() - self._said > EVERY_SECONDS:
            self._said = time.monotonic()
            self._console.print(f"{self._what}: {done:,} of {self._total:,}  {self._note}".rstrip(), highlight=False, soft_wrap=True)


class TrainingProgress(Bar):
    """Steps of all members together, of pre-training and then of training, with the last validation loss."""

    def __init__(self, members: int) -> None:
        super().__init__("training", 0)
        self._members, self._phase, self._steps = members, "", dict.fromkeys(range(members), 0)

    def tell(self, member: int, progress: FitProgress) -> None:
        """What `learn` calls."""
        if progress.phase != self._phase:
            self._phase, self._note, self._steps = progress.phase, "", dict.fromkeys(range(self._members), 0)
        self._steps[member] = progress.step
        note = "pre-training on histories" if progress.phase == "pre-training" else ""
        if progress.validation is not None:
            note = f"member {member + 1} of {self._members}: validation loss {progress.validation:.4f}"
        self.to(sum(self._steps.values()), note, progress.total * self._members)
