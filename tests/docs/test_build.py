"""The check of documents finds what it looks for."""

from pathlib import Path

from docs.build import broken_links, failing_blocks, headings, render, stale


def test_a_link_to_a_missing_file_or_heading_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# One `two`, three\n")
    text = "[a](other.md#one-two-three) [b](other.md#four) [c](none.md) [d](https://example.com) [e](#here) ![f](none.svg)\n\n# Here\n"
    (page := tmp_path / "page.md").write_text(text)
    faults = list(broken_links(page, text))
    assert [fault.split(" ")[2] for fault in faults] == ["other.md#four:", "none.md", "none.svg"]


def test_anchors_are_those_of_common_hosts() -> None:
    assert headings("# What's *new*, in 2.0\n\ntext\n\n## Two") == {"whats-new-in-20", "two"}


def test_a_python_block_that_fails_is_a_fault() -> None:
    text = "```python\nassert 1 + 1 == 2\n```\n\n```python\n1 / 0\n```\n\n```\nnot python\n```\n"
    assert list(failing_blocks(Path("README.md"), text)) == [
        "README.md: the Python block at line 5 fails: ZeroDivisionError: division by zero"
    ]


def test_a_written_page_that_its_command_no_longer_prints_is_a_fault() -> None:
    first = "<!-- written by: python -c 'print(\"<!-- written by: x -->\")' -->\n"
    assert len(list(stale(Path("results.md"), first))) == 1
    assert list(stale(Path("index.md"), "# A page written by hand\n")) == []


def test_links_between_rendered_pages_lead_to_rendered_pages(tmp_path: Path) -> None:
    render("# Two words\n\n[a](b.md#c) [d](https://example.com/e.md)", "t", tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert '<h1 id="two-words">' in html and 'href="b.html#c"' in html and 'href="https://example.com/e.md"' in html
