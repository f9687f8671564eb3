"""`python -m trmfin.dashboard [RUN ...]`: shows runs in a browser, and writes reviews to a journal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from trmfin.command import run
from trmfin.errors import MissingExtra, RunError

JOURNAL = "sqlite:///journal.db"


def main(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN ...]", help="Run folders; by default the sample data's.")] = None,
    bundle: Annotated[
        list[Path] | None,
        typer.Option(help="Bundle that made a run, for what-if and replays; once a bundle. By default the sample data's."),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(help="A report.json that `evaluate` wrote: its challengers stand beside the model on the page of performance."),
    ] = None,
    journal: Annotated[str, typer.Option(help="Where reviews are kept: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.")] = JOURNAL,
    roles: Annotated[Path | None, typer.Option(help='TOML with "person" = ["analyst"]; of people who log in.')] = None,
    reviewer: Annotated[str | None, typer.Option(help="Name of who works at this machine without a login; default: the account's.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="TOML of the review policy: codes, least_note, four_eyes_above, retention_months.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
) -> None:
    """Show scored runs: portfolio, queue, single cases with their reasons, and what people decided about them.

    Runs are only read. Decisions go to the journal, append-only and hash-chained; `python -m trmfin.journal URL` checks it. Without a
    login (Streamlit's OIDC, [auth] in .streamlit/secrets.toml) people at this machine may decide, people elsewhere may only look.

    \b
    Example:
      python -m trmfin.dashboard
      python -m trmfin.dashboard runs/2026-11-27 runs/2026-11-28 --bundle bundles/2026 --journal sqlite:///reviews.db
    """
    from importlib.util import find_spec

    from trmfin.shipped import shipped_folder

    if find_spec("streamlit") is None:
        raise MissingExtra("the dashboard needs streamlit; pip install 'trmfin[dashboard]'")
    sample = shipped_folder("sample_data") / "payments"
    folders = [folder.resolve() for folder in runs or [sample / "run"]]
    bundles = [folder.resolve() for folder in bundle or ([] if runs else [sample / "bundle"])]
    reports = [file.resolve() for file in report or []]
    _check(folders, bundles, reports, journal, roles, policy)
    given = {
        "TRMFIN_RUNS": os.pathsep.join(map(str, folders)),
        "TRMFIN_BUNDLES": os.pathsep.join(map(str, bundles)),
        "TRMFIN_REPORTS": os.pathsep.join(map(str, reports)),
        "TRMFIN_JOURNAL": journal,
        "TRMFIN_ROLES": str(roles.resolve()) if roles else "",
        "TRMFIN_REVIEW_POLICY": str(policy.resolve()) if policy else "",
        "TRMFIN_REVIEWER": reviewer or "",
    }
    raise typer.Exit(_served(given, port, browser))


def _check(folders: list[Path], bundles: list[Path], reports: list[Path], journal: str, roles: Path | None, policy: Path | None) -> None:
    """Raises what is wrong with anything that was given, before a page is opened."""
    from trmfin.explaining.asking import identity
    from trmfin.scoring.access import roles_from
    from trmfin.scoring.challengers import read_contest
    from trmfin.scoring.folder import read_manifest
    from trmfin.scoring.journal import Journal
    from trmfin.scoring.review import ReviewPolicy

    for path in (*folders, *bundles, *reports):
        if os.pathsep in str(path):
            raise RunError(f"{path}: has {os.pathsep!r} in its path, which separates folders here; move it")
    for paths, read in ((folders, read_manifest), (bundles, identity), (reports, read_contest)):
        for path in paths:
            read(path)
    for file, look in ((roles, roles_from), (policy, ReviewPolicy.from_toml)):
        if file is not None:
            look(file)
    Journal(journal).close()


def _served(given: Mapping[str, str], port: int, browser: bool) -> int:
    """Runs the pages until they are stopped; the exit code. given: what the environment tells them."""
    from trmfin.shipped import shipped_folder

    pages = shipped_folder("dashboards")
    path = os.pathsep.join(filter(None, (str(pages.parent), os.environ.get("PYTHONPATH"))))
    options = [
        "--client.toolbarMode",
        "viewer",
        "--server.port",
        str(port),
        "--server.headless",
        str(not browser).lower(),
        "--browser.gatherUsageStats",
        "false",
    ]
    command = [sys.executable, "-m", "dashboards.serve", "run", str(pages / "app.py"), *options]
    return subprocess.run(command, env={**os.environ, **given, "PYTHONPATH": path}, check=False).returncode


if __name__ == "__main__":
    run(main)
