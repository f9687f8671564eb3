"""Pictures are drawn of whatever a model said."""

from pathlib import Path

import numpy as np
import polars as pl

from trmfin.learn.pictures import draw_report


def test_certain_answers_of_a_few_samples_are_drawn(tmp_path: Path) -> None:
    y = np.array([0.0, 1.0] * 10)
    one = {"sample_id": [f"s{n:02}" for n in range(20)], "model": "trm", "seed": 0, "fold": 0, "y": y}
    draw_report(pl.concat([pl.DataFrame(one).with_columns(step=pl.lit(step), p=pl.Series(y)) for step in (1, 2)]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.png", "steps.png"]
