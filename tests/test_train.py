"""`python -m trmfin.train`, in this process."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tests.learn import tiny
from trmfin.command import application
from trmfin.data.files import sha256_of
from trmfin.data.prepared import Prepared
from trmfin.learn.bundle import MODEL_CARD, PARTS, Bundle
from trmfin.learn.evaluation import _seen
from trmfin.learn.fit import Progress
from trmfin.progress import TrainingProgress
from trmfin.scoring.folder import locked
from trmfin.train import _flops, main

CONFIG = """
preset = "tiny"
[model]
width = 8
head_width = 4
blocks = 1
inner_multiple = 4
latent_steps = 1
supervision_steps = 2
members = 2
bins = 4
[training]
epochs = 2
pretrain_epochs = 2
batch_size = 16
learning_rate = 0.01
warmup_steps = 5
validations = 4
"""


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Few draws, and no progress lines among what a test reads, however slow the machine."""
    with tiny.few_draws(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("trmfin.progress.EVERY_SECONDS", float("inf"))
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared data, a recipe and a bundle."""
    folder = tmp_path_factory.mktemp("world")
    tiny.notes().write(folder / "prepared")
    (folder / "recipe.toml").write_text(CONFIG)
    result = run(folder, "--out", folder / "bundle")
    assert result.exit_code == 0, result.output
    return folder


def run(world: Path, *options: object, pipeline: object = tiny.__file__, prepared: Path | None = None, config: bool = True) -> Result:
    recipe = ["--config", world / "recipe.toml"] if config else []
    arguments = [pipeline, prepared or world / "prepared", "--workers", 1, *recipe, *options]
    return CliRunner().invoke(application(main), [str(argument) for argument in arguments])


def check_refused(result: Result, said: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1 and said in result.stderr, result.stderr


def files(bundle: Path) -> dict[str, str]:
    """sha256 of each file but the manifest, which also names the commit."""
    return {name: sha256_of(bundle / name) for name in PARTS}


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Which member to interrupt, in training in the step after its second of four validations: {"member": number, "phase": its name}."""
    where: dict[str, Any] = {}
    tell = TrainingProgress.tell

    def interrupting(self: TrainingProgress, member: int, progress: Progress) -> None:
        here = {"member": member, "phase": progress.phase}
        if where == here and progress.step == progress.total // 4 * 2 + 1:
            raise KeyboardInterrupt
        tell(self, member, progress)

    monkeypatch.setattr(TrainingProgress, "tell", interrupting)
    yield where


def interrupted(world: Path, out: Path, killed_at: dict[str, Any], *options: object, phase: str = "training") -> Result:
    """Training was killed at the second of two members."""
    killed_at |= {"member": 1, "phase": phase}
    result = run(world, "--out", out, *options)
    killed_at.clear()
    assert result.exit_code == 130 and result.stderr.startswith("error: interrupted") and result.stderr.count("\n") == 1
    kept = {"pre-training": ["pretrained-0"], "training": ["member-0", "member-1", "pretrained-0", "pretrained-1"]}[phase]
    assert sorted(path.stem for path in (out / "training").iterdir()) == kept
    return result


def test_a_bundle_is_trained_and_its_place_size_and_quality_are_told(world: Path) -> None:
    assert sorted(path.name for path in (world / "bundle").iterdir()) == sorted((*PARTS, MODEL_CARD, "manifest.json"))
    bundle = Bundle.load(world / "bundle")
    result = run(world, "--out", world / "told")
    lines = result.stdout.splitlines()
    assert lines.pop(1) == "samples     64 as of 2024-01-31 to 2024-01-31"
    assert lines[0].startswith(f"bundle      {world / 'told'}  sha256 ") and len(lines) == 5
    flops = bundle.network.flops(2)
    assert 1000 < flops < 10**6  # so that a thousand is the unit
    assert lines[1] == f"parameters  {bundle.network.parameters_count:,} in 2 members, 2 steps, {flops / 1000:,.1f} kFLOP a sample"
    assert lines[2].startswith("held out    16 samples") and f"auc {bundle.card['held_out']['auc']['value']:.4f} [" in lines[2]
    assert lines[3].startswith("halting     judged by these members, a policy with halt_epsilon ") and lines[3].endswith(
        " of the steps for at most 0.001 AUC"
    )
    alike = bundle.card["averages"]
    assert alike.keys() == set(bundle.reference["group"]) and all(found["cases"] == 24 for found in alike.values())
    assert lines[4].startswith("averages    name what their groups' rows name by ") and lines[4].endswith(" released from 0.75 on)")
    card = (world / "bundle" / "model-card.md").read_text()
    assert all(
        f"- {group} {found['jaccard']:.2f} ± {found['standard_error']:.2f}, of {found['cases']} " in card for group, found in alike.items()
    )
    assert (bundle.card["pipeline"], bundle.card["pipeline_sha256"]) == ("tiny", sha256_of(Path(tiny.__file__)))
    assert bundle.card["prepared"].keys() == {"events.parquet", "samples.parquet", "rejects.parquet"}


def test_floating_point_operations_are_told_in_three_sizes() -> None:
    told = {999: "1.0 kFLOP", 25_400: "25.4 kFLOP", 12_345_678: "12.3 MFLOP", 1_234_567_890_000: "1,234.6 GFLOP"}
    assert {count: _flops(count) for count in told} == told


def test_the_same_seed_gives_the_same_bundle_to_the_byte(world: Path, tmp_path: Path) -> None:
    for out in ("same", "other"):
        assert run(world, "--out", tmp_path / out, *(["--seed", 1] if out == "other" else [])).exit_code == 0
    assert files(tmp_path / "same") == files(world / "bundle")
    assert sha256_of(tmp_path / "other" / "weights.safetensors") != sha256_of(world / "bundle" / "weights.safetensors")


def test_a_bundle_is_replaced_only_by_force(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert run(world, "--out", out).exit_code == 0
    before = sha256_of(out / "manifest.json")
    check_refused(run(world, "--out", out), "already holds a bundle; choose another --out, or --force")
    check_refused(run(world, "--out", out, "--resume"), "already holds a bundle")
    assert sha256_of(out / "manifest.json") == before
    assert run(world, "--out", out, "--force", "--seed", 3).exit_code == 0
    assert sha256_of(out / "manifest.json") != before and Bundle.load(out).card["training"]["seed"] == 3


@pytest.mark.parametrize("phase", ["pre-training", "training"])
def test_a_killed_training_is_resumed_to_the_byte(world: Path, tmp_path: Path, killed_at: dict[str, Any], phase: str) -> None:
    out = tmp_path / "bundle"
    interrupted(world, out, killed_at, phase=phase)
    assert not (out / "manifest.json").exists()
    check_refused(run(world, "--out", out), "holds an interrupted training; go on with --resume, or start again with --force")
    assert run(world, "--out", out, "--resume").exit_code == 0
    assert files(out) == files(world / "bundle")
    assert not (out / "training").exists() and not (out / ".lock").exists()


def test_a_killed_training_is_thrown_away_by_force(world: Path, tmp_path: Path, killed_at: dict[str, Any]) -> None:
    interrupted(world, tmp_path, killed_at)
    check_refused(run(world, "--out", tmp_path, "--resume", "--force"), "--resume and --force")
    assert run(world, "--out", tmp_path, "--force", "--seed", 9).exit_code == 0
    assert Bundle.load(tmp_path).card["training"]["seed"] == 9


def test_a_killed_replacement_leaves_the_old_bundle_and_can_be_resumed(world: Path, tmp_path: Path, killed_at: dict[str, Any]) -> None:
    out = tmp_path / "bundle"
    assert run(world, "--out", out, "--seed", 5).exit_code == 0
    interrupted(world, out, killed_at, "--force")
    assert Bundle.load(out).card["training"]["seed"] == 5
    assert run(world, "--out", out, "--resume").exit_code == 0
    assert files(out) == files(world / "bundle")


def test_an_interrupted_training_is_never_resumed_with_other_data_or_settings(
    world: Path, tmp_path: Path, killed_at: dict[str, Any]
) -> None:
    out, data = tmp_path / "bundle", tiny.notes()
    interrupted(world, out, killed_at)
    replace(data, samples=data.samples.with_columns(pl.col("limit") * 2)).write(tmp_path / "prepared")
    check_refused(run(world, "--out", out, "--resume", prepared=tmp_path / "prepared"), "made from other data or settings than this run's")
    check_refused(run(world, "--out", out, "--resume", "--seed", 1), "made from other data or settings than this run's")


def test_a_damaged_checkpoint_is_one_line(world: Path, tmp_path: Path, killed_at: dict[str, Any]) -> None:
    interrupted(world, tmp_path, killed_at)
    path = tmp_path / "training" / "member-1.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    check_refused(run(world, "--out", tmp_path, "--resume"), "member-1.safetensors: not a readable checkpoint")


def test_a_training_folder_that_is_in_the_way_is_one_line(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training").write_text("x")
    for options in ([], ["--force"]):
        check_refused(run(world, "--out", tmp_path, *options), "training: is a file, expected a folder to write to")
    (tmp_path / "training").unlink()

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rmdir", denied)
    left = run(world, "--out", tmp_path)
    assert left.exit_code == 1 and left.stdout.startswith(f"bundle      {tmp_path}  sha256 ") and Bundle.load(tmp_path).task == tiny.TASK
    assert left.stderr.count("\n") == 1 and "training: cannot be removed (Permission denied)" in left.stderr


def test_what_comes_to_lie_in_the_training_folder_meanwhile_stays(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trmfin.train._report", lambda card, sha256, out: (out / "training" / "mine.txt").write_text("mine"))
    check_refused(run(world, "--out", tmp_path), "training: holds 'mine.txt', which is no part of a training")
    assert (tmp_path / "training" / "mine.txt").read_text() == "mine" and Bundle.load(tmp_path).task == tiny.TASK


def test_a_training_that_was_killed_while_it_wrote_is_thrown_away_by_force(world: Path, tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    for name in (".config.json.77.part", "config.json", "training/member-0.safetensors", "training/.member-0.safetensors.77.part"):
        (tmp_path / name).write_text("half")
    check_refused(run(world, "--out", tmp_path), "holds an interrupted training")
    assert run(world, "--out", tmp_path, "--force").exit_code == 0
    assert Bundle.load(tmp_path).task == tiny.TASK and not (tmp_path / "training").exists()


def test_training_stops_on_time_and_leaves_a_bundle(world: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(CONFIG.replace("epochs = 2", "epochs = 1e6"))
    arguments = [tiny.__file__, world / "prepared", "--out", tmp_path / "b", "--config", tmp_path / "recipe.toml", "--workers", 1]
    result = CliRunner().invoke(application(main), [str(a) for a in (*arguments, "--max-seconds", 1)])
    assert result.exit_code == 0 and all(member["steps"] > 0 for member in Bundle.load(tmp_path / "b").card["members"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[training]\nlearningrate = 1", "recipe.toml: training settings: unknown learningrate; known:"),
        ("[model]\nwidth = 33", "recipe.toml: model config: width 33 and head_width 16"),
        ("[training\n", "recipe.toml: cannot be read as TOML"),
        ('[model]\nmixer = "mlp"\ncore = "gru"', "no recursion, so supervision_steps"),
    ],
)
def test_a_wrong_recipe_is_one_line_before_anything_is_written(text: str, said: str, world: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    arguments = [tiny.__file__, world / "prepared", "--out", tmp_path / "b", "--config", tmp_path / "recipe.toml"]
    check_refused(CliRunner().invoke(application(main), [str(a) for a in arguments]), said)
    assert not (tmp_path / "b").exists()


def test_wrong_options_are_one_line(world: Path, tmp_path: Path) -> None:
    check_refused(run(world, "--out", tmp_path, "--preset", "tiny"), "name the preset inside the file")
    check_refused(run(world, "--out", tmp_path, "--preset", "huge", config=False), "'huge' is unknown; choose one of tiny, small, paper")
    check_refused(run(world, "--out", tmp_path, "--config", tmp_path / "none.toml", config=False), "none.toml: cannot be read")
    check_refused(run(world, "--out", tmp_path, pipeline="payment_histori"), "did you mean 'payment_history'?")
    check_refused(run(world, "--out", tmp_path, pipeline=tmp_path / "mine.py"), "no such file")


def test_wrong_usage_is_exit_2(world: Path, tmp_path: Path) -> None:
    assert run(world).exit_code == run(world, "--out", tmp_path, "--max-seconds", 0).exit_code == 2
    assert run(world, "--out", tmp_path, "--members", 3).exit_code == 2


def test_data_that_cannot_be_trained_on_are_one_line(world: Path, tmp_path: Path) -> None:
    check_refused(run(world, "--out", tmp_path / "b", prepared=tmp_path / "nowhere"), "no such folder, expected a folder made by")
    tiny.notes(labelled=False).write(tmp_path / "blank")
    check_refused(
        run(world, "--out", tmp_path / "b", prepared=tmp_path / "blank"), "no sample has a known target 'bad'; prepare a file with labels"
    )
    tiny.notes(12).write(tmp_path / "few")
    check_refused(
        run(world, "--out", tmp_path / "b", prepared=tmp_path / "few"), "6 groups among 12 labelled training rows; expected at least 8"
    )
    data = tiny.notes()
    replace(data, events=data.events.drop("kind")).write(tmp_path / "lacking")
    check_refused(run(world, "--out", tmp_path / "b", prepared=tmp_path / "lacking"), "no column 'kind', which field 'kind' reads")
    replace(data, events=data.events.cast({"late": pl.String})).write(tmp_path / "text")
    check_refused(
        run(world, "--out", tmp_path / "b", prepared=tmp_path / "text"), "events, column late: String; field 'late' (number) reads"
    )
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_a_place_that_cannot_be_written_is_one_line(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_refused(run(world, "--out", tmp_path / "file"), "file: is a file, expected a folder to write to")
    with locked(tmp_path / "busy"):
        check_refused(run(world, "--out", tmp_path / "busy"), "is writing this folder; wait until it ends")


def test_a_full_disk_is_one_line_and_leaves_no_bundle(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trmfin.data.files.os.fsync", full)
    check_refused(run(world, "--out", tmp_path), "cannot be written (No space left on device)")
    assert not (tmp_path / "manifest.json").exists()


def cases_of(world: Path, path: Path, count: int = 3) -> Path:
    """A file of so many clients who turned bad."""
    samples = Prepared.read(world / "prepared").samples
    samples.filter(pl.col("target_bad") == 1).head(count).select("sample_id").write_csv(path)
    return path


def test_a_bundle_is_adapted_to_confirmed_cases_in_a_file(world: Path, tmp_path: Path) -> None:
    cases = cases_of(world, tmp_path / "cases.csv")
    result = run(world, "--out", tmp_path / "new", "--from", world / "bundle", "--cases", cases, config=False)
    assert result.exit_code == 0, result.output
    before, after = Bundle.load(world / "bundle"), Bundle.load(tmp_path / "new")
    assert f"adapted     from {before.sha256[:16]}: 3 cases learnt, 61 samples as of 2024-01-31 to 2024-01-31 rehearsed, " in result.stdout
    assert after.card["adapted"]["training"]["steps"] == 150 and after.card["held_out"] == before.card["held_out"]
    assert sha256_of(tmp_path / "new" / "weights.safetensors") != sha256_of(world / "bundle" / "weights.safetensors")
    assert not (tmp_path / "new" / "training").exists()
    (tmp_path / "short.toml").write_text("[training]\nsteps = 2\nfrozen = ['core']")
    short = ("--from", world / "bundle", "--cases", cases, "--config", tmp_path / "short.toml")
    assert run(world, "--out", tmp_path / "short", *short, config=False).exit_code == 0
    told = Bundle.load(tmp_path / "short").card["adapted"]["training"]
    assert (told["steps"], told["frozen"]) == (2, ["core"])


def test_an_adapted_bundle_says_that_its_metrics_are_of_the_bundle_before(world: Path, tmp_path: Path) -> None:
    (tmp_path / "short.toml").write_text("[training]\nsteps = 2")
    bundles = [world / "bundle", tmp_path / "once", tmp_path / "twice"]
    for number, (base, out) in enumerate(pairwise(bundles), start=1):
        short = ("--from", base, "--cases", cases_of(world, tmp_path / "cases.csv", number), "--config", tmp_path / "short.toml")
        assert run(world, "--out", out, *short, config=False).exit_code == 0
    first, once, twice = map(Bundle.load, bundles)
    same = {name: value for name, value in twice.card.items() if name != "adapted"}
    assert same | {"averages": first.card["averages"]} == first.card, "what it was trained on, too"
    assert (
        "averages" not in twice.card
        and "was not measured: score with `--comparison-form rows`" in (tmp_path / "twice" / "model-card.md").read_text()
    )
    told = twice.card["adapted"]
    assert (told["cases"], told["bundle"], told["before"]["cases"], told["before"]["bundle"]) == (2, once.sha256, 1, first.sha256)
    assert told["prepared"] == first.card["prepared"] and told["pipeline"] == first.card["pipeline"]
    card = (tmp_path / "twice" / "model-card.md").read_text()
    assert card.index("These weights were not judged") < card.index("## Outcomes")
    assert "so are the comparison groups of explanations, which its scores chose: a sample just below the cut-off then may be" in card
    data = Prepared.read(world / "prepared")
    as_of = data.samples["as_of"]
    assert [("WHICH IT WAS TRAINED ON" in _seen(bundle.card, data, as_of, by_time=False)) for bundle in (first, once, twice)] == [True] * 3
    forgotten = {name: value for name, value in twice.card.items() if name != "prepared"}
    assert "WHICH IT WAS TRAINED ON" in _seen(forgotten, data, as_of, by_time=False), "cases were learnt of it"
    assert card.index(f"From bundle `{once.sha256}`, with 2 confirmed") < card.index(f"From bundle `{first.sha256}`, with 1 confirmed")
    assert "## Adapted" not in (world / "bundle" / "model-card.md").read_text()


def test_what_came_after_the_window_is_not_rehearsed_by_a_bundle_or_one_adapted_from_it(world: Path, tmp_path: Path) -> None:
    """Of two months the bundle was trained on the first; the second is labelled, too, and holds the cases."""
    data = tiny.notes(months=2)
    data.write(tmp_path / "months")
    replace(data, samples=data.samples.filter(pl.col("sample_id").str.ends_with("@1"))).write(tmp_path / "later")
    (tmp_path / "short.toml").write_text("[training]\nsteps = 2")
    bad = data.samples.filter(pl.col("sample_id").str.ends_with("@1") & (pl.col("target_bad") == 1))
    bad.head(2).select("sample_id").write_csv(tmp_path / "cases.csv")
    bundles = [world / "bundle", tmp_path / "once", tmp_path / "twice"]
    short = ["--cases", tmp_path / "cases.csv", "--config", tmp_path / "short.toml", "--from"]
    for base, out in pairwise(bundles):
        result = run(world, "--out", out, *short, base, prepared=tmp_path / "months", config=False)
        assert "2 cases learnt, 64 samples as of 2024-01-31 to 2024-01-31 rehearsed" in result.stdout, result.output
        said = "samples: 64 have a known answer, as of 2024-03-01 to 2024-03-01, none as of 2024-01-31 to 2024-01-31"
        check_refused(run(world, "--out", tmp_path / "none", *short, base, prepared=tmp_path / "later", config=False), said)


def test_a_window_trains_on_no_answer_that_was_not_known_before_its_day(world: Path, tmp_path: Path) -> None:
    """Answers become known 20 days after samples of 31 January, 1 and 31 March and 30 April: on 1 May two months are known."""
    data = tiny.notes(months=4)
    data.write(tmp_path / "months")
    secret = pl.col("target_bad_known_at") >= pl.lit("2024-05-01").str.to_datetime(time_unit="us", time_zone="UTC")
    turned = pl.when(secret).then(1 - pl.col("target_bad")).otherwise("target_bad").alias("target_bad")
    replace(data, samples=data.samples.with_columns(turned)).write(tmp_path / "turned")
    for name in ("months", "turned"):
        window = ("--until", "2024-05-01", "--train-days", 70)
        result = run(world, "--out", tmp_path / f"{name}-bundle", *window, prepared=tmp_path / name)
        assert result.stdout.splitlines()[1] == "samples     128 as of 2024-03-01 to 2024-03-31", result.output
    ours, theirs = (files(tmp_path / f"{name}-bundle") for name in ("months", "turned"))
    assert {name: value for name, value in ours.items() if name != "card.json"}.items() <= theirs.items()
    card = Bundle.load(tmp_path / "months-bundle").card
    assert card["window"] == {"until": "2024-05-01", "train_days": 70, "delay_days": 0, "purge_days": 0, "embargo_days": 0}
    said = (tmp_path / "months-bundle" / "model-card.md").read_text()
    assert "128 labelled samples, as of 2024-03-01 to 2024-03-31. Trained as on 2024-05-01: no answer that was not known before" in said
    assert "window" not in Bundle.load(world / "bundle").card and "Trained as on" not in (world / "bundle" / "model-card.md").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until", "soon"], "--until 'soon': expected a day such as 2018-08-08"),
        (["--train-days", 31], "--train-days: of no effect without --until; give that too, or leave it out"),
        (["--delay-days", 0, "--train-days", 3], "--delay-days: of no effect without --until"),
        (["--until", "2024-02-20"], "--until 2024-02-20: no sample has an answer that was known before it; those with an answer are as of"),
        (
            ["--until", "2025-01-01", "--train-days", 31, "--delay-days", 7],
            "no sample of the 31 days that end 7 days before it has an answer that was known before it; those with an answer are as of "
            "2024-01-31 to 2024-01-31; choose another day, or more --train-days",
        ),
    ],
)
def test_a_window_without_samples_is_one_line(world: Path, tmp_path: Path, options: list[object], said: str) -> None:
    check_refused(run(world, "--out", tmp_path / "b", *options), said)
    assert not (tmp_path / "b" / "training").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "{bundle}"], "--from: of no effect without --cases"),
        (["--cases", "{cases}"], "--cases: of no effect without --from"),
        (["--from", "{bundle}", "--cases", "{cases}", "--preset", "tiny"], "--preset: of no effect with --from"),
        (["--from", "{bundle}", "--cases", "{cases}", "--until", "2024-05-01"], "--until: of no effect with --from"),
        (
            ["--from", "{bundle}", "--cases", "{cases}", "--resume", "--max-seconds", "9"],
            "--max-seconds, --resume: of no effect with --from",
        ),
        (["--from", "{bundle}", "--cases", "{cases}", "--config", "{recipe}"], "changes the network's shape"),
        (["--from", "{bundle}", "--cases", "{cases}", "--config", "{idle}"], "pretrain_epochs and least_negatives would do nothing"),
        (["--from", "{bundle}", "--cases", "{missing}"], "nothing.csv"),
        (["--from", "{bundle}", "--cases", "{ragged}"], "1 rows have not as many fields as the header (first: line 3)"),
        (["--from", "{missing}", "--cases", "{cases}"], "no such folder"),
    ],
)
def test_adapting_refuses_what_it_would_not_heed_and_files_that_cannot_be_read(
    world: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "recipe.toml").write_text("[model]\nwidth = 64")
    (tmp_path / "idle.toml").write_text("[training]\npretrain_epochs = 50\nleast_negatives = 9\nnegative_share = 0.5")
    (tmp_path / "ragged.csv").write_text("sample_id,by\nc1@0,x\nc2@0,x,y\n")
    paths = {"bundle": world / "bundle", "cases": cases_of(world, tmp_path / "cases.csv"), "recipe": tmp_path / "recipe.toml"}
    paths |= {"missing": tmp_path / "nothing.csv", "ragged": tmp_path / "ragged.csv", "idle": tmp_path / "idle.toml"}
    check_refused(run(world, "--out", tmp_path / "new", *(option.format(**paths) for option in options), config=False), said)
    assert not (tmp_path / "new" / "manifest.json").exists()
