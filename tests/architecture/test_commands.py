"""Every command that the documents show exists, with its options; every command that exists is shown and says what its options do."""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import typer.main

from tests.architecture.tree import ROOT, Source, source, sources

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("bash", "console", "sh", "text", "")
INVOCATION = re.compile(r"(?:^|\s)(?:\S*python3? -m trmfin\.(?P<module>[\w.]+)|(?:\.venv/bin/)?trmfin (?P<command>\w+))(?P<rest>.*)$")
VERB = re.compile(r"\bmake ((?:[a-z]+ )*[a-z]+)`|^(?:CI=true )?make ((?:[a-z]+ ?)+)$", re.MULTILINE)

Options = Mapping[str, frozenset[str]]  # command → its options, as they are typed


def commands() -> dict[str, Any]:
    """The commands of `python -m trmfin`, by name."""
    from trmfin.__main__ import app

    return dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def options() -> Options:
    return {
        name: frozenset(spelling for parameter in command.params for spelling in (*parameter.opts, *parameter.secondary_opts)) | {"--help"}
        for name, command in commands().items()
    }


def shown_commands(page: Source) -> Iterator[tuple[str, list[str]]]:
    """(module or command, arguments) of each trmfin call in a page's code blocks; a call may go on after a backslash."""
    for language, block in FENCE.findall(page.text):
        for line in (block if language in SHELLS else "").replace("\\\n", " ").splitlines():
            if found := INVOCATION.search(line.removeprefix("$ ")):
                yield found["module"] or found["command"], shlex.split(found["rest"], comments=True)


def faults_of_shown_commands(page: Source, known: Options) -> Iterator[str]:
    for name, arguments in shown_commands(page):
        if "." in name:
            place = "trmfin/" + name.replace(".", "/")
            if not any((ROOT / file).exists() for file in (f"{place}.py", f"{place}/__main__.py")):
                yield f"{page.path}: trmfin.{name} does not exist"
        elif name not in known:
            yield f"{page.path}: trmfin.{name} is no command"
        else:
            spelled = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
            yield from (f"{page.path}: trmfin.{name} has no option {option}" for option in sorted(spelled - known[name]))


def shown_verbs(page: Source) -> set[str]:
    return {verb for groups in VERB.findall(page.text) for group in groups for verb in group.split()}


def makefile_verbs() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def command_modules() -> set[str]:
    """Top-level modules that `python -m trmfin.NAME` runs."""
    runs = {file.path.stem for file in sources("trmfin") if len(file.path.parts) == 2 and '__name__ == "__main__"' in file.text}
    return runs - {"__main__"}


PAGES = sources(suffix=".md")


def test_every_shown_command_and_option_exists() -> None:
    known = options()
    assert [fault for page in PAGES for fault in faults_of_shown_commands(page, known)] == []


def test_every_command_has_one_module_and_is_shown_in_the_readme() -> None:
    readme = next(page for page in PAGES if str(page.path) == "README.md")
    assert command_modules() == set(options()) == {name for name, _ in shown_commands(readme) if "." not in name}


def test_every_command_and_option_says_what_it_does() -> None:
    silent = [name for name, command in commands().items() if not command.help]
    silent += [f"{name} {option.name}" for name, command in commands().items() for option in command.params if not option.help]
    assert silent == []


def test_every_shown_make_verb_exists_and_every_verb_is_shown() -> None:
    shown = set().union(*(shown_verbs(page) for page in PAGES))
    assert shown == makefile_verbs()


def test_the_guard_of_commands_sees_a_wrong_name_and_a_wrong_option() -> None:
    lines = (
        "$ python -m trmfin.scoer BUNDLE",
        ".venv/bin/python -m trmfin.score BUNDLE \\\n  --stepz 3 --out=RUN  # --no",
        "trmfin score --help",
        "python -m trmfin.data.nothing",
    )
    page = source("docs/x.md", "```\n" + "\n".join(lines) + "\n```\n")
    assert list(faults_of_shown_commands(page, {"score": frozenset({"--out", "--help"})})) == [
        "docs/x.md: trmfin.scoer is no command",
        "docs/x.md: trmfin.score has no option --stepz",
        "docs/x.md: trmfin.data.nothing does not exist",
    ]


def test_the_guard_of_make_verbs_reads_code_and_code_blocks() -> None:
    assert shown_verbs(source("x.md", "`make demo` or\n```\nmake lint types\n```\nto make sure.")) == {"demo", "lint", "types"}
