"""The model bundle: a folder with everything that scoring needs, no code and no pickle; every byte is under a hash."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from trmfin import __version__
from trmfin.data.files import (
    json_bytes,
    make_folder,
    read_json,
    read_parquet,
    reading,
    remove_file,
    replacing,
    sha256_of,
    write_json,
    write_parquet,
)
from trmfin.data.seal import is_sealed, sealed
from trmfin.errors import BundleError, RunError, TrmfinError
from trmfin.learn.calibrate import Calibration
from trmfin.learn.model_card import model_card
from trmfin.learn.policy import Policy
from trmfin.learn.profile import ReferenceProfile
from trmfin.model.config import ModelConfig
from trmfin.model.ensemble import Ensemble
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.profile import finest
from trmfin.sequences.task import Task

FORMAT = 1
MANIFEST = "manifest.json"
REASON = 160  # characters of a foreign library's message that are passed on
WEIGHTS = "weights.safetensors"
REFERENCE = "reference.parquet"
PROFILE = "profile.json"
MODEL_CARD = "model-card.md"  # for people; older bundles have none
PARTS = (WEIGHTS, "task.json", "config.json", "fitted.json", "calibration.json", "policy.json", "card.json", REFERENCE, PROFILE)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained model as it is scored with."""

    network: Ensemble  # evaluation mode, float32
    task: Task
    fitted: Fitted
    calibration: Calibration
    policy: Policy
    card: dict[str, Any]  # purpose, data window, shape, training, held-out metrics, limits
    reference: pl.DataFrame  # group, sample_id and the tokens as the network saw them
    profile: ReferenceProfile  # what training data and held-out scores looked like
    sha256: str  # of its manifest.json: the identity of the bundle

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Read a bundle and check every byte. Raises BundleError that says which file is wrong and how."""
        manifest = checked_manifest(folder)
        try:
            task = Task.from_json(_json(folder, "task.json"))
            fitted = Fitted.from_json(_json(folder, "fitted.json"))
            if fitted.task_sha256 != task.sha256:
                raise BundleError(f"bundle {folder.name}: fitted.json belongs to another task than task.json; train it again")
            config = ModelConfig.from_json(_json(folder, "config.json"))
            with torch.random.fork_rng(devices=[]):
                network = Ensemble(task, fitted, config)
            network.load_state_dict(load_tensors((folder / WEIGHTS).read_bytes()))
            calibration = Calibration.from_json(_json(folder, "calibration.json"))
            policy = Policy.from_json(_json(folder, "policy.json"))
            profile = ReferenceProfile.from_json(_json(folder, PROFILE))
            if profile.features.named != finest(task, fitted).named:
                raise BundleError(f"bundle {folder.name}: {PROFILE} has other fields than task.json; train it again")
        except BundleError:
            raise
        except (TrmfinError, SafetensorError, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
            raise BundleError(f"bundle {folder.name}: its parts do not fit together ({str(error)[:REASON]}); train it again") from error
        return cls(
            network=network.eval(),
            task=task,
            fitted=fitted,
            calibration=calibration,
            policy=policy,
            card=_json(folder, "card.json"),
            reference=read_parquet(folder / REFERENCE, BundleError),
            profile=profile,
            sha256=manifest["sha256"],
        )

    def save(self, folder: Path) -> str:
        """Write the bundle; the manifest comes last, so a killed save is never taken for a bundle. Returns its sha256.

        Raises RunError where the folder cannot be written.
        """
        make_folder(folder)
        remove_file(folder / MANIFEST)
        with replacing(folder / WEIGHTS) as file:
            file.write(save_tensors({name: value.contiguous() for name, value in self.network.state_dict().items()}))
        plain = {
            "task": self.task.to_json(),
            "config": self.network.config.to_json(),
            "fitted": self.fitted.to_json(),
            "calibration": self.calibration.to_json(),
            "policy": self.policy.to_json(),
            "card": self.card,
            "profile": self.profile.to_json(),
        }
        for name, part in plain.items():
            write_json(part, folder / f"{name}.json")
        write_parquet(self.reference, folder / REFERENCE)
        with replacing(folder / MODEL_CARD) as file:
            file.write(model_card(self.card, self.task, self.policy).encode())
        files = {name: sha256_of(folder / name, RunError) for name in (*PARTS, MODEL_CARD)}
        manifest = {"format": FORMAT, "trmfin": __version__, **provenance(), "files": files}
        write_json(sealed(manifest), folder / MANIFEST)
        return sha256_of(folder / MANIFEST, RunError)


def provenance() -> dict[str, Any]:
    """`commit` of the checkout this code runs from, and whether the package is `dirty`: differs from that commit.

    commit is "" and dirty None, which is unknown, where the package is installed without a checkout or there is no git.
    """
    package = Path(__file__).resolve().parents[1]
    if not (package.parent / ".git").exists() or shutil.which("git") is None:
        return {"commit": "", "dirty": None}
    head, changes = _git(package, "rev-parse", "HEAD"), _git(package, "status", "--porcelain", "--", ".")
    return {"commit": head or "", "dirty": None if head is None or changes is None else bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says in `folder`; None where it refuses. Takes no lock, so that it disturbs no other git."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if said.returncode else said.stdout.strip()


def checked_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle whose every file is as it was saved, with the manifest's own `sha256` added.

    Raises BundleError that says which file is not.
    """
    with reading(folder, BundleError):
        return _checked_manifest(folder)


def _checked_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise BundleError(f"bundle {folder}: {what}; expected a folder written by `python -m trmfin.train … --out BUNDLE`")
    manifest = _json(folder, MANIFEST)
    version = manifest.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise BundleError(f"bundle {folder.name}: format {version!r}, this version reads up to {FORMAT}; update trmfin")
    if not is_sealed(manifest) or (folder / MANIFEST).read_bytes() != json_bytes(manifest):
        raise BundleError(f"bundle {folder.name}: {MANIFEST} was changed: its content does not match its seal; copy the bundle again")
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise BundleError(f"bundle {folder.name}: {MANIFEST} lists no files; copy the bundle again")
    lacking = sorted(set(PARTS) - set(files))
    if lacking == [PROFILE]:
        raise BundleError(f"bundle {folder.name}: was trained before bundles had {PROFILE}, which tells drift; train it again")
    if lacking:
        raise BundleError(f"bundle {folder.name}: {MANIFEST} does not list {', '.join(lacking)}; copy the bundle again")
    for name, expected in sorted(files.items()):
        path = folder / Path(name).name
        if not path.is_file():
            raise BundleError(f"bundle {folder.name}: {name} is missing; copy the whole folder again")
        if (actual := sha256_of(path, BundleError)) != expected:
            raise BundleError(
                f"bundle {folder.name}: {name} was changed: sha256 {actual[:12]}, expected {str(expected)[:12]}; copy the bundle again"
            )
    return manifest | {"sha256": sha256_of(folder / MANIFEST, BundleError)}


def _json(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name, BundleError)
