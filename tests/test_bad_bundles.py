"""Bundles that were altered, cut or made by a newer version: always one clear line, never a traceback, never a wrong score."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.scoring.models import PANEL, bundle_for, panel
from trmfin.command import application
from trmfin.data.files import write_json
from trmfin.data.seal import sealed
from trmfin.errors import BundleError
from trmfin.learn.bundle import PARTS, Bundle
from trmfin.score import main

FLIPS = 200


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    bundle_for(panel(20), PANEL).save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def check_refused(folder: Path, said: str = "bundle copy") -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    assert "\n" not in message and said in message and len(message) < 400, message
    return message


def test_every_flipped_byte_is_found_and_its_file_named(copy: Path) -> None:
    random, names = np.random.default_rng(0), (*PARTS, "manifest.json")
    for number in range(FLIPS):
        path = copy / names[number % len(names)]
        whole = path.read_bytes()
        place = int(random.integers(len(whole)))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ int(random.integers(1, 256))]) + whole[place + 1 :])
        assert path.name in check_refused(copy, "") or "format" in check_refused(copy, ""), (path.name, place)
        path.write_bytes(whole)
    assert Bundle.load(copy).task == PANEL


def test_a_changed_space_in_the_manifest_is_found(copy: Path) -> None:
    path = copy / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"files": {', b'"files":\t{'))
    assert "manifest.json was changed" in check_refused(copy)


@pytest.mark.parametrize("name", [*PARTS, "manifest.json"])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    assert name in check_refused(copy, "")


@pytest.mark.parametrize("name", [*PARTS, "manifest.json"])
def test_a_cut_or_emptied_file_is_named(name: str, copy: Path) -> None:
    whole = (copy / name).read_bytes()
    for content in (whole[: len(whole) // 2], b"", whole + b" "):
        (copy / name).write_bytes(content)
        assert name in check_refused(copy, "")


def test_a_file_that_is_a_folder_is_named(copy: Path) -> None:
    (copy / "card.json").unlink()
    (copy / "card.json").mkdir()
    assert "card.json" in check_refused(copy)


@pytest.mark.parametrize("found", [2, 99, "1", None, [1]])
def test_a_bundle_of_a_newer_format_says_so(found: object, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text()) | {"format": found}
    manifest.pop("seal")
    write_json(sealed(manifest), copy / "manifest.json")
    assert f"format {found!r}, this version reads up to 1; update trmfin" in check_refused(copy)


@pytest.mark.parametrize("files", [None, [], {}, {"weights.safetensors": "0"}, {name: 7 for name in PARTS}])
def test_a_manifest_that_lists_other_files_is_refused(files: object, copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text()) | {"files": files}
    manifest.pop("seal")
    write_json(sealed(manifest), copy / "manifest.json")
    check_refused(copy)


def test_a_manifest_cannot_point_outside_its_folder(copy: Path) -> None:
    (copy.parent / "secret").write_text("x")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["../secret"] = "0" * 64
    manifest.pop("seal")
    write_json(sealed(manifest), copy / "manifest.json")
    assert "../secret is missing" in check_refused(copy)


def test_a_folder_that_is_no_bundle_says_what_was_expected(tmp_path: Path) -> None:
    assert "no such folder; expected a folder written by `python -m trmfin.train" in check_refused(tmp_path / "nowhere", "nowhere")
    assert "manifest.json" in check_refused(tmp_path, "")
    (tmp_path / "file").write_text("x")
    check_refused(tmp_path / "file", "file: is a file; expected a folder")


def test_a_file_that_may_not_be_read_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        plain = Path.open

        def denied(path: Path, *arguments: object, **options: object) -> object:
            if path.name == "weights.safetensors":
                raise PermissionError(13, "Permission denied")
            return plain(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", denied)
    else:
        (copy / "weights.safetensors").chmod(0)
    assert "weights.safetensors: cannot be read (Permission denied)" in check_refused(copy, "")


def test_scoring_with_an_altered_bundle_ends_in_one_line_and_exit_1(copy: Path, tmp_path: Path) -> None:
    panel(20).write(tmp_path / "prepared")
    weights = bytearray((copy / "weights.safetensors").read_bytes())
    weights[-5] ^= 1
    (copy / "weights.safetensors").write_bytes(weights)
    result = CliRunner().invoke(application(main), [str(copy), str(tmp_path / "prepared"), "--out", str(tmp_path / "run")])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith("error: bundle copy: weights.safetensors was changed") and result.stderr.count("\n") == 1
