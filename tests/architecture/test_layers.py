"""Imports point only downwards, and a heavy library stays behind its wall."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

import trmfin
from tests.architecture.tree import ROOT, Import, Source, imports, source, sources

LAYERS = ("errors", "data", "sequences", "shipped", "model", "learn", "scoring", "explaining", "puzzles", "commands")
COMMANDS = ("trmfin/*.py", "trmfin/data/simulate/__main__.py")
WALLS = {  # library → files that may import it
    "torch": (
        "trmfin/model/",
        "trmfin/learn/",
        "trmfin/scoring/engine.py",
        "trmfin/explaining/shapley.py",
        "trmfin/explaining/trace.py",
        "trmfin/puzzles/",
    ),
    "safetensors": ("trmfin/learn/",),
    "sklearn": ("trmfin/learn/",),
    "lightgbm": ("trmfin/learn/",),
    "matplotlib": ("trmfin/learn/", "trmfin/puzzles/"),
    "shap": ("trmfin/explaining/",),
    "streamlit": ("dashboards/", "trmfin/dashboard.py"),
    "pandas": ("trmfin/data/files.py", "trmfin/scoring/api.py", "trmfin/explaining/"),
    "typer": COMMANDS,
    "rich": COMMANDS,
}
DISTRIBUTION = {"sklearn": "scikit-learn"}  # where the name to install differs from the name to import
BROUGHT_BY_CALLER = {"pandas"}  # who hands in a pandas frame has pandas


def layer(name: str) -> str | None:
    """The layer of an imported name; None for what is not trmfin's or is only its version."""
    parts = name.split(".")
    if parts[0] != "trmfin" or name == "trmfin.__version__":
        return None
    if len(parts) > 1 and parts[1] in trmfin._HOME:  # a public name lives where the table says
        parts = trmfin._HOME[parts[1]].split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "commands"


def upward_imports(file: Source) -> Iterator[str]:
    own = layer(".".join(file.path.with_suffix("").parts))
    for found in imports(file):
        theirs = layer(found.name)
        if found.name == "(computed)":
            yield f"{file.path}:{found.line} imports a name that cannot be read"
        elif own and theirs and LAYERS.index(theirs) > LAYERS.index(own):
            yield f"{file.path}:{found.line} {own} imports {found.name} of the higher layer {theirs}"


def broken_walls(file: Source) -> Iterator[str]:
    for found in imports(file):
        allowed = WALLS.get(found.name.split(".")[0])
        if allowed is not None and not any(_lies_in(file.path, place) for place in allowed):
            yield f"{file.path}:{found.line} imports {found.name}; only {', '.join(allowed)} may"


def _lies_in(path: PurePosixPath, place: str) -> bool:
    return str(path).startswith(place) if place.endswith("/") else path.match(place) and len(path.parts) == len(PurePosixPath(place).parts)


def foreign_imports_of_a_pipeline(file: Source) -> Iterator[str]:
    for found in imports(file):
        top = found.name.split(".")[0]
        public = top == "trmfin" and found.name.removeprefix("trmfin.") in trmfin.__all__
        if not public and top not in {"polars", "dataframely", *sys.stdlib_module_names}:
            yield f"{file.path}:{found.line} imports {found.name}; a pipeline uses public names of trmfin, polars and dataframely"


def foreign_imports_of_a_page(file: Source) -> Iterator[str]:
    for found in imports(file):
        own = found.name.split(".")[0] in {"streamlit", "altair", "dashboards", *sys.stdlib_module_names}
        if not own and not found.name.startswith(("trmfin.scoring.", "trmfin.explaining.")):
            yield f"{file.path}:{found.line} imports {found.name}; a page uses trmfin.scoring, trmfin.explaining and streamlit"


