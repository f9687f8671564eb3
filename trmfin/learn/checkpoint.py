"""Training state on disk: weights, their average, optimiser, slots. A resumed run goes on exactly where it stopped.

Tensors in one safetensors file, everything else as JSON in its header: no pickle, no code.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from trmfin import __version__
from trmfin.data.files import replacing
from trmfin.errors import RunError
from trmfin.learn.settings import TrainSettings
from trmfin.model.config import ModelConfig
from trmfin.sequences.samples import Samples

if TYPE_CHECKING:
    from trmfin.learn.supervise import Run

FORMAT = 1
SLOT_ARRAYS = ("rows", "age", "depth")
Weights = dict[str, NDArray[np.float32]]
SLOT_TENSORS = ("y", "z", "loss")


def identity(
    sequences: Samples, train: NDArray[np.int64], validation: NDArray[np.int64], model: ModelConfig, settings: TrainSettings
) -> str:
    """Hash of what a checkpoint belongs to: other data, another split, shape or setting must not be resumed from it."""
    plain = json.dumps([sequences.task.sha256, model.to_json(), settings.to_json(), FORMAT], sort_keys=True)
    digest = hashlib.sha256(plain.encode())
    for rows in (train, validation):
        digest.update(np.ascontiguousarray(rows).tobytes())
    digest.update(content(sequences).encode())
    return digest.hexdigest()


def content(sequences: Samples) -> str:
    """Hash of all that samples are made of and what reads them: another value, window, link, answer, task or version differs."""
    digest = hashlib.sha256(json.dumps([sequences.task.sha256, __version__, torch.__version__]).encode())
    digest.update(json.dumps(sequences.fitted.to_json() if sequences.fitted else {}, sort_keys=True).encode())
    for array in sequences.arrays():
        digest.update(array.tobytes())
    return digest.hexdigest()


def save(path: Path, run: Run, identity: str) -> None:
    """Write `run` in one piece: a kill while writing leaves the checkpoint before it."""
    tensors: dict[str, Tensor] = {}
    for part, state in _parts(run).items():
        tensors |= {f"{part}.{name}": value.detach().clone().contiguous() for name, value in state.items()}
    optimiser = run.optimiser.state_dict()
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in optimiser["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{index}.{name}"] = value.clone()
            else:
                numbers.setdefault(str(index), {})[name] = value
    plain = {
        "format": FORMAT,
        "identity": identity,
        "optimiser": {"groups": optimiser["param_groups"], "numbers": numbers},
        "schedule": {k: v for k, v in run.schedule.state_dict().items() if isinstance(v, (int, float, list, str))},
        "slots": {"taken": run.slots.taken, "depths": sorted(run.slots.depths.items())},
        "run": {"step": run.step, "best_step": run.best_step, "best_loss": run.best_loss, "history": run.history},
        "average_count": run.average.count,
        "time_used": run.clock.used,
    }
    with replacing(path) as file:
        file.write(_bytes(tensors, json.dumps(plain)))


def load(path: Path, run: Run, identity: str) -> None:
    """Bring `run`, freshly started with the same data and settings, to where `path` was saved.

    Raises RunError where the file is damaged or belongs to other data or settings.
    """
    header, tensors = _read(path)
    try:
        plain = json.loads(header)
    except ValueError as error:
        raise RunError(f"{path.name}: not a readable checkpoint ({error}); delete it to train from the start") from error
    if plain.get("identity") != identity:
        raise _foreign(path)
    parts = _parts(run)
    for part in ("network", "average"):
        for name, value in parts[part].items():
            value.copy_(tensors[f"{part}.{name}"])
    run.best = {name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")}
    state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain["optimiser"]["numbers"].items()}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, entry = name.split(".", 2)
            state.setdefault(int(index), {})[entry] = value
    run.optimiser.load_state_dict({"state": state, "param_groups": plain["optimiser"]["groups"]})
    run.schedule.load_state_dict({**run.schedule.state_dict(), **plain["schedule"]})
    for name in SLOT_ARRAYS:
        setattr(run.slots, name, tensors[f"slots.{name}"].numpy())
    for name in SLOT_TENSORS:
        setattr(run.slots, name, tensors[f"slots.{name}"].to(run.network.places.device))
    run.slots.taken, run.slots.depths = plain["slots"]["taken"], Counter(dict(map(tuple, plain["slots"]["depths"])))
    for name, value in plain["run"].items():
        setattr(run, name, value)
    run.average.count = plain["average_count"]
    run.clock.resume(run.step, plain.get("time_used", 0.0))  # a checkpoint that is older than this entry has used none


def save_weights(path: Path, weights: Weights, identity: str) -> None:
    """Write weights that a training begins from, in one piece."""
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    with replacing(path) as file:
        file.write(_bytes(tensors, identity))


def load_weights(path: Path, identity: str) -> Weights:
    """What `save_weights` wrote. Raises RunError where the file is damaged or belongs to other data or settings."""
    found, tensors = _read(path)
    if found != identity:
        raise _foreign(path)
    return {name: value.numpy() for name, value in tensors.items()}


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The header and the tensors of a checkpoint whose every byte has been checked."""
    try:
        with safe_open(path, framework="pt") as file:
            header, digest = json.loads(file.metadata()["run"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
        if digest != _digest(tensors, header):
            raise ValueError("its content does not match its sha256")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path.name}: not a readable checkpoint ({error}); delete it to train from the start") from error
    return str(header), tensors


def _bytes(tensors: dict[str, Tensor], header: str) -> bytes:
    """A whole file. One entry of metadata: safetensors writes several in any order, and equal runs should leave equal bytes."""
    return save_tensors(tensors, metadata={"run": json.dumps([header, _digest(tensors, header)])})


def _foreign(path: Path) -> RunError:
    return RunError(f"{path.name}: made from other data or settings than this run's; use the same ones, another --out, or delete it")


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    """Hash of everything in the file."""
    digest = hashlib.sha256(header.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _parts(run: Run) -> dict[str, dict[str, Tensor]]:
    """Tensors by where they belong; those of the networks are the live ones."""
    slots = {name: torch.from_numpy(getattr(run.slots, name)) for name in SLOT_ARRAYS} | {
        name: getattr(run.slots, name) for name in SLOT_TENSORS
    }
    return {"network": run.network.state_dict(), "average": run.average.module.state_dict(), "best": run.best, "slots": slots}
