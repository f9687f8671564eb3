"""A bundle on disk is the model that was saved: nothing more, nothing less, and no code."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.learn.test_training import bundle, data, learnt
from tests.scoring.models import with_policy
from trmfin.data.files import sha256_of, write_json
from trmfin.data.seal import sealed
from trmfin.errors import BundleError, RunError
from trmfin.learn.bundle import MODEL_CARD, PARTS, Bundle, checked_manifest, provenance
from trmfin.learn.policy import Policy
from trmfin.scoring.engine import score_rows


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    bundle(learnt(), data()).save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_a_loaded_bundle_scores_to_the_bit_as_the_saved_one(saved: Path) -> None:
    mine, loaded = bundle(learnt(), data()), Bundle.load(saved)
    sequences, rows = data().aligned(learnt().fitted), np.arange(120)
    one, other = score_rows(mine, sequences, rows), score_rows(loaded, sequences, rows)
    assert np.array_equal(one.score, other.score) and np.array_equal(one.logits, other.logits) and np.array_equal(one.halts, other.halts)
    assert not loaded.network.training and all(p.dtype == torch.float32 for p in loaded.network.parameters())


def test_a_loaded_bundle_equals_the_saved_one_part_by_part(saved: Path) -> None:
    mine, loaded = bundle(learnt(), data()), Bundle.load(saved)
    assert (loaded.task, loaded.fitted, loaded.calibration, loaded.policy) == (mine.task, mine.fitted, mine.calibration, mine.policy)
    assert loaded.profile == mine.profile and loaded.reference.equals(mine.reference) and loaded.card == json.loads(json.dumps(mine.card))
    assert loaded.sha256 == sha256_of(saved / "manifest.json") and loaded.network.config == mine.network.config


def test_a_bundle_is_a_folder_of_plain_files(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == sorted((*PARTS, MODEL_CARD, "manifest.json"))
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors", ".parquet", ".md"}


def test_the_model_card_says_what_training_knows_and_whose_the_rest_is(saved: Path) -> None:
    text, held = (saved / MODEL_CARD).read_text(), json.loads((saved / "card.json").read_text())["held_out"]
    for title in (
        "Purpose",
        "Materiality",
        "Data window",
        "Method",
        "Assumptions",
        "Outcomes",
        "Challengers",
        "Use",
        "Limits",
        "Monitoring",
    ):
        assert f"\n## {title}\n\n" in text
    assert f"| AUC | {held['auc']['value']:.4f} | [{held['auc']['low']:.4f}, {held['auc']['high']:.4f}] |" in text
    assert f"- AUC is below {held['auc']['low']:.4f}" in text
    assert "*To be written by whoever puts the model to use.*" in text


def test_a_bundle_from_before_model_cards_still_loads_and_a_changed_card_is_named(copy: Path) -> None:
    (copy / MODEL_CARD).write_text("another")
    with pytest.raises(BundleError, match="model-card.md was changed"):
        Bundle.load(copy)
    (copy / MODEL_CARD).unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][MODEL_CARD], manifest["seal"]
    write_json(sealed(manifest), copy / "manifest.json")
    assert Bundle.load(copy).card


def test_a_bundle_from_before_profiles_says_that_it_must_be_trained_again(copy: Path) -> None:
    (copy / "profile.json").unlink()
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"]["profile.json"], manifest["seal"]
    write_json(sealed(manifest), copy / "manifest.json")
    with pytest.raises(BundleError, match=r"was trained before bundles had profile\.json, which tells drift; train it again"):
        Bundle.load(copy)


def test_the_same_model_is_saved_to_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    Bundle.load(saved).save(tmp_path / "again")
    for name in PARTS:
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes(), name


def test_saving_over_a_bundle_replaces_it(copy: Path) -> None:
    policy = Policy(cutoff=0.25, version="2")
    before = checked_manifest(copy)["sha256"]
    with_policy(Bundle.load(copy), policy).save(copy)
    assert Bundle.load(copy).policy == policy and checked_manifest(copy)["sha256"] != before


def test_a_save_that_was_killed_leaves_no_bundle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Bundle.load(copy)
    monkeypatch.setattr("trmfin.learn.bundle.write_parquet", lambda frame, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loaded.save(copy)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        Bundle.load(copy)


def test_a_place_that_cannot_be_written_or_read_is_one_clear_error(copy: Path, tmp_path: Path) -> None:
    loaded = Bundle.load(copy)
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").mkdir()
    with pytest.raises(
        RunError, match=r"manifest\.json: cannot be removed \(Is a directory\); remove it yourself or choose another folder"
    ):
        loaded.save(copy)
    with pytest.raises(BundleError, match=r"cannot be read \(File name too long\)"):
        Bundle.load(tmp_path / ("x" * 300))


def test_a_manifest_that_vanishes_while_it_is_read_is_a_bundle_error(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.learn.bundle.is_sealed", lambda manifest: (copy / "manifest.json").unlink() or True)
    with pytest.raises(BundleError, match="no such file"):
        Bundle.load(copy)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@x", *arguments], check=True, capture_output=True)


def test_the_manifest_names_the_commit_and_whether_the_package_differs_from_it(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, checkout = Bundle.load(copy), tmp_path / "checkout"
    package = checkout / "trmfin"
    (package / "learn").mkdir(parents=True)
    (package / "errors.py").write_text("one\n")
    monkeypatch.setattr("trmfin.learn.bundle.__file__", str(package / "learn" / "bundle.py"))
    assert provenance() == {"commit": "", "dirty": None}
    git(checkout, "init")
    assert provenance() == {"commit": "", "dirty": None}
    git(checkout, "add", "trmfin")
    git(checkout, "commit", "-m", "One")
    (checkout / "outside.txt").write_text("no part of the package")
    assert re.fullmatch("[0-9a-f]{40}", provenance()["commit"]) and provenance()["dirty"] is False
    (package / "new.py").write_text("two\n")
    assert provenance()["dirty"] is True
    loaded.save(copy)
    assert {name: checked_manifest(copy)[name] for name in ("commit", "dirty")} == provenance()
    monkeypatch.setattr("trmfin.learn.bundle.shutil.which", lambda name: None)
    assert provenance() == {"commit": "", "dirty": None}


def test_loading_leaves_random_numbers_as_found(saved: Path) -> None:
    before = torch.get_rng_state()
    Bundle.load(saved)
    assert torch.equal(before, torch.get_rng_state())


def test_a_bundle_may_be_moved_and_renamed(copy: Path, tmp_path: Path) -> None:
    moved = copy.rename(tmp_path / "elsewhere")
    assert Bundle.load(moved).task.name == "notes"


def reseal(folder: Path, name: str, content: object) -> None:
    """Change a part as a forger would: hashes and seal are made to fit."""
    write_json(content, folder / name)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop("seal")
    manifest["files"][name] = sha256_of(folder / name)
    write_json(sealed(manifest), folder / "manifest.json")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"width": 16}),
        ("config.json", {"depth": 3}),
        ("config.json", {"members": 3}),
        ("task.json", {"primary": "good"}),
        ("task.json", {"group": 7}),
        ("fitted.json", {"edges": {}}),
        ("fitted.json", {"task_sha256": "0" * 64}),
        ("fitted.json", {"vocabulary": {"kind": ["a"]}}),
        ("calibration.json", {"kind": "isotonic"}),
        ("policy.json", {"cutoff": 7}),
        ("policy.json", {"cutoff": "high"}),
        ("profile.json", {"features": {"samples": 3, "fields": []}}),
        ("profile.json", {"scores": {"edges": [0, 1]}}),
    ],
)
def test_parts_that_do_not_fit_together_are_one_clear_error(name: str, change: dict[str, object], copy: Path) -> None:
    reseal(copy, name, json.loads((copy / name).read_text()) | change)
    with pytest.raises(BundleError, match="bundle copy|calibration|fitted|profile") as caught:
        Bundle.load(copy)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_loading_runs_no_code_whatever_a_bundle_says(copy: Path) -> None:
    task = json.loads((copy / "task.json").read_text())
    task["fields"][0]["transform"] = "__import__('os').system('touch harmed')"
    reseal(copy, "task.json", task)
    with pytest.raises(BundleError, match="transform .* is unknown"):
        Bundle.load(copy)
    assert not list(copy.rglob("harmed")) and not Path("harmed").exists()


def test_a_policy_is_kept_with_the_bundle(tmp_path: Path) -> None:
    policy = Policy(bands=(("ok", 0.5), ("stop", 1.0)), cutoff=0.5, halt_epsilon=0.01)
    replace(bundle(learnt(), data()), policy=policy).save(tmp_path)
    assert Bundle.load(tmp_path).policy == policy
