"""The dashboard on a run of a million scores and fifty thousand records, in a real browser: seconds a page, memory of the server.

    python tests/benchmarks/dashboard.py [--rows 1000000] [--records 50000] [--keep FOLDER] > docs/results/dashboard.txt

The run is the sample data's, repeated under new ids with scores moved, records with it; its hashes are not those of its files. Each page is
opened three times from the one before, and each filter set once; a page counts as there when its last element is in it, looked at with
every frame. Seconds are of the browser, the first visit of the server's life apart. Memory is the server's own (VmHWM), the browser's not
counted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT))
SHARD = 50_000
PAUSE = 700  # milliseconds, in which a page that is there draws its charts
SAMPLE = CHECKOUT / "sample_data" / "payments" / "run"


def made(rows: int, records: int, out: Path) -> None:
    """A run of so many scores."""
    from trmfin.data.files import write_json, write_parquet
    from trmfin.data.seal import sealed
    from trmfin.explaining.record import flat, is_compared
    from trmfin.explaining.record import sealed as chained
    from trmfin.learn.policy import Policy
    from trmfin.scoring.thresholds import band_counts, bands

    manifest = json.loads((SAMPLE / "manifest.json").read_text())
    policy, base = Policy.from_json(manifest["policy"]), pl.read_parquet(SAMPLE / "scores/part-00000.parquet")
    first, second = (json.loads(text) for text in pl.read_parquet(SAMPLE / "records/part-00000.parquet")["record"][:2])
    random, counts, files = np.random.default_rng(0), np.zeros(len(policy.bands), np.int64), dict[str, str]()
    shards = -(-rows // SHARD)
    for shard in range(shards):
        n = min(SHARD, rows - shard * SHARD)
        table = base[random.integers(0, len(base), n).tolist()]
        score = np.clip(table["score"].to_numpy() * random.uniform(0.5, 2.5, n), 0, 1)
        names = [f"C{shard * SHARD + place:07}@2024-05" for place in range(n)]
        table = table.with_columns(sample_id=pl.Series(names), score=pl.Series(score), band=pl.Series(bands(score, policy).tolist()))
        counts += band_counts(score, policy)
        told, previous = [], "0" * 64
        for place in np.sort(np.argsort(-score)[: records // shards]):
            noise = {"method": random.bytes(1500).hex()}  # records of real data are not all alike, so they do not shrink as much
            record = first if is_compared(len(told)) else second
            body = record | {"sample_id": names[place], "inference": record["inference"] | {"score": float(score[place])}}
            body = body | {"attribution": record["attribution"] | noise}
            told.append(chained({key: value for key, value in body.items() if key != "prev_sha256"}, previous))
            previous = told[-1]["sha256"]
        for part, frame in (("scores", table), ("records", flat(told))):
            (out / part).mkdir(parents=True, exist_ok=True)
            files[f"{part}/part-{shard:05}.parquet"] = "0" * 64
            write_parquet(frame, out / part / f"part-{shard:05}.parquet")
    in_bands = {name: int(count) for (name, _), count in zip(policy.bands, counts, strict=True)}
    manifest |= {"files": files, "counts": {"rows": rows, "shards": shards, "bands": in_bands}}
    manifest["records"]["count"] = records // shards * shards
    manifest["records"]["shards"] = {str(shard): {"records": records // shards} for shard in range(shards)}
    write_json(sealed({key: value for key, value in manifest.items() if key != "seal"}), out / "manifest.json")


def peak_mib(port: int) -> float:
    """Most memory that the server on this port has had."""
    for status in Path("/proc").glob("[0-9]*/status"):
        words = (status.parent / "cmdline").read_bytes().split(b"\0")
        if b"dashboards.serve" in words and str(port).encode() in words:
            return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return float("nan")


def seconds(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def seen(page: Any, text: str, there: bool = True) -> None:
    """Waits until the page has this text, or has it no more; looked at with every frame that is drawn."""
    page.wait_for_function(f"document.body.textContent.includes({json.dumps(text)}) === {json.dumps(there)}", polling="raf")


def visits(page: Any, address: str) -> dict[str, list[float]]:
    """Page or filter → seconds of each visit."""
    pages = {
        "Portfolio": "Bands",
        "Queue": "Costs are the policy's",
        "Performance": "Too few outcomes are known",
        "Model and audit": "Check the journal",
    }
    found: dict[str, list[float]] = {}

    def go(name: str) -> None:
        page.get_by_role("link", name=name, exact=True).first.click()
        seen(page, pages[name])

    def first() -> None:
        page.goto(address)
        seen(page, pages["Portfolio"])

    found["first page of all"] = [seconds(first)]
    for _ in range(3):
        for name in ("Queue", "Performance", "Model and audit", "Portfolio"):
            found.setdefault(name, []).append(seconds(lambda name=name: go(name)))  # type: ignore[misc]
            page.wait_for_timeout(PAUSE)
    go("Queue")

    def filtered() -> None:
        page.get_by_label("Model says", exact=True).click()
        page.get_by_role("option", name="flagged", exact=True).click()
        seen(page, "1,000,000 cases", there=False)

    def turned() -> None:
        number = int(page.get_by_text(", page ").inner_text().partition("page ")[2].partition(" ")[0])
        page.get_by_role("button", name="Next page").click()
        seen(page, f"page {number + 1} of")

    def opened() -> None:
        page.get_by_role("link", name="@2024-05").first.click()
        seen(page, "What was done")
        seen(page, "Replay this record")

    found |= {"filter: flagged": [seconds(filtered)], "next page": [seconds(turned) for _ in range(3)], "a case with its record": []}
    for _ in range(5):
        found["a case with its record"].append(seconds(opened))
        page.wait_for_timeout(PAUSE)
        go("Queue")
        page.wait_for_timeout(PAUSE)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--records", type=int, default=50_000)
    options.add_argument("--keep", type=Path, help="make the run here and leave it")
    asked = options.parse_args()
    from playwright.sync_api import sync_playwright

    from tests.browser.serving import CHROMIUM, FLAGS, served

    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = asked.keep or Path(temporary) / "run"
        if not (folder / "manifest.json").exists():
            made(asked.rows, asked.records, folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
        print(f"{asked.rows:,} scores, {asked.records:,} records, {size:,.0f} MiB on disk; {os.cpu_count()} cores", flush=True)
        with served(f"sqlite:///{temporary}/journal.db", "ann", Path(temporary), folder) as shown:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            for name, each in visits(page, shown.address).items():
                print(f"{name:24} {' '.join(f'{one:6.2f}' for one in each)} s")
            print(f"{'peak memory':24} {peak_mib(int(shown.address.rpartition(':')[2])):6.0f} MiB")
            browser.close()


if __name__ == "__main__":
    main()
