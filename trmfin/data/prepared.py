"""Prepared: events and samples with known_at on every fact, as frames and as a folder; and how a pipeline makes them.

PREPARED/events.parquet    what happened: event_id, event_time, known_at, event_type, keys, typed and late columns
PREPARED/samples.parquet   what is to be scored: sample_id, as_of, keys, own columns, target_NAME with its known_at
PREPARED/links.parquet     optional, many-to-many facts between events
PREPARED/truth.parquet     optional, simulated worlds only: the oracle's probability
PREPARED/rejects.parquet   raw rows that were refused, with their line and every rule they broke
PREPARED/manifest.json     hashes of all, of the raw files, and counts; written last
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, Self

import dataframely as dy
import polars as pl

from trmfin import __version__
from trmfin.data.delimited import REJECTS
from trmfin.data.files import (
    RAW_SUFFIXES,
    RawTable,
    json_bytes,
    make_folder,
    read_json,
    read_parquet,
    read_raw,
    reading,
    remove_file,
    sha256_of,
    write_json,
    write_parquet,
)
from trmfin.data.header import matches
from trmfin.data.layout import check_events, check_links, check_money, check_rejects, check_samples, check_truth
from trmfin.data.order import in_order_of_samples
from trmfin.data.schema import rule_counts, sift
from trmfin.data.seal import is_sealed, sealed
from trmfin.errors import DataError, RunError, TrmfinError

FORMAT = 1
MANIFEST = "manifest.json"
TABLES = ("events", "samples", "links", "truth", "rejects")
OPTIONAL = ("links", "truth")
NEEDED = {f"{name}.parquet" for name in TABLES if name not in OPTIONAL}
FILES = frozenset({MANIFEST, *(f"{name}.parquet" for name in TABLES)})  # all that a prepared folder may hold
COMMONEST = 3  # rules that a message names


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What sequences are built from. Made only of frames that keep the layout: anything else is a DataError."""

    events: pl.DataFrame
    samples: pl.DataFrame
    links: pl.DataFrame | None = None
    truth: pl.DataFrame | None = None
    rejects: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=REJECTS))
    manifest: Mapping[str, Any] = field(default_factory=dict)  # pipeline, its sha256, inputs, rules, rounded, money; written: files, counts

    def __post_init__(self) -> None:
        check_events(self.events)
        check_samples(self.samples, self.events)
        if self.links is not None:
            check_links(self.links, self.events)
        if self.truth is not None:
            check_truth(self.truth, self.samples)
        check_rejects(self.rejects)
        for where, table in (("events", self.events), ("samples", self.samples)):
            check_money(table, where, self.manifest.get("money", ()))

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the folder, each file atomically and the manifest last, and returns the manifest.

        What an earlier write left is replaced; until the new manifest stands there the folder cannot be read. Equal frames
        and manifest give equal bytes. Raises RunError where the folder cannot be written.
        """
        make_folder(folder)
        tables = {name: table for name in TABLES if (table := getattr(self, name)) is not None}
        for name in (MANIFEST, *(f"{name}.parquet" for name in OPTIONAL if name not in tables)):
            remove_file(folder / name)
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")
        files = {f"{name}.parquet": sha256_of(folder / f"{name}.parquet", RunError) for name in tables}
        counts = {name: tables[name].height for name in ("events", "samples", "rejects")}
        manifest = sealed({**self.manifest, "format": FORMAT, "trmfin": __version__, "files": files, "counts": counts})
        write_json(manifest, folder / MANIFEST)
        return manifest

    @classmethod
    def read(cls, folder: Path) -> Self:
        """A folder that `write` made. Raises DataError on a missing or altered file (it is named) and on a newer format."""
        manifest = verified(folder)
        return cls(manifest=manifest, **{name.removesuffix(".parquet"): read_parquet(folder / name) for name in manifest["files"]})


class Preparer(Protocol):
    """What `apply` needs of a pipeline. Of a `task`, where there is one, `money` and the first of `histories` are heeded."""

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def schemas(self) -> Mapping[str, type[dy.Schema]]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def prepare(self) -> Callable[[dict[str, pl.DataFrame]], tuple[pl.DataFrame, ...]]: ...


@dataclass(frozen=True, kw_only=True)
class Intake:
    """Raw tables after their schemas, before the pipeline's own work. accepted + rejected = read, a table at a time."""

    tables: Mapping[str, pl.DataFrame]  # table → accepted rows, typed, with `line`
    rejects: pl.DataFrame  # REJECTS layout
    inputs: tuple[Mapping[str, Any], ...]  # name, table, sha256, encoding, separator, renamed, rows_read, accepted, rejected
    rules: Mapping[str, int]  # rule → rejected rows that break it, commonest first
    rounded: Mapping[str, Mapping[str, int]]  # table → column → accepted cells that were rounded to its scale, if any

    @property
    def rows_read(self) -> int:
        """Rows of all inputs together."""
        return sum(int(item["rows_read"]) for item in self.inputs)

    @property
    def share(self) -> float:
        """Share of the rows read that are rejected."""
        return self.rejects.height / max(1, self.rows_read)

    def too_many(self, most: float) -> bool:
        """Whether more than the share `most` of the rows is rejected, or all of them."""
        return self.share > most or self.share == 1


