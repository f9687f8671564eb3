"""A real PostgreSQL server for tests, started from the machine's own binaries in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ACCOUNT = "nobody"  # that runs the server where we are root, which PostgreSQL refuses
OWNER = "trmfin"


def programs() -> Path | None:
    """The folder with initdb and pg_ctl; None where PostgreSQL is not installed."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent  # not a wrapper beside a link
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


@contextmanager
def server() -> Iterator[Callable[[str], str]]:
    """A server that listens on a socket in a folder of its own; makes a new database of a name and gives its URL."""
    found = programs()
    assert found is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, account = folder / "data", [] if os.getuid() else ["setpriv", f"--reuid={ACCOUNT}", "--clear-groups"]
        if account:
            shutil.chown(folder, ACCOUNT)

        def run(program: str, *words: str) -> None:
            subprocess.run([*account, str(found / program), *words], check=True, capture_output=True, cwd=folder)

        def made(database: str) -> str:
            run("createdb", "-h", str(folder), "-U", OWNER, database)
            return f"postgresql+psycopg://{OWNER}@/{database}?host={folder}"

        run("initdb", "-D", str(data), "-A", "trust", "-U", OWNER, "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=60"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield made
        finally:
            run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
