"""Jobs of an ensemble's members, in this process one after the other or side by side in single-thread processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from typing import Any, Protocol, TypeVar

import torch

from trmfin.errors import RunError, TrmfinError
from trmfin.learn.fit import Progress
from trmfin.learn.threads import one_thread

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Job(Protocol[T_co]):
    """One member's work: a function of this package with everything a fresh process needs, as functools.partial makes it."""

    def __call__(self, *, tell: Callable[[Progress], None]) -> T_co: ...


def run_jobs(jobs: Sequence[Job[T]], workers: int, tell: Callable[[int, Progress], None]) -> list[T]:
    """What each job gives, in their order. tell: called with a job's place among them.

    workers: processes side by side; 1 works in this process. Results do not depend on it: a job has one thread, wherever
    it runs. Raises what a job raises, and RunError where its process dies.
    """
    with one_thread():
        if workers == 1:
            return [job(tell=partial(tell, index)) for index, job in enumerate(jobs)]
        return _side_by_side(jobs, workers, tell)


def seconds_each(max_seconds: float | None, jobs: int, workers: int) -> float | None:
    """The time of one of so many jobs, so that all together take max_seconds."""
    return None if max_seconds is None else max_seconds / -(-jobs // workers)


def _side_by_side(jobs: Sequence[Job[T]], workers: int, tell: Callable[[int, Progress], None]) -> list[T]:
    context = _context()
    waiting = list(enumerate(jobs))
    running: dict[Any, tuple[int, ForkServerProcess | SpawnProcess]] = {}  # our end of the pipe → who is at the other
    done: dict[int, T] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index, job = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(job, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = (index, process)
            for pipe in wait(list(running)):
                index, process = running[pipe]
                kind, value = _received(pipe, index)
                if kind == "progress":
                    tell(index, value)
                    continue
                if kind == "error":
                    raise value
                done[index] = value
                process.join()
                del running[pipe]
    finally:
        for _, process in running.values():
            process.terminate()
    return [done[index] for index in range(len(jobs))]


def _context() -> ForkServerContext | SpawnContext:
    """Processes that begin without our threads: a forked torch can hang in its thread pool.

    Where there is a fork server, it imports torch once for all members of all trainings; elsewhere each process does.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _received(pipe: Any, index: int) -> tuple[str, Any]:
    try:
        kind, value = pipe.recv()
    except (EOFError, OSError) as error:  # OSError: killed in the middle of a message
        raise RunError(f"training of member {index} ended without a word (killed, or out of memory); run again with --resume") from error
    return kind, value


def _work(job: Job[Any], pipe: Connection) -> None:
    """A member's process. Ctrl-C is for the process that started it, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        pipe.send(("done", job(tell=lambda progress: pipe.send(("progress", progress)))))
    except TrmfinError as error:
        pipe.send(("error", error))
    except BrokenPipeError:  # the process that started this one is gone: so is what it trains for
        return
