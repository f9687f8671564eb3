"""What every page stands in: the run and the case that the address names, the journal, who looks, and errors in one place."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, cast

import streamlit as st

from trmfin.explaining.asking import Scorer, bundle_of
from trmfin.explaining.replayed import summed_up
from trmfin.scoring.access import roles_from, who
from trmfin.scoring.folder import MANIFEST
from trmfin.scoring.journal import Journal
from trmfin.scoring.queue import DECISIONS, SORTS, Query, Sort
from trmfin.scoring.review import STATES, Reviewer, ReviewPolicy, Step
from trmfin.scoring.views import Problem, Run, opened

RUNS, JOURNAL, ROLES, REVIEWER, POLICY, BUNDLES, REPORTS = (  # what the command sets
    "TRMFIN_RUNS",
    "TRMFIN_JOURNAL",
    "TRMFIN_ROLES",
    "TRMFIN_REVIEWER",
    "TRMFIN_REVIEW_POLICY",
    "TRMFIN_BUNDLES",
    "TRMFIN_REPORTS",
)
LAST = "the case that was looked at last"  # a key of the session's state
FILTERS = ("band", "decision", "state", "sort", "search", "page")  # of the queue, in the address
DIGITS = 10  # a page has fewer
RAISES, LOWERS, NEUTRAL = "#b3423a", "#2f6f9f", "#5c6b7a"  # one colour a meaning


@st.cache_resource(max_entries=8, show_spinner="Opening the run…")
def _run(folder: str, changed: float) -> Run:
    return opened(Path(folder))


@st.cache_resource
def journal() -> Journal:
    policy = ReviewPolicy.from_toml(Path(os.environ[POLICY])) if os.environ.get(POLICY) else None
    return Journal(os.environ.get(JOURNAL, "sqlite:///journal.db"), policy)


@st.cache_resource(max_entries=4, show_spinner=False)
def _scorer(bundle: Path, made_by: str) -> Scorer:
    return Scorer(bundle)


def bundle(look: Run) -> Path:
    """The folder of the bundle that made the run. Raises a Problem that says what to give where the command was not given it."""
    return bundle_of(look.manifest, given(BUNDLES))


def given(name: str) -> list[Path]:
    """Folders or files that the command was given."""
    return [Path(folder) for folder in os.environ.get(name, "").split(os.pathsep) if folder]


def scorer(look: Run) -> Scorer:
    """The process that scores with it, which all sessions share. Raises as `bundle`."""
    return _scorer(bundle(look), look.manifest["bundle"]["sha256"])


def replay(look: Run, records: Sequence[dict[str, Any]]) -> None:
    """Works records out again, and shows how many stand and what differs; what goes wrong is said, and the page goes on."""
    found, bar, whole = [], st.progress(0.0, "Replaying…"), True
    try:
        for record in records:
            found.append(scorer(look).replay(look.manifest, record))
            bar.progress(len(found) / len(records), f"Replaying… {len(found)} of {len(records)}")
    except Problem as problem:
        whole = False
        st.error(f"After {len(found)} of {len(records)} records: {problem}", icon=":material/error:")
    bar.empty()
    if found:
        (st.success if whole and all(each.stands for each in found) else st.error)(summed_up(found))
    for each in found:
        for difference in each.differences:
            st.markdown(f"{each.sample_id}: {difference}")


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
    paths = given(RUNS)
    names = [path.name for path in paths]
    return {path.name if names.count(path.name) == 1 else str(path): path for path in paths}


def choose_run() -> None:
    """The sidebar's list of runs; the choice stands in the address."""
    if not folders():
        st.info("No run is given. Start with `python -m trmfin.dashboard RUN`, a folder that `python -m trmfin.score` wrote.")
        st.stop()
    names, named = list(folders()), st.query_params.get("run", "")
    chosen = st.sidebar.selectbox("Run", names, index=names.index(named) if named in names else 0)
    if named and named not in names:
        st.warning(f"No run here is called “{named}”; this is “{chosen}”. Start with `python -m trmfin.dashboard RUN` to see another.")
    if chosen != named:
        st.query_params["run"] = chosen
    me = reviewer()
    st.sidebar.caption(f"{me.name}: {', '.join(me.roles)}")
    if login_is_configured():
        try:
            st.secrets.get("auth")
        except FileNotFoundError:
            st.sidebar.error("The file of secrets cannot be read, so nobody can log in and nobody may act. Correct it.")
            return
        if st.user.get("is_logged_in"):
            st.sidebar.button("Log out", on_click=st.logout)
        else:
            st.sidebar.button("Log in", on_click=st.login)