def requirements() -> tuple[set[str], set[str]]:
    """Names of what every installation has, and of what an extra for users adds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = project["dependencies"]
    extra = [line for name in ("bench", "dashboard", "explain", "postgres", "puzzles") for line in project["optional-dependencies"][name]]
    return {re.split(r"[<>=~\[ ]", line)[0] for line in core}, {re.split(r"[<>=~\[ ]", line)[0] for line in extra}


def undeclared_imports(file: Source, core: set[str], extra: set[str]) -> Iterator[str]:
    for found in imports(file):
        top = found.name.split(".")[0]
        needed = DISTRIBUTION.get(top, top)
        if top in {"trmfin", "(computed)", *sys.stdlib_module_names} or needed in core:
            continue
        if needed not in extra | BROUGHT_BY_CALLER:
            yield f"{file.path}:{found.line} imports {top}, which pyproject.toml does not require"
        elif not found.lazy:
            yield f"{file.path}:{found.line} imports {top} with the module; it is optional, so import it where it is used"


PACKAGE = tuple(file for file in sources("trmfin") if str(file.path) != "trmfin/__init__.py")


def test_imports_point_only_to_lower_layers() -> None:
    assert [fault for file in PACKAGE for fault in upward_imports(file)] == []


def test_heavy_libraries_stay_behind_their_walls() -> None:
    assert [fault for file in sources("trmfin", "pipelines", "dashboards") for fault in broken_walls(file)] == []


def test_a_pipeline_is_a_program_against_public_names() -> None:
    assert [fault for file in sources("pipelines") for fault in foreign_imports_of_a_pipeline(file)] == []


def test_a_page_shows_only_what_scoring_and_explaining_give() -> None:
    assert [fault for file in sources("dashboards") for fault in foreign_imports_of_a_page(file)] == []


def test_pages_load_no_torch() -> None:
    named = sorted({found.name for file in sources("dashboards") for found in imports(file) if found.name.startswith("trmfin.")})
    assert len(named) > 5
    modules = sorted({name if (ROOT / (name.replace(".", "/") + ".py")).exists() else name.rpartition(".")[0] for name in named})
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_import_is_a_declared_dependency_and_every_dependency_is_imported() -> None:
    core, extra = requirements()
    assert [fault for file in PACKAGE for fault in undeclared_imports(file, core, extra)] == []
    used = {found.name.split(".")[0] for file in PACKAGE for found in imports(file)}
    assert core - used == set()


@pytest.mark.parametrize(
    "line",
    [
        "from trmfin.learn.metrics import auc",
        "from ..learn import metrics",
        "def f():\n    import trmfin.scoring.engine",
        "from trmfin import load",
        "import importlib\nimportlib.import_module('trmfin.puzzles.sudoku')",
        "import importlib\nimportlib.import_module(name)",
        "import trmfin",
    ],
)
def test_the_guard_of_layers_sees(line: str) -> None:
    assert len(list(upward_imports(source("trmfin/sequences/windows.py", line)))) == 1


def test_the_guard_of_layers_lets_lower_layers_and_the_version_pass() -> None:
    good = "from trmfin import TrmfinError, __version__\nfrom trmfin.data.files import read_raw\nfrom . import task\nimport numpy"
    assert list(upward_imports(source("trmfin/sequences/windows.py", good))) == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("trmfin/scoring/runs.py", "from torch import nn"),
        ("trmfin/scoring/runs.py", "def f():\n    import torch.nn.functional as F"),
        ("trmfin/learn/typer.py", "import typer"),
        ("dashboards/queue.py", "import torch"),
        ("trmfin/sequences/windows.py", "import pandas as pd"),
        ("trmfin/data/simulate/files.py", "import pandas as pd"),
        ("trmfin/views.py", "import streamlit"),
    ],
)
def test_the_guard_of_walls_sees(path: str, line: str) -> None:
    assert len(list(broken_walls(source(path, line)))) == 1


def test_the_guard_of_walls_lets_the_engine_and_the_commands_pass() -> None:
    assert list(broken_walls(source("trmfin/scoring/engine.py", "import torch"))) == []
    assert list(broken_walls(source("trmfin/score.py", "import typer"))) == []


def test_the_guard_of_pipelines_sees_an_inner_name() -> None:
    text = "import polars as pl\nfrom trmfin import Task\nfrom trmfin.sequences.windows import as_of_windows"
    assert len(list(foreign_imports_of_a_pipeline(source("pipelines/mine.py", text)))) == 1


def test_the_guard_of_pages_sees_a_model() -> None:
    text = "import streamlit as st\nfrom trmfin.scoring.views import queue\nfrom trmfin.model.network import Network"
    assert len(list(foreign_imports_of_a_page(source("dashboards/queue.py", text)))) == 1


def test_the_guard_of_dependencies_sees_a_missing_and_an_eager_one() -> None:
    text = "import numpy\nimport requests\nimport lightgbm\ndef f():\n    import lightgbm\n    import json"
    faults = list(undeclared_imports(source("trmfin/learn/baselines.py", text), {"numpy"}, {"lightgbm"}))
    assert [fault.split(" ")[0] for fault in faults] == ["trmfin/learn/baselines.py:2", "trmfin/learn/baselines.py:3"]


def test_an_import_says_whether_it_runs_with_the_module() -> None:
    text = "import a\nif TYPE_CHECKING:\n    import b\ndef f():\n    import c\nclass K:\n    import d"
    assert list(imports(source("trmfin/x.py", text))) == [
        Import(name="a", line=1, lazy=False),
        Import(name="b", line=3, lazy=True),
        Import(name="c", line=5, lazy=True),
        Import(name="d", line=7, lazy=False),
    ]
