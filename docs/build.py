"""Check the documents and render them to site/: `python docs/build.py`. Prints every fault and exits 1 where there is one.

Checked: each relative link and each #heading it points to exists; each Python block of README.md runs, from the checkout's root;
a page that begins with `<!-- written by: COMMAND -->` is what that command prints today; each public name has a docstring.
Rendered beside the pages: reference.md, made of the docstrings.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

import trmfin

ROOT = Path(__file__).resolve().parents[1]
WRITTEN_BY = re.compile(r"<!-- written by: (.+?) -->\n")
STYLE = "body{{max-width:60em;margin:2em auto;font:1em/1.5 sans-serif}}"
FRAME = f"<!doctype html><meta charset=utf-8><title>{{title}}</title><style>{STYLE}</style>{{body}}"
MARKDOWN = MarkdownIt("commonmark").enable("table")


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def inline(text: str) -> Iterator[Token]:
    """The tokens inside paragraphs, headings and tables."""
    for block in MARKDOWN.parse(text):
        yield from block.children or ()


def headings(text: str) -> set[str]:
    """Anchors of a page's headings: lower case, spaces as '-', no other marks."""
    tokens = MARKDOWN.parse(text)
    titles = (after.content for token, after in zip(tokens, tokens[1:], strict=False) if token.type == "heading_open")
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> Iterator[str]:
    for token in inline(text):
        link = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if not link or re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists():
            yield f"{page.name}: link {link} leads nowhere"
        elif anchor and target.suffix == ".md" and anchor not in headings(text if target == page else target.read_text(encoding="utf-8")):
            yield f"{page.name}: link {link}: {target.name} has no such heading"


def failing_blocks(page: Path, text: str) -> Iterator[str]:
    for block in MARKDOWN.parse(text):
        if block.type == "fence" and block.info.strip() == "python":
            done = subprocess.run([sys.executable, "-c", block.content], cwd=ROOT, capture_output=True, text=True)
            if done.returncode:
                yield f"{page.name}: the Python block at line {(block.map or [0])[0] + 1} fails: {done.stderr.strip().splitlines()[-1]}"


def stale(page: Path, text: str) -> Iterator[str]:
    if made := WRITTEN_BY.match(text):
        words = [sys.executable if word == "python" else word for word in shlex.split(made[1])]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        if done.returncode or done.stdout != text:
            yield f"{page.name}: is not what `{made[1]}` prints (exit {done.returncode}); write it again"


def reference() -> tuple[str, list[str]]:
    """One page with every public name's signature and docstring; and the names that have none."""
    parts, silent = ["# Reference\n"], []
    for name in trmfin.__all__:
        thing = getattr(trmfin, name)
        if callable(thing):
            words = inspect.getdoc(thing) if thing.__doc__ and not thing.__doc__.startswith(f"{name}(") else None
            silent += [] if words else [f"reference: trmfin.{name} has no docstring"]
            parts.append(f"## {name}\n\n`{thing.__module__}`\n\n```\n{name}{signature(thing)}\n\n{words}\n```\n")
    return "\n".join(parts), silent


def signature(thing: object) -> str:
    return "" if isinstance(thing, type) and issubclass(thing, Exception) else str(inspect.signature(thing))  # type: ignore[arg-type]


def render(text: str, title: str, target: Path) -> None:
    """Write a page as HTML; links between pages lead to the rendered ones."""
    tokens = MARKDOWN.parse(text)
    for token in (inner for block in tokens for inner in block.children or ()):
        if link := str(token.attrs.get("href") or ""):
            token.attrs["href"] = link if re.match(r"[a-z]+:", link) else re.sub(r"\.md(?=#|$)", ".html", link)
    for token, after in zip(tokens, tokens[1:], strict=False):
        if token.type == "heading_open":
            token.attrs["id"] = next(iter(headings(f"# {after.content}")))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(FRAME.format(title=escape(title), body=MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})), encoding="utf-8")


def main() -> int:
    site, faults = ROOT / "site", []
    shutil.rmtree(site, ignore_errors=True)
    for page in pages():
        text = page.read_text(encoding="utf-8")
        faults += [*broken_links(page, text), *stale(page, text)]
        faults += failing_blocks(page, text) if page.name == "README.md" else ()
        render(text, page.stem, site / page.relative_to(ROOT).with_suffix(".html"))
    for picture in (path for suffix in ("svg", "png") for path in (ROOT / "docs").rglob(f"*.{suffix}")):
        (site / picture.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, site / picture.relative_to(ROOT))
    text, silent = reference()
    render(text, "Reference", site / "docs" / "reference.html")
    for fault in (all_faults := faults + silent):
        print(fault)
    print(f"{len(pages())} pages and the reference in site/, {len(all_faults)} faults")
    return bool(all_faults)


if __name__ == "__main__":
    sys.exit(main())
