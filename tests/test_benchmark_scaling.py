"""The figures of growth: slopes by hand, the same work in both ways, pictures that can be read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import scaling
from benchmarks.scaling import RESULTS, lists, require_same, run, slope, slopes
from benchmarks.scaling_chart import draw_all

FIGURES = {
    # Seconds in proportion to rows, memory that stays.
    "rows": [
        {"rows": 10**power, "cpu_seconds": 2 * 10.0 ** (power - 3), "anonymous_bytes": 1e8}
        for power in (3, 4, 5)
    ],
    "responses": {
        # Seconds as √k, bytes as k²; the other way in proportion.
        "trees": [
            {"responses": k, "cpu_seconds": k**0.5, "peak_bytes": 1e6 * k**2} for k in (2, 8)
        ],
        "rows": [{"responses": k, "cpu_seconds": 3.0 * k, "peak_bytes": 4e6 * k} for k in (2, 8)],
    },
}


@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
def test_the_slope_of_a_power_is_its_exponent(power: float) -> None:
    assert slope([(x, 7 * x**power) for x in (2, 4, 32)]) == pytest.approx(power, abs=1e-12)


def test_slopes_by_hand() -> None:
    fitted = slopes(FIGURES)
    assert fitted["seconds by rows"] == pytest.approx(1)
    assert fitted["memory by rows"] == pytest.approx(0)
    assert fitted["seconds by responses, trees"] == pytest.approx(0.5)
    assert fitted["memory by responses, trees"] == pytest.approx(2)
    assert fitted["seconds by responses, rows"] == pytest.approx(1)
    # k(p + r) is in proportion to k. With p = 125, r = 45: (125 + 360)/(125 + 90) is 4^0.587.
    assert fitted["tokens by responses, rows, without padding"] == pytest.approx(1)
    assert fitted["tokens by responses, trees, without padding"] == pytest.approx(0.587, abs=0.01)


def test_prompts_are_the_same_for_any_number_of_responses() -> None:
    few, many = lists(2, 3), lists(8, 3)
    assert [one.prompt for one in few] == [one.prompt for one in many]
    assert [len(one.responses) for one in many] == [8, 8, 8]
    assert len({one.prompt for one in many}) == 3


def test_both_ways_compute_the_same_losses() -> None:
    trees, padded = (run(way, 2, steps=1) for way in scaling.WAYS)
    require_same(trees["losses"], padded["losses"])
    with pytest.raises(RuntimeError, match="different losses"):
        require_same(trees["losses"], [1.01 * loss for loss in padded["losses"]])


def test_pictures_hold_every_figure(tmp_path: Path) -> None:
    by_rows, by_responses = draw_all(FIGURES, tmp_path)
    for path in (by_rows, by_responses):
        drawing = ElementTree.parse(path).getroot()
        texts = {node.text for node in drawing.iter() if node.tag.endswith("text")}
        assert any("slope" in (text or "") for text in texts)
        assert "prefers-color-scheme: dark" in path.read_text()
    assert "slope 1.00" in by_rows.read_text()
    assert "1,000,000" in by_rows.read_text()
    assert "slope 0.50" in by_responses.read_text()


def label(drawing: str) -> str:
    """All figures, as a drawing says them to those who do not see it."""
    found = re.search(r'aria-label="([^"]*)"', drawing)
    assert found
    return found[1]


def test_the_committed_pictures_are_of_the_committed_figures(tmp_path: Path) -> None:
    measured = json.loads(RESULTS.read_text())
    for path in draw_all(measured, tmp_path):
        committed = (scaling.IMAGES / path.name).read_text()
        assert label(committed) == label(path.read_text())
    for name, value in slopes(measured).items():
        assert measured["slopes"][name] == pytest.approx(value)
