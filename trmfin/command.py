"""What all commands share: a TrmfinError, or a disk that fails, ends in one line on stderr and exit 1, Ctrl-C in one and exit 130."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import typer

from trmfin.errors import TrmfinError

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with the same parameters, whose expected failures end the program as the module's docstring says."""

    @functools.wraps(function)
    def command(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except TrmfinError as problem:
            _say(str(problem))
            raise typer.Exit(1) from problem
        except OSError as problem:  # a disk or a path that fails where no layer expected it
            if problem.errno == errno.EPIPE:  # who read the output has gone: typer ends quietly
                raise
            where = problem.filename or "a file"
            _say(f"{where}: cannot be used ({problem.strerror or problem}); check the path, its permissions and the free space")
            raise typer.Exit(1) from problem
        except KeyboardInterrupt as problem:
            _say("interrupted; no file was left half-written, start the command again (with --resume where it has one)")
            raise typer.Exit(INTERRUPTED) from problem

    return command


def application(function: Callable[..., None]) -> typer.Typer:
    """A Typer app with this one command."""
    app = _app()
    app.command(no_args_is_help=True)(guarded(function))
    return app


def applications(functions: Mapping[str, Callable[..., None]]) -> typer.Typer:
    """A Typer app with a command of each name."""
    app = _app()

    def describe() -> None:
        """Payment and transaction histories in, calibrated and explained risk scores out.

        `COMMAND --help` shows a command's arguments and an example.
        """

    app.callback(no_args_is_help=True)(describe)
    for name, function in functions.items():
        app.command(name, no_args_is_help=True)(guarded(function))
    return app


def run(function: Callable[..., None]) -> NoReturn:
    """Runs `function` as the program: parses sys.argv, exits 0, 1 (TrmfinError, OSError), 2 (wrong usage) or 130 (Ctrl-C)."""
    application(function)()
    raise SystemExit(0)


def _say(message: str) -> None:
    typer.echo("error: " + "".join(letter if letter.isprintable() else "?" for letter in message), err=True)


def _app() -> typer.Typer:
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
