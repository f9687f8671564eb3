"""What every page stands in: the run and the case that the address names, the journal, who looks, and errors in one place."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from trmfin.scoring.access import roles_from, who
from trmfin.scoring.folder import MANIFEST
from trmfin.scoring.journal import Journal
from trmfin.scoring.review import Reviewer
from trmfin.scoring.views import Problem, Run, opened

RUNS, JOURNAL, ROLES, REVIEWER = "TRMFIN_RUNS", "TRMFIN_JOURNAL", "TRMFIN_ROLES", "TRMFIN_REVIEWER"  # what the command sets
RAISES, LOWERS, NEUTRAL = "#b3423a", "#2f6f9f", "#5c6b7a"  # one colour a meaning


@st.cache_resource(max_entries=8, show_spinner="Opening the run…")
def _run(folder: str, changed: float) -> Run:
    return opened(Path(folder))


@st.cache_resource
def journal() -> Journal:
    return Journal(os.environ.get(JOURNAL, "sqlite:///journal.db"))


@contextmanager
def errors_shown() -> Iterator[None]:
    """What cannot be read or is not allowed is said on the page, with what to do; the page ends there."""
    try:
        yield
    except Problem as problem:
        st.error(str(problem), icon=":material/error:")
        st.stop()


def folders() -> dict[str, Path]:
    """Runs by what they are called in the address: the folder's name, the whole path where two have the same."""
    paths = [Path(folder) for folder in os.environ.get(RUNS, "").split(os.pathsep) if folder]
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}


def choose_run() -> None:
    """The sidebar's list of runs; the choice stands in the address."""
    if not folders():
        st.info("No run is given. Start with `python -m trmfin.dashboard RUN`, a folder that `python -m trmfin.score` wrote.")
        st.stop()
    names, named = list(folders()), st.query_params.get("run", "")
    chosen = st.sidebar.selectbox("Run", names, index=names.index(named) if named in names else 0)
    if chosen != named:
        st.query_params["run"] = chosen
    me = reviewer()
    st.sidebar.caption(f"{me.name}: {', '.join(me.roles)}")


def run() -> Run:
    """The run that is looked at."""
    found = folders()
    folder = found.get(st.query_params.get("run", "")) or next(iter(found.values()))
    with errors_shown():
        path = folder / MANIFEST
        return _run(str(folder), path.stat().st_mtime if path.exists() else 0.0)


def reviewer() -> Reviewer:
    """Who looks at the page."""
    user: dict[str, Any] | None = dict(st.user) if st.user.get("is_logged_in") else None
    roles = roles_from(Path(os.environ[ROLES])) if os.environ.get(ROLES) else {}
    name = os.environ.get(REVIEWER) or getpass.getuser()
    return who(user, roles, local=at_this_machine(), local_name=name)


def at_this_machine() -> bool:
    """Whether the browser runs here. Behind a proxy everybody seems to, so what a proxy passed on counts as elsewhere."""
    return st.context.ip_address is None and not any(name.lower().startswith(("x-forwarded", "forwarded")) for name in st.context.headers)


def link(page: str, label: str, **params: str) -> None:
    """A link to another page that keeps the run."""
    st.page_link(f"pages/{page}.py", label=label, query_params={"run": st.query_params.get("run", ""), **params})
