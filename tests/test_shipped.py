"""What ships is found, and a pipeline file is loaded by its path or refused in one line."""

import sys
from pathlib import Path

import dataframely as dy
import pytest

import trmfin.shipped
from trmfin import ConfigError, Protocol, Task
from trmfin.data.files import sha256_of
from trmfin.shipped import FOLDERS, load_pipeline, pipeline_names, shipped_folder

GOOD = """
from __future__ import annotations
from dataclasses import dataclass
import dataframely as dy
import polars as pl
from trmfin import Field, History, Protocol, Target, Task

@dataclass(frozen=True)
class Row:
    amount: int

class Payments(dy.Schema):
    ID = dy.String(primary_key=True)

SCHEMAS = {"payments": Payments}
ALIASES = {"number": "ID"}
TASK = Task(
    name="mine",
    histories=(History(name="payments", keys=("client",), length=2),),
    fields=(Field(name="amount", column="amount", transform="signed_log"),),
    targets=(Target(name="late", head="binary", meaning="paid late; higher = riskier"),),
    primary="late",
    group="client",
)
PROTOCOL = Protocol(kind="stratified")

def prepare(tables):
    return pl.DataFrame(), pl.DataFrame()

def challenger_features(prepared):
    return pl.DataFrame()
"""


def mine(folder: Path, text: str = GOOD, name: str = "my_pipeline.py") -> Path:
    (path := folder / name).write_text(text)
    return path


def test_every_folder_that_ships_is_found_in_the_checkout(checkout: Path) -> None:
    there = [name for name in FOLDERS if (checkout / name).is_dir()]
    assert "pipelines" in there and "sample_data" in there
    assert [shipped_folder(name) for name in there] == [checkout / name for name in there]


def test_an_installed_wheel_uses_its_own_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "trmfin"
    (package / "_shipped" / "pipelines").mkdir(parents=True)
    (tmp_path / "site" / "pipelines").mkdir()
    mine(package / "_shipped" / "pipelines", name="packed.py")
    monkeypatch.setattr(trmfin.shipped, "__file__", str(package / "shipped.py"))
    assert shipped_folder("pipelines") == package / "_shipped" / "pipelines"
    assert pipeline_names() == ["packed"]
    assert load_pipeline("packed").name == "packed"


def test_a_folder_that_only_lies_beside_an_installed_package_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trmfin").mkdir()
    (tmp_path / "dashboards").mkdir()
    monkeypatch.setattr(trmfin.shipped, "__file__", str(tmp_path / "trmfin" / "shipped.py"))
    with pytest.raises(ConfigError, match="shipped folder dashboards: found neither .*; install trmfin again"):
        shipped_folder("dashboards")


def test_an_unknown_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 'models'; expected pipelines, sample_data, dashboards"):
        shipped_folder("models")


def test_a_shipped_pipeline_is_loaded_by_its_name() -> None:
    pipeline = load_pipeline("payment_history")
    assert (pipeline.name, pipeline.task.name, pipeline.protocol.kind) == ("payment_history", "payment_history", "stratified")
    assert pipeline.path == shipped_folder("pipelines") / "payment_history.py"
    assert pipeline.sha256 == sha256_of(pipeline.path)


@pytest.mark.parametrize("as_text", [True, False])
def test_a_file_of_ones_own_is_loaded_by_its_path_and_no_path_is_changed(tmp_path: Path, as_text: bool) -> None:
    path, before = mine(tmp_path), list(sys.path)
    pipeline = load_pipeline(str(path) if as_text else path)
    assert (pipeline.name, pipeline.path, sys.path) == ("my_pipeline", path.resolve(), before)
    assert issubclass(pipeline.schemas["payments"], dy.Schema)
    assert (type(pipeline.task), type(pipeline.protocol), pipeline.aliases) == (Task, Protocol, {"number": "ID"})


def test_files_of_one_name_in_two_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = load_pipeline(mine(tmp_path / "a"))
    second = load_pipeline(mine(tmp_path / "b", GOOD.replace('name="mine"', 'name="other"')))
    assert (first.task.name, second.task.name) == ("mine", "other")


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    assert load_pipeline(mine(tmp_path)).task.name == "mine"
    assert load_pipeline(mine(tmp_path, GOOD.replace('name="mine"', 'name="renamed"'))).task.name == "renamed"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("payment_histroy", "no such name; expected one of .*payment_history.*; did you mean 'payment_history'"),
        ("fraud_of_mine", "no such name; .*give its path, such as ./my_pipeline.py"),
        ("./absent.py", "pipeline ./absent.py: no such file; .* payment_history"),
        ("absent.py", "no such file"),
        ("", "no such name"),
        ("x" * 300 + ".py", r"cannot be read \(File name too long\)"),
    ],
)
def test_a_pipeline_that_is_not_there_is_refused_with_the_names_that_are(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_pipeline(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("def prepare(tables):", "def prepare(tables:"), r"my_pipeline.py, line \d+: is not valid Python \(.*\); correct the file"),
        (("PROTOCOL = ", "PROTOCOL == "), r"line \d+: stopped with NameError: name 'PROTOCOL' is not defined"),
        (("import polars as pl", "import no_such_package"), "line 5: stopped with ModuleNotFoundError: No module named 'no_such_package'"),
        (("PROTOCOL = ", "import sys; sys.exit(3); PROTOCOL = "), "stopped with SystemExit: 3"),
        (('primary="late"', 'primary="never"'), "stopped with TaskError: task 'mine': primary target 'never'"),
        (("TASK = ", "MISSION = "), "has no TASK; expected a trmfin.Task of that name"),
        (("def challenger_features", "def features"), "has no challenger_features; expected a function of Prepared"),
        (('PROTOCOL = Protocol(kind="stratified")', 'PROTOCOL = {"kind": "stratified"}'), "PROTOCOL is a dict; expected a trmfin.Protocol"),
        (("def prepare(tables):\n    return pl.DataFrame(), pl.DataFrame()", "prepare = 3"), "prepare is a int; expected a function"),
        (('SCHEMAS = {"payments": Payments}', "SCHEMAS = {}"), "SCHEMAS is empty; expected at least one table"),
        (('SCHEMAS = {"payments": Payments}', "SCHEMAS = Payments"), "SCHEMAS is a SchemaMeta; expected a dict"),
        (('SCHEMAS = {"payments": Payments}', 'SCHEMAS = {"payments": Row}'), "expected a subclass of dataframely.Schema"),
        (('ALIASES = {"number": "ID"}', 'ALIASES = {"number": 3}'), r"ALIASES holds \('number', 3\); expected text to text"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in GOOD
    with pytest.raises(ConfigError, match=message) as error:
        load_pipeline(mine(tmp_path, GOOD.replace(*change)))
    assert "\n" not in str(error.value) and "my_pipeline.py" in str(error.value)


def test_a_file_that_is_not_text_or_not_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.py").write_bytes(b"\x00\xff\xfe")
    (tmp_path / "notes.txt").write_text(GOOD)
    with pytest.raises(ConfigError, match="binary.py"):
        load_pipeline(tmp_path / "binary.py")
    with pytest.raises(ConfigError, match="notes.txt: cannot be loaded as Python; expected a file that ends in .py"):
        load_pipeline(tmp_path / "notes.txt")
    with pytest.raises(ConfigError, match="no such file"):
        load_pipeline(tmp_path)
