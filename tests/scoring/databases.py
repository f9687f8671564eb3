"""A real PostgreSQL server for tests, started from the machine's own binaries in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ACCOUNT = "nobody"  # that runs the server where we are root, which PostgreSQL refuses


def programs() -> Path | None:
    """The folder with initdb and pg_ctl; None where PostgreSQL is not installed."""
    if found := shutil.which("pg_ctl"):
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server that listens on a socket in `folder` alone; its URL but for the database's name."""
    found = programs()
    assert found is not None
    data, account = folder / "data", [] if os.getuid() else ["setpriv", f"--reuid={ACCOUNT}", "--clear-groups"]
    if account:
        shutil.chown(folder, ACCOUNT)
        for parent in (folder, *folder.parents):  # pytest's folders are for their owner alone
            if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)

    def run(program: str, *words: str) -> None:
        subprocess.run([*account, str(found / program), *words], check=True, capture_output=True, cwd=folder)

    run("initdb", "-D", str(data), "-A", "trust", "-U", "trmfin", "-E", "UTF8", "--locale=C", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=60"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://trmfin@/{{name}}?host={folder}"
    finally:
        run("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
