"""Where two policies answer alike nobody is asked: a tie that says nothing of any judge."""

import json
import math
from pathlib import Path

import numpy as np
from scorers.chat_server import MODEL, Body, serving
from scorers.judge_stubs import honest, saying

from rewarddiff.pipeline.judge import judge_stage
from rewarddiff.results import read_results


def files(tmp_path: Path) -> list[str]:
    """Two policies that answer six of ten prompts alike."""
    paths = []
    for name in ("a", "b"):
        rows = []
        for place in range(10):
            response = f"both say {place}" if place < 6 else f"{name} says {place}"
            rows.append({"prompt": f"Prompt {place}", "response": response})
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        paths.append(str(path))
    return paths


def test_they_are_ties_counted_apart_and_no_agreement(tmp_path: Path) -> None:
    with serving(saying(honest)) as server:
        folder = judge_stage(
            files(tmp_path),
            [f"{MODEL}@{server.url}", "length"],
            output=tmp_path / "out",
            overrides=["canaries=0"],
        )
        assert server.calls == 2 * 4  # both orders of the four that differ
    judges = read_results(folder).judges
    for rate in judges.win_rates:
        assert (rate.n, rate.scored, rate.same) == (10, 10, 6)
        assert rate.tie.value >= 0.6
    (agreement,) = judges.agreements
    assert agreement.n == 4
    assert judges.panels[0].items == 4


def test_a_judge_that_says_nothing_has_no_win_rate(tmp_path: Path) -> None:
    def refuses(body: Body) -> str:
        return "I would rather not say."

    with serving(refuses) as server:
        folder = judge_stage(
            files(tmp_path),
            [f"{MODEL}@{server.url}"],
            output=tmp_path / "out",
            overrides=["canaries=0", "attempts=1"],
        )
    (rate,) = read_results(folder).judges.win_rates
    assert (rate.n, rate.scored, rate.same) == (10, 0, 6)
    assert math.isnan(rate.rate.value)
    assert rate.unscored["no verdict on any other answer"] == 6
    assert np.isclose((rate.worst, rate.best), (0, 1)).all()
