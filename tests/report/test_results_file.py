"""results.json: what is written is what is read, and nothing else is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_example as example

from rewarddiff.errors import UserError
from rewarddiff.pipeline.stage import write_results
from rewarddiff.report.page import page
from rewarddiff.results import UNKNOWN, Bin, Interval, plain, read, read_results


def written(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda values: None) -> Path:
    """A folder with results that were changed after they had been written."""
    values = plain(example.results(1))
    change(values)
    (folder / "results.json").write_text(json.dumps(values, allow_nan=False))
    return folder


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    results = example.results(2)
    write_results(tmp_path, results)
    again = read_results(tmp_path)
    assert plain(replace(again, sha256="")) == plain(results)
    assert page(again) == page(results)


def test_a_figure_that_was_changed_since_is_not_read(tmp_path: Path) -> None:
    write_results(tmp_path, example.results(1))
    file = tmp_path / "results.json"
    file.write_text(file.read_text().replace('"seconds": ', '"seconds": 1', 1))
    with pytest.raises(UserError, match="does not hold what was written to it; run "):
        read_results(tmp_path)


def test_unknown_figures_are_null_in_the_file_and_nan_inside() -> None:
    assert plain(UNKNOWN) == {"value": None, "low": None, "high": None, "n": 0}
    assert math.isnan(read(Interval, plain(UNKNOWN)).value)
    assert plain(Interval(math.inf, -math.inf, math.nan, 0)) == plain(UNKNOWN)
    open_above = Bin(3.0, math.inf, UNKNOWN)
    assert plain(open_above)["high"] is None
    assert read(Bin, plain(open_above)).high == math.inf


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda v: v.update(schema=1), "schema is 1, and this version reads 5"),
        (lambda v: v.pop("costs"), "costs is missing"),
        (
            lambda v: v["scorers"][0]["evaluation"].pop("ece"),
            "scorers.0.evaluation.ece is missing",
        ),
        (
            lambda v: v["summary"]["scorers"][0].update(accuracies=1),
            "summary.scorers.0.accuracies is a key that results do not have",
        ),
        (
            lambda v: v["rewards"][0]["mean"].update(value="0.5"),
            "rewards.0.mean.value: Input should be a valid number",
        ),
        (
            lambda v: v["rewards"][0].update(seed=None),
            "rewards.0.seed: Input should be a valid integer",
        ),
    ],
)
def test_what_is_not_as_it_was_written_is_refused_in_a_line(
    change: Callable[[dict[str, Any]], Any], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        read_results(written(tmp_path, change))
    assert str(refused.value) == (
        f"{tmp_path}/results.json: {cause}; run the recipe again to write it anew"
    )
