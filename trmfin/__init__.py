"""trmfin: payment histories in, calibrated risk scores out, from a tiny recursive model.

The names below are all that a pipeline or a notebook needs. Each is imported when it is first used, so that `import trmfin`
costs no torch, no shap, no streamlit and no polars. `trmfin.prepare`, `trmfin.train`, `trmfin.score` and `trmfin.evaluate` are
the command modules; from Python, start with `trmfin.load(BUNDLE).score(PREPARED)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Batch": "trmfin.sequences.sequences",
    "BundleError": "trmfin.errors",
    "Change": "trmfin.sequences.explained",
    "ConfigError": "trmfin.errors",
    "DataError": "trmfin.errors",
    "Field": "trmfin.sequences.task",
    "Fitted": "trmfin.sequences.fitted",
    "History": "trmfin.sequences.task",
    "JournalError": "trmfin.errors",
    "MissingExtra": "trmfin.errors",
    "ModelConfig": "trmfin.model.config",
    "Player": "trmfin.sequences.explained",
    "Prepared": "trmfin.data.prepared",
    "Protocol": "trmfin.sequences.protocol",
    "Reason": "trmfin.sequences.explained",
    "ReviewError": "trmfin.errors",
    "RunError": "trmfin.errors",
    "ScorerError": "trmfin.errors",
    "Sequences": "trmfin.sequences.sequences",
    "Target": "trmfin.sequences.task",
    "Task": "trmfin.sequences.task",
    "TaskError": "trmfin.errors",
    "TrmfinError": "trmfin.errors",
    "load": "trmfin.scoring.api",
    "preset": "trmfin.model.config",
}

if TYPE_CHECKING:
    from trmfin.data.prepared import Prepared
    from trmfin.errors import (
        BundleError,
        ConfigError,
        DataError,
        JournalError,
        MissingExtra,
        ReviewError,
        RunError,
        ScorerError,
        TaskError,
        TrmfinError,
    )
    from trmfin.model.config import ModelConfig, preset
    from trmfin.scoring.api import load
    from trmfin.sequences.explained import Change, Player, Reason
    from trmfin.sequences.fitted import Fitted
    from trmfin.sequences.protocol import Protocol
    from trmfin.sequences.sequences import Batch, Sequences
    from trmfin.sequences.task import Field, History, Target, Task

__all__ = [
    "Batch",
    "BundleError",
    "Change",
    "ConfigError",
    "DataError",
    "Field",
    "Fitted",
    "History",
    "JournalError",
    "MissingExtra",
    "ModelConfig",
    "Player",
    "Prepared",
    "Protocol",
    "Reason",
    "ReviewError",
    "RunError",
    "ScorerError",
    "Sequences",
    "Target",
    "Task",
    "TaskError",
    "TrmfinError",
    "__version__",
    "load",
    "preset",
]


def __getattr__(name: str) -> Any:
    """The public name `name`, imported now. Raises AttributeError where there is none."""
    if name not in _HOME:
        raise AttributeError(f"module 'trmfin' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
