"""What an evaluation needs beyond the package's own requirements, asked for before hours of training."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from trmfin.errors import MissingExtra
from trmfin.learn.baselines import INSTALL

NEEDED = {  # what of an evaluation → the package it needs, and how that is imported
    "pictures": ("matplotlib", lambda: import_module("matplotlib")),
    "logistic": ("scikit-learn", lambda: import_module("sklearn.pipeline")),
    "lightgbm": ("lightgbm", lambda: import_module("lightgbm")),
    "windows": ("lightgbm", lambda: import_module("lightgbm")),
}


def check_importable(models: Iterable[str]) -> None:
    """Raises MissingExtra unless all that pictures and these models need can be imported; other models need nothing more."""
    for name in ("pictures", *models):
        package, load = NEEDED.get(name, ("", lambda: None))
        try:
            load()
        except (ImportError, OSError) as error:  # OSError: a native library that does not load
            raise MissingExtra(f"{name}: {package} cannot be imported ({error}); install it with: {INSTALL}") from error