class _Tables(dict[str, pl.DataFrame]):
    def __missing__(self, table: str) -> pl.DataFrame:
        raise DataError(
            f"raw data: no file has the columns of table {table!r}, which the pipeline needs; found only {', '.join(self) or 'none'}"
        )


def read_raws(pipeline: Preparer, path: Path) -> dict[str, RawTable]:
    """One raw file, or every raw file of a folder, by the name of the table whose columns it has.

    `truth.parquet` in a folder is no raw file. Raises DataError where a file fits no table or two files fit the same one.
    """
    with reading(path, DataError):
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    if files != [path]:
        files = [f for f in files if f.suffix.lower() in RAW_SUFFIXES and f.name != "truth.parquet" and not f.name.startswith(".")]
        if not files:
            raise DataError(f"{path}: holds no file ending in {', '.join(RAW_SUFFIXES)}; name a raw file or a folder of raw files")
    raws: dict[str, RawTable] = {}
    for file in files:
        raw = read_raw(file)
        table = matches(raw, pipeline.schemas, pipeline.aliases)
        if table in raws:
            raise DataError(f"{path}: {raws[table].path} and {raw.path} both hold the table {table!r}; put their rows into one file")
        raws[table] = raw
    return raws


def take_in(pipeline: Preparer, raws: Mapping[str, RawTable], as_of_now: datetime) -> Intake:
    """Sifts every raw table by its schema. Raises DataError where a column is missing."""
    tables, rejects, inputs, rounded = _Tables(), [pl.DataFrame(schema=REJECTS)], [], {}
    for table, raw in sorted(raws.items()):
        sifted = sift(raw, pipeline.schemas[table], table, pipeline.aliases, as_of_now)
        accepted, rejected = sifted.accepted.height, sifted.rejects.height
        if accepted + rejected != raw.rows_read:
            raise DataError(f"{raw.path}: {raw.rows_read} rows read but {accepted} accepted and {rejected} rejected; please report this")
        tables[table] = sifted.accepted
        rounded[table] = dict(sifted.rounded)
        rejects.append(sifted.rejects)
        about = {key: getattr(raw, key) for key in ("sha256", "encoding", "separator", "rows_read")}
        about |= {"name": raw.path, "table": table, "renamed": dict(sifted.renamed), "accepted": accepted, "rejected": rejected}
        inputs.append(about)
    together = pl.concat(rejects)
    return Intake(tables=tables, rejects=together, inputs=tuple(inputs), rules=rule_counts(together), rounded=rounded)


def check_share(intake: Intake, most: float, kept_in: str) -> None:
    """Raises DataError where there are too many rejects; `kept_in` says where they can be looked at."""
    if not intake.too_many(most):
        return
    worst = [(rule, count, example(intake.rejects, rule)[0]) for rule, count in list(intake.rules.items())[:COMMONEST]]
    named = ", ".join(f"{rule} ({count} rows, first in line {line})" for rule, count, line in worst)
    where = ", ".join(item["name"] for item in intake.inputs)
    limit = "so none is left" if intake.share == 1 else f"more than the {most:.2%} allowed (--max-reject-share)"
    raise DataError(
        f"{where}: {intake.rejects.height} of {intake.rows_read} rows ({intake.share:.2%}) are rejected, {limit}; "
        f"most often by {named}; {kept_in}; correct the source"
    )


def example(rejects: pl.DataFrame, rule: str) -> tuple[int, str]:
    """(line, reason) of the first rejected row that breaks `rule`."""
    reasons = rejects.select("line", "rules").explode("rules", empty_as_null=False)
    line, reason = reasons.filter((pl.col("rules") == rule) | pl.col("rules").str.starts_with(f"{rule}: ")).row(0)
    return int(line), str(reason)


def write_rejects(rejects: pl.DataFrame, folder: Path) -> None:
    """Writes the rejects alone, where nothing else can be prepared; the folder is then no Prepared, whatever it was."""
    make_folder(folder)
    remove_file(folder / MANIFEST)
    write_parquet(rejects, folder / "rejects.parquet")


