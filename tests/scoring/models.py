"""Small untrained models and data for tests of scoring: weights are drawn, so that scores and their paths differ by sample."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import torch

from trmfin.data.files import json_bytes
from trmfin.data.prepared import Prepared
from trmfin.learn.bundle import Bundle
from trmfin.learn.calibrate import Calibration
from trmfin.learn.policy import Policy
from trmfin.learn.profile import reference_profile
from trmfin.model.config import ModelConfig
from trmfin.model.ensemble import Ensemble
from trmfin.scoring.engine import score_rows
from trmfin.sequences.fitted import Fitted
from trmfin.sequences.sequences import Sequences, build
from trmfin.sequences.task import Field, History, Target, Task

CONFIG = ModelConfig(width=16, head_width=8, latent_steps=1, answer_steps=1, supervision_steps=4, bins=4, members=1)
START = datetime(2024, 1, 1, tzinfo=UTC)

PANEL = Task(
    name="panel",
    histories=(History(name="statements", keys=("client",), length=4),),
    fields=(
        Field(name="billed", column="billed", transform="signed_log"),
        Field(name="status", column="status", transform="category"),
        Field(name="limit", column="limit", transform="signed_log", of="sample"),
    ),
    targets=(Target(name="default", head="binary", meaning="probability of default"),),
    primary="default",
    group="client",
    money=("billed", "limit"),
)


@dataclass(frozen=True, kw_only=True)
class World:
    prepared: Prepared
    bundle: Bundle
    sequences: Sequences  # aligned

    @property
    def rows(self) -> np.ndarray:
        return np.arange(len(self.sequences))


def panel(clients: int) -> Prepared:
    """`clients` samples; client c has c % 6 statements, so that some have none and some more than the history holds."""
    owner = np.repeat(np.arange(clients), np.arange(clients) % 6)
    place = np.concatenate([np.arange(c % 6) for c in range(clients)]) if clients else owner
    events = pl.DataFrame(
        {
            "event_id": [f"c{c}@{m}" for c, m in zip(owner, place, strict=True)],
            "event_time": [START + timedelta(days=30 * int(m)) for m in place],
            "event_type": ["statement"] * len(owner),
            "client": [f"c{c}" for c in owner],
            "billed": owner * 7919 % 1000 * 100 + place * 1000,
            "status": ((owner + place) % 4).astype(str),
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    ).with_columns(known_at="event_time")
    samples = pl.DataFrame(
        {
            "sample_id": [f"s{c}" for c in range(clients)],
            "as_of": [START + timedelta(days=400)] * clients,
            "client": [f"c{c}" for c in range(clients)],
            "limit": np.arange(clients) * 104729 % 1000 * 1000 + 1000,
        },
        schema_overrides={"as_of": pl.Datetime("us", "UTC")},
    )
    return Prepared(events=events, samples=samples)


def bundle_for(prepared: Prepared, task: Task, config: ModelConfig = CONFIG, policy: Policy | None = None, seed: int = 1) -> Bundle:
    """An untrained model of the task, its input and output weights drawn wide so that scores spread over [0, 1]."""
    sequences = build(prepared, task)
    fitted = Fitted.fit(sequences, np.arange(len(sequences)), config.bins)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Ensemble(task, fitted, config)
        with torch.no_grad():
            for member in network.members:
                for weight in (*member.numbers.parameters(), *member.codes.parameters(), *member.heads.parameters()):
                    weight.copy_(torch.randn(weight.shape))
                member.halt.weight.copy_(torch.randn(config.width))
                member.halt.bias.zero_()
    calibration = Calibration(kind="platt", parameters=tuple((0.9 + step / 10, -0.5) for step in range(config.supervision_steps)))
    aligned, rows = sequences.aligned(fitted), np.arange(len(sequences))
    bundle = Bundle(
        network=network.eval(),
        task=task,
        fitted=fitted,
        calibration=calibration,
        policy=policy or Policy(),
        card={},
        reference=pl.DataFrame({"sample_id": ["s0"], "group": ["all"]}),
        profile=reference_profile(aligned, rows, None, 0.0),
        sha256="0" * 64,
    )
    if task.target(task.primary).head != "binary":
        return bundle
    log_odds = score_rows(bundle, aligned, rows, epsilon=0).logits.astype(np.float64)  # as if all had been held out
    return replace(bundle, profile=reference_profile(aligned, rows, log_odds, bundle.policy.halt_epsilon))


def world(prepared: Prepared, task: Task = PANEL, config: ModelConfig = CONFIG) -> World:
    bundle = bundle_for(prepared, task, config)
    return World(prepared=prepared, bundle=bundle, sequences=build(prepared, task).aligned(bundle.fitted))


def saved(prepared: Prepared, bundle: Bundle, folder: Path) -> tuple[Bundle, Path]:
    """Both written to disk: (the bundle as it is loaded, the prepared folder)."""
    prepared.write(folder / "prepared")
    bundle.save(folder / "bundle")
    return Bundle.load(folder / "bundle"), folder / "prepared"


def contents(run: Path) -> dict[str, bytes]:
    """Every byte of a run but the times in its manifest, and the seal over them."""
    found = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    manifest = json.loads(found["manifest.json"])
    return found | {"manifest.json": json_bytes({key: value for key, value in manifest.items() if key not in ("times", "seal")})}


def with_policy(bundle: Bundle, policy: Policy) -> Bundle:
    return replace(bundle, policy=policy)
