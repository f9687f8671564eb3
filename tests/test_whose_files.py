"""`train` and `evaluate` where --out holds files of someone else: nothing is replaced or removed, whatever the options."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.learn import tiny
from trmfin import evaluate, train
from trmfin.command import application

PRECIOUS = "holds 'precious.txt', which is no part of a {}; choose a new or empty folder for --out"
CHECKPOINT, CONTEST = "training/member-0.safetensors", "parts/contest.json"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "prepared"
    tiny.notes().write(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refused(command: Callable[..., None], said: str, prepared: Path, out: Path, *options: object) -> None:
    """Exit 1, one line, and all files as they were."""
    before = contents(out)
    result = CliRunner().invoke(application(command), [str(argument) for argument in (tiny.__file__, prepared, "--out", out, *options)])
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr, result.stderr
    assert contents(out) == before


def written(folder: Path, names: list[str], text: str = "mine") -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["precious.txt"], PRECIOUS.format("bundle")),
        ([CHECKPOINT, "precious.txt"], PRECIOUS.format("bundle")),
        (["config.json"], "holds 'config.json' but no bundle's manifest.json; choose a new or empty folder for --out"),
        (["training/mine.txt"], "training: holds 'mine.txt', which is no part of a training"),
        ([CHECKPOINT, "training/mine.txt"], "training: holds 'mine.txt', which is no part of a training"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--force"], ["--resume"]])
def test_train_leaves_the_files_of_others_alone(prepared: Path, tmp_path: Path, names: list[str], said: str, options: list[str]) -> None:
    check_refused(train.main, said, prepared, written(tmp_path, names), *options)


@pytest.mark.parametrize("options", [[], ["--force"], ["--resume"]])
def test_train_makes_no_bundle_of_another_commands_folder(prepared: Path, tmp_path: Path, options: list[str]) -> None:
    check_refused(train.main, "prepared: holds 'events.parquet', which is no part of a bundle", prepared, prepared, *options)
    for manifest in ('{"files": {"scores/part-00000.parquet": ""}}', '{"files": 3}', "{}"):
        out = written(tmp_path, ["manifest.json"], manifest)
        check_refused(train.main, "holds a manifest.json that is not a bundle's; choose a new", prepared, out, *options)
    check_refused(train.main, "manifest.json: is not JSON", prepared, written(tmp_path, ["manifest.json"]), *options)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["precious.txt"], PRECIOUS.format("report")),
        ([CONTEST, "holiday.png"], "holds 'holiday.png', which is no part of a report; choose a new or empty folder"),
        ([CONTEST, "parts/mine.csv"], "parts: holds 'mine.csv', which is no part of a contest"),
        (["report.md", "steps.png"], "holds 'report.md' but no evaluation; choose a new or empty folder"),
        (["parts/trm-seed0-fold0.parquet"], "holds 'parts' but no evaluation"),
        (["report.json"], "already holds an evaluation; choose another --out\n"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--resume"], ["--bundle", "nowhere"]])
def test_evaluate_leaves_the_files_of_others_alone(prepared: Path, tmp_path: Path, names: list[str], said: str, options: list[str]) -> None:
    check_refused(evaluate.main, said, prepared, written(tmp_path, names), *options)
