"""What leaves the dashboard: tables that a spreadsheet opens without running anything, drafts of notices, a zip for auditors."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from trmfin.errors import ReviewError, RunError
from trmfin.scoring.folder import MANIFEST, RECORDS, verify_run
from trmfin.scoring.journal import Journal
from trmfin.scoring.outcomes import FOLDER as OUTCOMES
from trmfin.scoring.outcomes import batches
from trmfin.scoring.views import Run

FORMULA = r"^[=+\-@\t\r]"  # what makes a spreadsheet run a cell; OWASP, CSV injection
PARTS = ("scores", RECORDS, OUTCOMES)  # of a run, in an auditors' zip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge", "chrome")
PRINTING_SECONDS = 60
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the zip is a function of what is in it


def csv(table: pl.DataFrame) -> bytes:
    """UTF-8 with a header; text that a spreadsheet would run begins with an apostrophe, lists are joined by semicolons."""
    lists = [pl.col(name).list.eval(pl.element().cast(pl.String)).list.join(";") for name, kind in table.schema.items() if kind.is_nested()]
    flat = table.with_columns(lists)
    texts = [name for name, kind in flat.schema.items() if kind == pl.String and not table.schema[name].is_nested()]
    risky = [
        pl.when(pl.col(name).str.contains(FORMULA)).then(pl.lit("'") + pl.col(name)).otherwise(pl.col(name)).alias(name) for name in texts
    ]
    return flat.with_columns(risky).write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()


def notice(record: Mapping[str, Any]) -> str:
    """A draft of an adverse action notice: the principal reasons, in the words of their task. Not legal advice.

    Raises ReviewError where no reason is released or there is none, or the model did not flag the case.
    """
    if record["needs_human"]:
        raise ReviewError(f"notice: no reason of {record['sample_id']} is released ({record['needs_human'][0]}); a person must look first")
    if record["inference"]["decision"] != "flagged":
        raise ReviewError(f"notice: {record['sample_id']} was not flagged, so there is no adverse action to give reasons for")
    if not record["reasons"]:
        raise ReviewError(
            f"notice: {record['sample_id']} was flagged, but nothing raises its score above the comparison group's, so there is no reason "
            "to give; a person must look first"
        )
    reasons = "\n".join(f"  {reason['rank']}. {reason['text']}." for reason in record["reasons"])
    return f"""DRAFT, to be checked by a person before it is sent

Reference: {record["sample_id"]}, as of {record["as_of"].partition("T")[0]}

Your application was assessed with a credit score. The score was {record["inference"]["score"]:.3f} on a scale from 0 to 1, on which higher
means riskier; the mark from which applications are not approved is {record["inference"]["cutoff"]:.3f}.

The principal reasons, most important first:
{reasons}

[name and address of the creditor; the notice of 12 CFR 1002.9(b)(1); who to ask, and within what time]

Record {record["record_id"]}, sha256 {record["sha256"]}
"""


def browser() -> str | None:
    """The path of a browser that prints pages; None where none is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def pdf(page: str, program: str) -> bytes:
    """A page of HTML as a browser prints it. program: as `browser` gives it. Raises RunError where it prints nothing."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # what the browser leaves may still be written to
        source, out = Path(folder, "page.html"), Path(folder, "page.pdf")
        source.write_text(page, encoding="utf-8")
        alone = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []  # browsers have no sandbox for root; the page is ours
        options = ["--headless", *alone, "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile"]
        try:
            _finished([program, *options, f"--print-to-pdf={out}", source.as_uri()])
            return out.read_bytes()
        except (OSError, subprocess.SubprocessError) as problem:
            raise RunError(f"PDF: {program} printed nothing ({type(problem).__name__}); take the HTML and print it by hand") from problem


def _finished(command: list[str]) -> None:
    """Raises what subprocess raises; nothing that the command started goes on then."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        if code := process.wait(PRINTING_SECONDS):
            raise subprocess.CalledProcessError(code, command)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def audit_zip(run: Run, journal: Journal) -> bytes:
    """The run's scores, records, outcomes and manifest, the journal's events of the run, and SHA256SUMS over all of them.

    Everything is checked first. Raises RunError or JournalError where a byte is not as it was written.
    """
    verify_run(run.folder)
    batches(run.folder)
    count, end = journal.verify()
    names = [path.relative_to(run.folder).as_posix() for part in PARTS for path in sorted((run.folder / part).rglob("*")) if path.is_file()]
    files = {name: (run.folder / name).read_bytes() for name in (*names, MANIFEST)}
    files["journal.jsonl"] = b"".join(event.line.encode() + b"\n" for event in journal.events(run.seal))
    files["journal.txt"] = f"the whole journal: {count} events, chain intact, it ends with {end}\n".encode()
    return _zipped(files)


def _zipped(files: Mapping[str, bytes]) -> bytes:
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in (*sorted(files.items()), ("SHA256SUMS", sums.encode())):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()
