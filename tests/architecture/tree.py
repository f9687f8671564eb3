"""What the guards read: the files of the tree, and the imports of a Python file."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A text file of the tree; a guard's bad example is one that was never written to disk."""

    path: PurePosixPath  # from the root of the checkout
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported thing: `trmfin.data.files.read_raw`, `torch`, …"""

    name: str
    line: int
    lazy: bool  # inside a function or under TYPE_CHECKING: not run when the module is imported


def source(path: str, text: str) -> Source:
    return Source(path=PurePosixPath(path), text=text)


@cache
def tracked() -> tuple[PurePosixPath, ...]:
    """Every file that git holds or would hold, without what it ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return tuple(PurePosixPath(name) for name in sorted(set(listed)) if (ROOT / name).is_file())


@cache
def sources(*folders: str, suffix: str = ".py") -> tuple[Source, ...]:
    """The text files of these top-level folders (of the whole tree where none is named)."""
    return tuple(
        Source(path=path, text=(ROOT / path).read_text(encoding="utf-8"))
        for path in tracked()
        if path.suffix == suffix and (not folders or path.parts[0] in folders)
    )


def imports(file: Source) -> Iterator[Import]:
    """Every import of a file: plain, from, relative, inside functions, and `import_module` or `__import__` of a literal."""
    for node, lazy in _with_laziness(file.tree, lazy=False):
        for name in _names(node, file.path):
            yield Import(name=name, line=node.lineno, lazy=lazy)  # type: ignore[attr-defined]


def _with_laziness(node: ast.AST, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, lazy
    inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    inside = inside or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    for child in ast.iter_child_nodes(node):
        yield from _with_laziness(child, inside)


def _names(node: ast.AST, path: PurePosixPath) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = ".".join(part for part in (_package(path, node.level), node.module) if part)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        asked = node.args[0] if node.args else None
        return [asked.value if isinstance(asked, ast.Constant) and isinstance(asked.value, str) else "(computed)"]
    return []


def _package(path: PurePosixPath, level: int) -> str:
    """The package that `level` leading dots stand for in the module at `path`; empty for an absolute import."""
    return ".".join(path.parts[:-level]) if level else ""
