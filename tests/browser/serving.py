"""The dashboard as a process of its own, and the browser that looks at it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.architecture.tree import ROOT

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
).split()
RUN = ROOT / "sample_data" / "payments" / "run"
CASE = "C000260@2024-05"  # its highest score
STEP = 60_000  # milliseconds that one may take on a busy machine


@dataclass(frozen=True, kw_only=True)
class Served:
    address: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """At once, whatever it is doing."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


@contextmanager
def served(
    journal: str, reviewer: str, folder: Path, run: Path = RUN, port: int | None = None, more: tuple[str, ...] = ()
) -> Iterator[Served]:
    """The dashboard of a run, once it answers; `folder` is where it works and has its log. more: options."""
    port = port or free_port()
    command = [sys.executable, "-m", "trmfin.dashboard", str(run), "--port", str(port), "--no-browser"]
    command += ["--journal", journal, "--reviewer", reviewer, *more]
    with (folder / f"{reviewer}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5):
                    break
            except OSError:
                assert process.poll() is None, (folder / f"{reviewer}.log").read_text()
                time.sleep(0.25)
        yield Served(address=f"http://localhost:{port}", process=process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def choose(page: Any, label: str, option: str) -> None:
    """Take an option of a list."""
    from playwright.sync_api import expect

    box = page.get_by_label(label, exact=True)
    expect(box).to_have_count(1, timeout=STEP)  # what stood there before is still there while the page is made anew
    box.click()
    page.get_by_role("option", name=option, exact=True).click()


def opened_case(browser: Any, address: str, errors: list[str]) -> Any:
    """A page on which somebody went from the start to the queue and to its first case."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(STEP)
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.get_by_role("heading", name="Portfolio").wait_for()
    taken(page, "portfolio", chart=True)
    page.get_by_role("link", name="Queue").click()
    page.get_by_role("link", name=CASE).wait_for()
    taken(page, "queue")
    page.get_by_role("link", name=CASE).click()
    page.get_by_role("heading", name=CASE).wait_for()
    return page


def taken(page: Any, name: str, chart: bool = False) -> None:
    """A picture of the page, where pictures are wanted."""
    if folder := os.environ.get("TRMFIN_SCREENSHOTS"):
        if chart:
            page.locator("canvas").first.wait_for()
        page.wait_for_timeout(1500)
        page.screenshot(path=ROOT / folder / f"dashboard-{name}.png")
