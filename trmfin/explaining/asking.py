"""Asks a scorer process (`trmfin/explaining/scorer.py`) for new scores and replays; loads no model itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from trmfin.data.files import read_json, sha256_of
from trmfin.errors import BundleError, ConfigError, ScorerError
from trmfin.explaining.replayed import Replayed

LIMIT = 120.0  # seconds that a question may take, with the wait for others' and the start of the process
RUN_PARTS = ("bundle", "policy", "settings", "explain", "inputs", "records", "versions")  # of a run's manifest, that a question carries
CARD = "model-card.md"
PACKAGE = Path(__file__).resolve().parents[2]  # the folder that `trmfin` lies in


def identity(bundle: Path) -> str:
    """What a bundle is known by: the sha256 of its manifest. Raises BundleError where there is none; checks nothing else."""
    return sha256_of(bundle / "manifest.json", BundleError)


def bundle_of(manifest: Mapping[str, Any], given: Sequence[Path]) -> Path:
    """The folder among `given` of the bundle that made a run. Raises ConfigError that says what to give where it is not among them."""
    made_by, found = str(manifest["bundle"]["sha256"]), {identity(folder): folder for folder in given}
    if made_by in found:
        return found[made_by]
    others = ", ".join(f"{name[:12]} ({folder.name})" for name, folder in found.items()) or "none"
    raise ConfigError(
        f"a new score takes the bundle that made this run, {made_by[:12]}; given: {others}; "
        "start with `python -m trmfin.dashboard RUN --bundle BUNDLE`"
    )


def card_of(bundle: Path) -> str:
    """The model card of a bundle, in Markdown. Raises BundleError where it is missing, or is not the one that the bundle was saved with."""
    manifest = read_json(bundle / "manifest.json", BundleError)
    if sha256_of(path := bundle / CARD, BundleError) != manifest.get("files", {}).get(CARD):
        raise BundleError(f"{path}: was changed since the bundle was saved; restore it from a copy")
    return path.read_text()


class Scorer:
    """A scorer process of one bundle: started with the first question, anew after it died, ended with this object or this process.

    Threads may share it; they wait for each other. Each call raises ScorerError where there is no answer within `limit` seconds, the
    process dies, or it answers with an error.
    """

    def __init__(self, bundle: Path, limit: float = LIMIT) -> None:
        self.bundle, self.limit = bundle, limit
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[..., Any] | None = None

    def score(self, manifest: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
        """Parts of the record that the run would have had of a case (as `Case.to_json` gives it): see `Replayer.otherwise`."""
        return self._asked({"ask": "score", "run": _parts(manifest), "case": case})

    def replay(self, manifest: Mapping[str, Any], record: Mapping[str, Any]) -> Replayed:
        """What comes out of a record of the run, worked out once more."""
        found = self._asked({"ask": "replay", "run": _parts(manifest), "record": record})
        return Replayed(**(found | {"differences": tuple(found["differences"])}))

    @property
    def pid(self) -> int | None:
        """Of the process; None where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def close(self) -> None:
        """Ends the process; the next question starts another."""
        if self._end is not None:
            self._end()
        self._process = self._end = None

    def _asked(self, question: Mapping[str, Any]) -> dict[str, Any]:
        end = time.monotonic() + self.limit
        if not self._one_at_a_time.acquire(timeout=self.limit):
            raise ScorerError(f"scorer: busy with other questions for {self.limit:g} seconds; ask again in a while")
        try:
            return self._answer(json.dumps(question).encode() + b"\n", max(end - time.monotonic(), 0.0))
        finally:
            self._one_at_a_time.release()

    def _answer(self, question: bytes, seconds: float) -> dict[str, Any]:
        process, fresh = self._running()
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            found = _exchanged(process, question, fresh)
        finally:
            timer.cancel()
            timer.join()  # where it has just gone off it ends the process now, not under the next question
        if found is None or late.is_set():
            with suppress(subprocess.TimeoutExpired):  # it ends by itself, and says with which code
                process.wait(1)
            self.close()
            if late.is_set():
                raise ScorerError(f"scorer: no answer within {self.limit:g} seconds, so its process was ended; ask again, or for less")
            raise ScorerError(
                f"scorer: its process for {self.bundle} ended without an answer (exit code {process.returncode}); "
                "ask again, and where it ends again look at what the dashboard printed"
            )
        if "error" in found:
            raise ScorerError(found["error"])
        return found

    def _running(self) -> tuple[subprocess.Popen[bytes], bool]:
        """The process, and whether it was started just now."""
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self.close()
        path = os.pathsep.join(filter(None, (str(PACKAGE), os.environ.get("PYTHONPATH"))))
        command = [sys.executable, "-P", "-m", "trmfin.explaining.scorer", str(self.bundle)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}, start_new_session=True
            )
        except OSError as problem:
            raise ScorerError(
                f"scorer: {sys.executable} cannot be started ({problem.strerror}); free some memory and ask again"
            ) from problem
        self._end = weakref.finalize(self, _ended, self._process)
        return self._process, True


def _parts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {name: manifest[name] for name in RUN_PARTS if name in manifest}


def _exchanged(process: subprocess.Popen[bytes], question: bytes, fresh: bool) -> dict[str, Any] | None:
    """The answer; of a fresh process, what it says first where that is an error. None where the process ended."""
    if fresh and ((hello := _line(process)) is None or "error" in hello):
        return hello
    try:
        process.stdin.write(question)  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    except OSError:  # it has died
        return None
    return _line(process)


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
    line = process.stdout.readline()  # type: ignore[union-attr]
    return dict(json.loads(line)) if line.endswith(b"\n") else None


def _ended(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not yet written goes nowhere
            pipe.close()  # type: ignore[union-attr]
    process.wait()