def login_is_configured() -> bool:
    """Whether Streamlit's secrets have [auth], or cannot be read: then nobody can log in, and nobody acts by mistake."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:  # there are none, or Streamlit could not read them
        return secrets_are_there()


def secrets_are_there() -> bool:
    """Whether one of the files that Streamlit reads secrets from exists, whatever is in it."""
    return any(Path(file).exists() for file in st.get_option("secrets.files"))


def run() -> Run:
    """The run that is looked at."""
    name = st.query_params.get("run", "")
    return opened_run(name if name in folders() else next(iter(folders())))


def opened_run(name: str) -> Run:
    """A run by what it is called in the address; opened once, until its manifest changes."""
    folder = folders()[name]
    with errors_shown():
        path = folder / MANIFEST
        return _run(str(folder), path.stat().st_mtime if path.exists() else 0.0)


def reviewer() -> Reviewer:
    """Who looks at the page."""
    user: dict[str, Any] | None = dict(st.user) if st.user.get("is_logged_in") else None
    with errors_shown():
        roles = roles_from(Path(os.environ[ROLES])) if os.environ.get(ROLES) else {}
        return who(
            user, roles, local=at_this_machine() and not login_is_configured(), local_name=os.environ.get(REVIEWER) or getpass.getuser()
        )


def at_this_machine() -> bool:
    """Whether the browser runs here. Behind a proxy everybody seems to, so what a proxy passed on counts as elsewhere."""
    return st.context.ip_address is None and not any(name.lower().startswith(("x-forwarded", "forwarded")) for name in st.context.headers)


def exported(seal: str, sample_id: str, what: str) -> None:
    """Note in the journal that something left: of a case, or of the whole run (sample_id "")."""
    with errors_shown():
        journal().act(reviewer(), seal, sample_id, Step(action="export", code=what))


def chosen(label: str, key: str, values: list[str], nothing: str = "all") -> str:
    """A choice that stands in the address, which then shows its first page; "" = none was made, shown as `nothing`."""
    asked = st.query_params
    index = values.index(asked[key]) + 1 if asked.get(key) in values else 0
    found = st.selectbox(label, ["", *values], index=index, format_func=lambda value: value or nothing)
    if found != asked.get(key, ""):
        asked[key] = found
        asked["page"] = "1"
    return found


def no_case(page: str, why: str) -> NoReturn:
    """Instead of a case that the page cannot show: how to come to one. The page ends there."""
    st.info(why)
    link("queue", "To the queue")
    if last := st.session_state.get(LAST, ""):
        link(page, f"Back to {last}", case=last)
    st.stop()


def asked_query() -> Query:
    """The queue that the address asks for: filters that the run does not have are none."""
    asked = st.query_params
    sort, page = asked.get("sort", ""), asked.get("page", "1")
    return Query(
        band=asked.get("band", "") if asked.get("band") in dict(run().policy.bands) else "",
        decision=asked.get("decision", "") if asked.get("decision") in DECISIONS else "",
        state=asked.get("state", "") if asked.get("state") in STATES else "",
        search=asked.get("search", ""),
        sort=cast(Sort, sort) if sort in SORTS else "score",
        descending=sort != "sample_id",
        page=max(int(page), 1) if page.isdecimal() and len(page) < DIGITS else 1,
    )


def address(**params: str) -> dict[str, str]:
    """Parameters of another page's address, which keeps the run, and of the queue the filters and the page."""
    return {name: value for name in ("run", *FILTERS) if (value := st.query_params.get(name, ""))} | params


def link(page: str, label: str, **params: str) -> None:
    """A link to another page. To another case from a case's page it takes `case_button`."""
    st.page_link(f"pages/{page}.py", label=label, query_params=address(**params))


def case_button(label: str, case: str) -> None:
    """From a case to another on the same page. No link: Streamlit leaves the address as it was when a link stays on its page, and what is
    done next would be done to the case that the address still names."""
    if st.button(label, key=f"to {label}"):
        st.query_params["case"] = case
        st.rerun()
