"""Suspicious labels: the comparisons that a scorer contradicts most, as a file and as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rewarddiff.pipeline.scoring import WeighConfig, weigh_dataset
from tests.scoring.conftest import L2, L4, PAIRS, column, read_lines, weighed, write_lines


def test_the_most_contradicted_come_first(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", PAIRS)
    done = weigh_dataset("length", data, tmp_path / "out.parquet")
    listed = read_lines(done.beside.suspicious)
    assert column(listed, "row") == ["rows.jsonl:2", "rows.jsonl:4"]
    assert column(listed, "difference") == pytest.approx([-L4, -L2])
    counts = json.loads(done.beside.report.read_text())["suspicious"]
    assert counts["by_part"] == {
        "easy": {"contradicted": 1, "compared": 2},
        "": {"contradicted": 1, "compared": 2},
    }
    done = weigh_dataset("length", data, tmp_path / "out.jsonl", WeighConfig(suspicious=1))
    assert column(read_lines(done.beside.suspicious), "row") == ["rows.jsonl:2"]


def test_flipped_pairs_are_listed_as_they_are_labelled(tmp_path: Path) -> None:
    _, done = weighed(PAIRS, tmp_path, negative="flip")
    assert read_lines(done.beside.suspicious)[0]["chosen"] == "d"


def test_the_page_shows_texts_side_by_side_and_runs_nothing(tmp_path: Path) -> None:
    hostile = {"prompt": "<script>alert(1)</script>", "chosen": "</div>", "rejected": "<b>" * 9}
    _, done = weighed([*PAIRS, hostile], tmp_path)
    page = done.beside.page.read_text("utf-8")
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "3 of 5 labels" in page
    assert "rows.jsonl:4" in page
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page
    assert page.index("rows.jsonl:2") < page.index("rows.jsonl:4")


def test_a_page_without_comparisons_still_counts_them(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", PAIRS)
    done = weigh_dataset("length", data, tmp_path / "out.jsonl", WeighConfig(suspicious=0))
    page = done.beside.page.read_text("utf-8")
    assert "length contradicts 2 of 4 labels (50.0 %). None of them are shown." in page
    assert done.beside.suspicious.read_text() == ""


def test_a_scorer_that_contradicts_nothing_has_an_empty_page(tmp_path: Path) -> None:
    _, done = weighed(PAIRS[:1], tmp_path)
    assert "contradicts none of 1 labels" in done.beside.page.read_text("utf-8")
    assert done.beside.suspicious.read_text() == ""