def assemble(pipeline: Preparer, intake: Intake, as_of_now: datetime) -> Prepared:
    """The pipeline's events and samples of the accepted rows; events in the order in which samples ask for them.

    Raises DataError where they break the layout or an event is known only after `as_of_now`.
    """
    frames = _prepared(pipeline, intake.tables)
    task = getattr(pipeline, "task", None)
    money = sorted(getattr(task, "money", ()))
    manifest = {"pipeline": pipeline.name, "pipeline_sha256": pipeline.sha256, "money": money, "rules": dict(intake.rules)}
    manifest["inputs"] = [dict(item) for item in intake.inputs]
    manifest["rounded"] = dict(intake.rounded)
    links = frames[2] if len(frames) == 3 else None
    histories = getattr(task, "histories", ())
    events = in_order_of_samples(frames[0], frames[1], histories[0].keys if histories else ())
    prepared = Prepared(events=events, samples=frames[1], links=links, rejects=intake.rejects, manifest=manifest)
    if not prepared.samples.height:
        raise DataError(
            f"pipeline {pipeline.name}: makes no sample of {sum(t.height for t in intake.tables.values())} accepted rows; check its prepare"
        )
    early = prepared.events.filter(pl.col("known_at") > as_of_now)
    if early.height:
        raise DataError(
            f"events, column known_at: {early.height} of {prepared.events.height} are known only after now ({as_of_now:%Y-%m-%d}; "
            f"first: {early['event_id'][0]!r}, {early['known_at'][0]:%Y-%m-%d}); remove periods that are not over"
        )
    return prepared


def apply(pipeline: Preparer, raws: Mapping[str, RawTable], as_of_now: datetime) -> Prepared:
    """Raw tables through schemas and the pipeline. Rejects are kept in the result; only a total rejection is an error here."""
    intake = take_in(pipeline, raws, as_of_now)
    check_share(intake, 1.0, "look at the named lines")
    return assemble(pipeline, intake, as_of_now)


def _prepared(pipeline: Preparer, tables: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, ...]:
    try:
        frames = pipeline.prepare(_Tables(tables))
    except TrmfinError:
        raise
    except Exception as problem:  # a pipeline is anyone's code: say where it stopped, not how Python does
        file = str(getattr(pipeline, "path", ""))
        lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename == file]
        where = f"line {lines[-1]}" if lines else "prepare"
        raise DataError(
            f"pipeline {pipeline.name}, {where}: stopped with {type(problem).__name__}: {problem}; correct the pipeline"
        ) from problem
    if not isinstance(frames, tuple) or len(frames) not in (2, 3) or not all(isinstance(frame, pl.DataFrame) for frame in frames):
        raise DataError(
            f"pipeline {pipeline.name}: prepare gave a {type(frames).__name__}, expected (events, samples) or (events, samples, links)"
        )
    return frames


def verified(folder: Path) -> dict[str, Any]:
    """The manifest, after every file it names has the bytes it says. Raises DataError that names the file where one has not."""
    with reading(folder, DataError):
        return _verified(folder)


def _verified(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise DataError(
            f"{folder}: {'is a file' if folder.exists() else 'no such folder'}, expected a folder made by python -m trmfin.prepare"
        )
    path = folder / MANIFEST
    if not path.exists():
        raise DataError(f"{folder}: has no {MANIFEST}, so it is no prepared folder or was not finished; run python -m trmfin.prepare again")
    manifest = read_json(path, DataError)
    if isinstance(found := manifest.get("format"), int) and found > FORMAT:
        raise DataError(f"{path}: format {found} is newer than {FORMAT}, the newest this version reads; update trmfin")
    if not is_sealed(manifest) or path.read_bytes() != json_bytes(manifest):
        raise DataError(f"{path}: was altered after it was written; run python -m trmfin.prepare again")
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not NEEDED <= set(listed) <= FILES - {MANIFEST}:
        raise DataError(f"{path}: does not list the files {', '.join(sorted(NEEDED))}; it is no manifest of prepared data")
    for name in sorted(FILES - {MANIFEST} - set(listed)):
        if (folder / name).exists():
            raise DataError(f"{folder / name}: is not in {MANIFEST}; it was put there by hand, run python -m trmfin.prepare again")
    for name, digest in listed.items():
        if sha256_of(folder / name) != digest:
            raise DataError(
                f"{folder / name}: is not what {MANIFEST} says (sha256 differs), it was altered; run python -m trmfin.prepare again"
            )
    return manifest
