"""What `import trmfin` offers."""

import ast

import trmfin
from tests.architecture.tree import Source, sources
from trmfin.errors import TrmfinError


def faults_of_the_facade(file: Source) -> list[str]:
    """Names that the lazy table, the TYPE_CHECKING block and `__all__` do not agree on."""
    table: dict[str, str] = {}
    typed: dict[str, str] = {}
    public: list[str] = []
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOME":
            table = ast.literal_eval(node.value)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            public = ast.literal_eval(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trmfin."):
            typed |= {alias.name: str(node.module) for alias in node.names}
    differing = {name for name, home in (table.items() ^ typed.items())} | (set(public) ^ {*table, "__version__"})
    return [*sorted(differing), *(["__all__ is not sorted"] if public != sorted(public) else [])]


def test_every_public_name_is_there() -> None:
    assert [name for name in trmfin.__all__ if getattr(trmfin, name, None) is None] == []
    assert dir(trmfin) == trmfin.__all__


def test_what_is_loaded_lazily_is_what_type_checkers_see() -> None:
    assert faults_of_the_facade(next(file for file in sources("trmfin") if str(file.path) == "trmfin/__init__.py")) == []


def test_every_error_is_public() -> None:
    assert {error.__name__ for error in TrmfinError.__subclasses__()} < set(trmfin.__all__)


def test_no_public_name_hides_a_command() -> None:
    assert {file.path.stem for file in sources("trmfin")} & set(trmfin.__all__) == set()


def test_the_guard_of_the_facade_sees_a_name_on_one_side_only() -> None:
    text = "_HOME = {'Task': 'trmfin.task'}\nfrom trmfin.task import Field\n__all__ = ['Task', 'Field']"
    assert faults_of_the_facade(Source(path=sources("trmfin")[0].path, text=text)) == [
        "Field",
        "Task",
        "__version__",
        "__all__ is not sorted",
    ]
