"""Figures of numbers that go by: those of numpy over all of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rewarddiff.coefficients import CoefficientConfig
from rewarddiff.pipeline.scoring import score, weigh_dataset
from rewarddiff.scoring import summary
from rewarddiff.scoring.summary import QUANTILES, Agreement, Distribution, Reading
from tests.scoring.conftest import write_lines


def test_figures_are_numpys() -> None:
    # Far from 0, where sums of squares would lose the digits that count.
    numbers = 1e8 + np.random.default_rng(0).normal(size=1000)
    figures = Distribution()
    for part in np.array_split(numbers, 7):
        figures.add(part.tolist())
    assert figures.count == 1000
    assert figures.mean == pytest.approx(numbers.mean(), rel=1e-15)
    assert figures.std == pytest.approx(numbers.std(), rel=1e-6)
    expected = dict(zip(map(str, QUANTILES), np.quantile(numbers, QUANTILES), strict=True))
    assert figures.quantiles == pytest.approx(expected, rel=1e-15)


def test_of_many_numbers_a_sample_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "KEPT", 2000)
    figures = Distribution()
    figures.add(list(range(20_000)))
    assert len(figures._kept) == 2000
    # The share below the middle of a sample of 2,000 has a standard error of 1.1 %.
    assert figures.quantiles["0.5"] == pytest.approx(10_000, abs=4 * 0.0112 * 20_000)
    assert (figures.quantiles["0.0"], figures.quantiles["1.0"]) == (0, 19_999)


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(Distribution().mean)
    assert math.isnan(Distribution().std)
    assert Distribution().quantiles == {}


def test_equal_responses_agree_by_half() -> None:
    agreement = Agreement()
    agreement.add([1.0, -2.0, 0.0, 3.0])
    assert (agreement.compared, agreement.agreeing) == (4, 2.5)


def test_how_rows_were_read_is_said(scorer_folders: dict[str, Path], tmp_path: Path) -> None:
    """Of the windows together: a response beyond 40 tokens, and a prompt beside a template."""
    chat = [{"role": "user", "content": "Hi"}]
    rows = [
        {"prompt": "A text", "chosen": "x" * 60, "rejected": "no"},
        {"prompt": chat, "chosen": "yes", "rejected": "no"},
    ]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    scored = score(scorer_folders["reward"], data, tmp_path / "scored.jsonl")
    config = CoefficientConfig(negative="abs")
    weighed = tmp_path / "weighed.jsonl"
    pairs = weigh_dataset(scorer_folders["reward"], data, weighed, config).summary
    for done in (scored, pairs):
        assert done.reading.cut == {"prompt": 0, "response": 1}
        assert done.reading.untemplated == 1
        text = "\n".join(done.lines())
        assert "reading       Of 1 row a response was read in part" in text
        assert "\n              The prompts of 1 row are texts" in text


def test_readings_of_windows_add_up() -> None:
    reading = Reading({"prompt": 1, "response": 0}, untemplated=2, learned=3)
    reading.add({"cut": {"prompt": 1, "response": 1}, "untemplated": 1, "learned": 4})
    assert reading == Reading({"prompt": 2, "response": 1}, untemplated=3, learned=7)
    reading.add({"cut": {}, "untemplated": 0, "learned": None})
    assert reading.learned is None
