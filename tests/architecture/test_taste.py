"""Small files, short functions, tests that assert, and nothing that belongs to one machine."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.architecture.tree import ROOT, Source, source, sources, tracked

LINES_OF_A_FILE, LINES_OF_A_FUNCTION, LINES_OF_A_DECISION = 300, 60, 25
BYTES_OF_SAMPLE_DATA = 2_000_000
REASON_FOR_LENGTH = "lines because"  # "Longer than 300 lines because …" in the module's docstring
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PICKLING_CALLS = {"torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"}
FORBIDDEN_CALLS = {"exec", "eval", "globals", "compile"}
HEADINGS = ("Question", "Decision", "Why", "Cost", "What would change our mind")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:tmp/\w|work/|root/|home/\w|opt/\w|Users/\w)")
REGISTRY = re.compile(
    r"py" + r"pi\.org|python" + r"hosted|download\." + r"pytorch|index-" + r"url|find-" + r"links|registry\." + r"npm", re.IGNORECASE
)
TEXTS = (".py", ".md", ".toml", ".cfg", ".ini", ".yml", ".yaml", ".sh", ".json", ".txt")


def too_long(file: Source) -> Iterator[str]:
    if file.lines > LINES_OF_A_FILE and REASON_FOR_LENGTH not in (ast.get_docstring(file.tree) or ""):
        yield f"{file.path}: {file.lines} lines; split it or say in its docstring 'Longer than {LINES_OF_A_FILE} lines because …'"
    for node in ast.walk(file.tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (lines := (node.end_lineno or 0) - node.lineno) > LINES_OF_A_FUNCTION
        ):
            yield f"{file.path}:{node.lineno} {node.name}: {lines} lines; at most {LINES_OF_A_FUNCTION}"


def forbidden(file: Source) -> Iterator[str]:
    """What the package never does: hide an error, check input by assert, pickle, run text, print below the commands."""
    command = len(file.path.parts) == 2 and file.path.parts[0] == "trmfin"
    for node in ast.walk(file.tree):
        what = _forbidden_thing(node)
        if what and not (what == "print" and command):
            yield f"{file.path}:{getattr(node, 'lineno', 0)} {what}"


def _forbidden_thing(node: ast.AST) -> str:
    if isinstance(node, ast.Assert):
        return "assert"
    if isinstance(node, ast.ExceptHandler):
        everything = node.type is None or "BaseException" in ast.unparse(node.type)
        return "bare except" if everything and not isinstance(node.body[-1], ast.Raise) else ""  # tidying up and raising on is fine
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        return next((name for name in modules if name.split(".")[0] in PICKLES), "")
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if any(keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in node.keywords):
            return "allow_pickle"
        return called if called in {"print", *FORBIDDEN_CALLS, *PICKLING_CALLS} else ""
    return ""


def idle_tests(file: Source) -> Iterator[str]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not any(map(_asserts, ast.walk(node))):
            yield f"{file.path}:{node.lineno} {node.name} asserts nothing"


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2]
        return name in {"raises", "warns"} or name.startswith(("assert_", "check_"))
    return isinstance(node, ast.Assert)


def of_one_machine(file: Source) -> Iterator[str]:
    for number, line in enumerate(file.text.splitlines(), 1):
        if MACHINE_PATH.search(line):
            yield f"{file.path}:{number} holds a path of one machine"
        if REGISTRY.search(line):
            yield f"{file.path}:{number} names a registry's address"


def missing_documents(file: Source) -> Iterator[str]:
    for name in sorted(set(re.findall(r"\bdocs/[\w/-]+\.md\b", file.text))):
        if not (ROOT / name).exists():
            yield f"{file.path} sends the reader to {name}, which does not exist"


def faults_of_a_decision(file: Source) -> Iterator[str]:
    if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", file.path.name):
        yield f"{file.path}: expected a name like 0001-what-was-decided.md"
    if file.lines > LINES_OF_A_DECISION:
        yield f"{file.path}: {file.lines} lines; at most {LINES_OF_A_DECISION}"
    yield from (f"{file.path}: no part '{heading}'" for heading in HEADINGS if f"**{heading}.**" not in file.text)


DECISIONS = tuple(page for page in sources("docs", suffix=".md") if page.path.parent.name == "decisions")


def test_files_and_functions_are_short() -> None:
    assert [fault for file in sources("trmfin", "pipelines", "dashboards") for fault in too_long(file)] == []


def test_the_package_does_nothing_forbidden() -> None:
    assert [fault for file in sources("trmfin", "pipelines", "dashboards") for fault in forbidden(file)] == []


def test_every_test_asserts_something() -> None:
    assert [fault for file in sources("tests") for fault in idle_tests(file)] == []


def test_nothing_belongs_to_one_machine() -> None:
    files = [file for suffix in TEXTS for file in sources(suffix=suffix)]
    files += [source(name, (ROOT / name).read_text()) for name in ("Makefile", ".ci/run", ".gitignore")]
    assert [fault for file in files for fault in of_one_machine(file)] == []


def test_every_document_that_the_code_names_exists() -> None:
    assert [fault for file in sources("trmfin", "pipelines", "dashboards") for fault in missing_documents(file)] == []


def test_decisions_are_short_whole_and_numbered_without_a_gap() -> None:
    assert [fault for page in DECISIONS for fault in faults_of_a_decision(page)] == []
    assert [int(page.path.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_sample_data_are_small() -> None:
    assert sum((ROOT / path).stat().st_size for path in tracked() if path.parts[0] == "sample_data") < BYTES_OF_SAMPLE_DATA


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("x = 1\n" * 301, 1),
        ('"""Longer than 300 lines because it is one table."""\n' + "x = 1\n" * 301, 0),
        ("def f():\n" + "    x = 1\n" * 61, 1),
        ("def f():\n" + "    x = 1\n" * 60, 0),
    ],
)
def test_the_guard_of_sizes_sees(text: str, faults: int) -> None:
    assert len(list(too_long(source("trmfin/x.py", text)))) == faults


@pytest.mark.parametrize(
    "text",
    [
        "assert x",
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept BaseException:\n    pass",
        "import pickle",
        "from joblib import dump",
        "import torch\ntorch.load(path)",
        "np.load(path, allow_pickle=True)",
        "exec(text)",
        "globals()['x'] = 1",
        "print(1)",
    ],
)
def test_the_guard_of_forbidden_things_sees(text: str) -> None:
    assert len(list(forbidden(source("trmfin/data/x.py", text)))) == 1


def test_tidying_up_before_an_error_goes_on_is_no_bare_except() -> None:
    assert list(forbidden(source("trmfin/data/x.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise"))) == []


def test_a_command_may_print() -> None:
    assert list(forbidden(source("trmfin/score.py", "print(1)"))) == []


@pytest.mark.parametrize(
    ("body", "idle"), [("f()", 1), ("assert f()", 0), ("with pytest.raises(E):\n        f()", 0), ("np.testing.assert_equal(f(), 1)", 0)]
)
def test_the_guard_of_tests_sees_one_that_asserts_nothing(body: str, idle: int) -> None:
    assert len(list(idle_tests(source("tests/test_x.py", f"def test_x():\n    {body}")))) == idle


@pytest.mark.parametrize("place", ["/" + "tmp/x", "/" + "root/x", "see /" + "work/x", "https://py" + "pi.org/simple", "--index-" + "url x"])
def test_the_guard_of_machines_sees(place: str) -> None:
    assert len(list(of_one_machine(source("docs/x.md", f"one\n{place}\n")))) == 1


def test_the_guard_of_machines_lets_a_relative_path_pass() -> None:
    assert list(of_one_machine(source("docs/x.md", "build/" + "tmp/x, ../shared/data, https://example.com/home"))) == []


def test_the_guard_of_documents_sees_a_missing_one() -> None:
    text = "see docs/" + "nowhere.md and docs/index.md"
    assert list(missing_documents(source("trmfin/x.py", text))) == ["trmfin/x.py sends the reader to docs/nowhere.md, which does not exist"]


def test_the_guard_of_decisions_sees_a_long_one_without_parts() -> None:
    assert len(list(faults_of_a_decision(source("docs/decisions/first.md", "x\n" * 26)))) == 2 + len(HEADINGS)
