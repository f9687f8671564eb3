"""Finds what rides along (pipelines, sample data, dashboards) and loads a pipeline file by its path."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import dataframely as dy
import polars as pl

from trmfin.data.files import reading, sha256_of
from trmfin.data.prepared import Prepared
from trmfin.errors import ConfigError
from trmfin.sequences.protocol import Protocol
from trmfin.sequences.task import Task

FOLDERS = ("pipelines", "sample_data", "dashboards")
Frames = tuple[pl.DataFrame, pl.DataFrame] | tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One use: what raw tables must hold, how they become events and samples, what is asked, how it is judged."""

    name: str  # the file's name without .py
    path: Path
    sha256: str  # of the file
    schemas: Mapping[str, type[dy.Schema]]  # table name → schema
    aliases: Mapping[str, str]  # other spelling of a column → the schema's
    prepare: Callable[[dict[str, pl.DataFrame]], Frames]  # accepted tables → events, samples[, links]
    task: Task
    protocol: Protocol
    challenger_features: Callable[[Prepared], pl.DataFrame]  # sample_id first, a row a sample, in the samples' order
    recipe: Mapping[str, Any]  # what `--config` may say: preset, model, training; empty = the default recipe


def shipped_folder(name: str) -> Path:
    """A folder that rides along: trmfin/_shipped/NAME of an installed wheel, else NAME beside the package in a checkout.

    Raises ConfigError where the name is none of FOLDERS or the folder is missing.
    """
    if name not in FOLDERS:
        raise ConfigError(f"shipped folder: found {name!r}; expected {', '.join(FOLDERS)}")
    package = Path(__file__).resolve().parent
    if (wheel := package / "_shipped" / name).is_dir():
        return wheel
    if (package.parent / "pyproject.toml").is_file() and (checkout := package.parent / name).is_dir():
        return checkout
    raise ConfigError(f"shipped folder {name}: found neither {wheel} nor a checkout around {package}; install trmfin again")


def pipeline_names() -> list[str]:
    """Names of the shipped pipelines, sorted."""
    return sorted(path.stem for path in shipped_folder("pipelines").glob("*.py") if not path.stem.startswith("_"))


def load_pipeline(name_or_path: str | Path) -> Pipeline:
    """A shipped pipeline by its name, or any file by its path (one that ends in .py or has a folder in it).

    The file is code and is run: load only what you trust. Raises ConfigError, in one line, where there is no such
    pipeline, the file cannot be run, lacks a name or has it of the wrong type.
    """
    path = _locate(name_or_path)
    module = _run(path)
    schemas = _part(module, path, "SCHEMAS", Mapping, "a dict of table name to dataframely Schema")
    for table, schema in schemas.items():
        if not (isinstance(table, str) and isinstance(schema, type) and issubclass(schema, dy.Schema)):
            raise ConfigError(f"{path}: SCHEMAS[{table!r}] is {schema!r}; expected a subclass of dataframely.Schema")
    if not schemas:
        raise ConfigError(f"{path}: SCHEMAS is empty; expected at least one table")
    aliases = _part(module, path, "ALIASES", Mapping, "a dict of other spelling to column")
    recipe = _part(module, path, "RECIPE", Mapping, "a dict of preset, model and training") if hasattr(module, "RECIPE") else {}
    if bad := [pair for pair in aliases.items() if not all(isinstance(word, str) for word in pair)]:
        raise ConfigError(f"{path}: ALIASES holds {bad[0]!r}; expected text to text")
    return Pipeline(
        name=path.stem,
        path=path,
        sha256=sha256_of(path, ConfigError),
        schemas=dict(schemas),
        aliases=dict(aliases),
        prepare=_part(module, path, "prepare", FunctionType, "a function of the accepted tables"),
        task=_part(module, path, "TASK", Task, "a trmfin.Task"),
        protocol=_part(module, path, "PROTOCOL", Protocol, "a trmfin.Protocol"),
        challenger_features=_part(module, path, "challenger_features", FunctionType, "a function of Prepared"),
        recipe=dict(recipe),
    )


def _locate(name_or_path: str | Path) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".py") or "/" in text or "\\" in text:
        with reading(path := Path(name_or_path), ConfigError):
            if path.is_file():
                return path.resolve()
        raise ConfigError(f"pipeline {text}: no such file; give the path of a pipeline file, or one of the shipped names {_shipped()}")
    if text in pipeline_names():
        return shipped_folder("pipelines") / f"{text}.py"
    near = difflib.get_close_matches(text, pipeline_names(), n=1)
    guess = f"did you mean {near[0]!r}?" if near else "for a file of your own give its path, such as ./my_pipeline.py"
    raise ConfigError(f"pipeline {text!r}: no such name; expected one of {_shipped()}; {guess}")


def _shipped() -> str:
    return ", ".join(pipeline_names()) or "(none)"


def _run(path: Path) -> ModuleType:
    """Execute the file as a module of its own. It stands in sys.modules, as dataclasses and type hints need, but on no path."""
    name = f"trmfin_pipeline_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: cannot be loaded as Python; expected a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(f"{path}, line {error.lineno}: is not valid Python ({error.msg}); correct the file") from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        where = f"{path}, line {lines[-1]}" if lines else f"{path}"
        raise ConfigError(f"{where}: stopped with {type(error).__name__}: {error}; correct the file") from error
    return module


def _part(module: ModuleType, path: Path, name: str, kind: type, meaning: str) -> Any:
    if not hasattr(module, name):
        raise ConfigError(f"{path}: has no {name}; expected {meaning} of that name (see the shipped {_shipped()})")
    value = getattr(module, name)
    if not isinstance(value, kind):
        raise ConfigError(f"{path}: {name} is a {type(value).__name__}; expected {meaning}")
    return value
