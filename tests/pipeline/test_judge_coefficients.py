"""recipes/dpo-judge.yaml on the embedded data, against a stub and, where there is one, a real judge."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from judging_examples import responses_in
from scorers.chat_server import MODEL, serving

from rewarddiff.data import load_groups, split
from rewarddiff.data.thinning import thin
from rewarddiff.pipeline.commands import run_recipe
from rewarddiff.results import Results, read_results

RECIPE = Path(__file__).parents[2] / "recipes" / "dpo-judge.yaml"


def steps(first: str, second: str) -> int:
    """How much better the stub finds the first response: the shorter one, by up to three steps."""
    return max(-3, min(3, round(4 * math.log(len(second) / len(first)))))


def reply(body: Any) -> str:
    return f"One is shorter.\nVerdict: {4 - steps(*responses_in(body))}"


def small(policy: Path, encoder: Path, output: Path, url: str, model: str) -> Sequence[str]:
    """The recipe with models and trainings that a test has time for."""
    overrides = [
        f"output={output}", f"model={policy}", f"scorers.judge.url={url}",
        f"scorers.judge.model={model}", f"scorers.reward.backbone={encoder}",
        "scorers.reward.train.max_steps=1", "scorers.reward.lengths.max_prompt=128",
        "lengths.max_prompt=400", "data.max_drop=1", "data.limit=40", "data.max_comparisons=1",
        "evaluation.prompts=4", "evaluation.sampling.max_new_tokens=8",
    ]  # fmt: skip
    for name in ("dpo", "dpo+judge"):
        overrides += [f"policies.{name}.lora=null", f"policies.{name}.train.max_steps=2"]
    return overrides


def check(results: Results) -> None:
    """What every judge must give: weights for dpo+judge, and win rates with what they cost."""
    (coefficients,) = results.coefficients
    assert coefficients.policy == "dpo+judge"
    assert 0 < coefficients.report.effective_share <= 1
    used = {(rate.a, rate.b): rate.used_in_training for rate in results.judges.win_rates}
    assert used == {
        ("dpo+judge", "dpo"): True,
        ("dpo", "base"): False,
        ("dpo+judge", "base"): True,
    }
    (use,) = results.judges.uses
    assert use.calls > 0


def test_a_judge_is_the_source_of_coefficients(
    policy_folder: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    with serving(reply) as server:
        overrides = small(policy_folder, encoder_folder, tmp_path / "run", server.url, MODEL)
        results = read_results(run_recipe(RECIPE, overrides))
    check(results)
    # Both orders say the same of lengths, so d of each pair is the stub's word on it.
    shares = {"train": 0.42, "dev": 0.08, "test": 0.5}
    expected = []
    for whole in split(load_groups("demo", limit=40), shares)["train"]:
        group = thin(whole, 1)
        for comparison in group.known_comparisons():
            if not comparison.tie:
                texts = [group.responses[i] for i in (comparison.chosen, comparison.rejected)]
                expected.append(steps(*texts))
    report = results.coefficients[0].report
    assert report.n == len(expected)
    assert report.before.mean == pytest.approx(sum(expected) / len(expected))


@pytest.mark.slow
def test_a_real_judge_is_one_too(policy_folder: Path, encoder_folder: Path, tmp_path: Path) -> None:
    named = os.environ.get("REWARDDIFF_JUDGE", "")
    model, mark, url = named.rpartition("@")
    if not mark:
        pytest.skip(
            "no real judge: set REWARDDIFF_JUDGE to MODEL@URL of an OpenAI-compatible server"
        )
    overrides = small(policy_folder, encoder_folder, tmp_path / "run", url, model)
    check(read_results(run_recipe(RECIPE, overrides)))
