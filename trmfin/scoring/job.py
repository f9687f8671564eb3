"""What a run is made of: everything the bytes of its tables depend on, and in what two runs differ."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from trmfin import __version__
from trmfin.errors import ConfigError
from trmfin.learn.bundle import Bundle
from trmfin.scoring.blocks import Source
from trmfin.scoring.engine import allowed_steps, cached_batch, threads_found
from trmfin.scoring.folder import FORMAT

VERSIONED = ("torch", "numpy", "polars", "pyarrow")  # what else than our own code decides the bytes of a run


def checked_settings(bundle: Bundle, **asked: int | None) -> dict[str, int]:
    """The settings that decide the bytes of a run, with what was left open filled in. Raises ConfigError on impossible ones."""
    for name, value in asked.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name}: found {value}; it must be at least 1")
    config = bundle.network.config
    filled = {"batch_size": cached_batch(config, bundle.task.length), "threads": threads_found()}
    filled |= {name: value for name, value in asked.items() if value is not None}
    return filled | {"steps": allowed_steps(config, asked["steps"])}


def describe(bundle: Bundle, source: Source, settings: dict[str, int]) -> dict[str, Any]:
    """Everything the bytes of a run's tables depend on, and the raw files behind them; a function of bundle, data, settings and code."""
    return {
        "format": FORMAT,
        "bundle": {"sha256": bundle.sha256, "task": bundle.task.name, "task_sha256": bundle.task.sha256},
        "inputs": {"rows": source.rows, "files": dict(source.files), "raw": {table: dict(about) for table, about in source.raw.items()}},
        "settings": settings,
        "policy": bundle.policy.to_json(),
        "versions": {"trmfin": __version__, **{name: version(name) for name in VERSIONED}},
    }


def differences(found: dict[str, Any], expected: dict[str, Any], where: str = "") -> list[str]:
    """What two jobs differ in, as `settings.steps is 4, asked for 3`."""
    lines = []
    for key in sorted(found.keys() | expected.keys()):
        old, new, name = found.get(key), expected.get(key), f"{where}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            lines += differences(old, new, f"{name}.")
        elif old != new:
            lines.append(f"{name} is {_short(old)}, asked for {_short(new)}")
    return lines


def _short(value: Any) -> str:
    return f"{value[:12]}…" if isinstance(value, str) and len(value) == 64 else str(value)
