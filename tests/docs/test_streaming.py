"""The example of the page on streaming runs as it stands there."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.scoring.models import bundle_for
from trmfin.data.files import raw_from_frame, read_raw
from trmfin.data.prepared import apply
from trmfin.shipped import load_pipeline


def test_the_example_of_a_stream_runs(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "sample_data").symlink_to(checkout / "sample_data")
    raw = read_raw(tmp_path / "sample_data" / "transactions" / "raw" / "transactions.csv").frame.drop("line")[:300]
    use = load_pipeline("transactions")
    prepared = apply(use, {"transactions": raw_from_frame(raw, "raw")}, datetime(2030, 1, 1, tzinfo=UTC))
    (tmp_path / "build").mkdir()
    bundle_for(prepared, use.task).save(tmp_path / "build" / "sample-model")
    (example,) = re.findall(r"```python\n(.*?)```", (checkout / "docs" / "streaming.md").read_text(encoding="utf-8"), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 101
    assert {path.name for path in (tmp_path / "build" / "stream").iterdir()} == {"stream.json", "state-00000001", "log-00000001"}
