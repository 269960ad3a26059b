"""What results.json says of figures worked by hand."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rewarddiff.pipeline import results
from rewarddiff.pipeline.results import _contrast, _gaps, _lengths
from rewarddiff.report.statements import notes
from rewarddiff.sampling import Sample


def test_lengths_of_samples() -> None:
    drawn = [Sample("one two three", True), Sample("", True), Sample(" ", False), Sample("four", False)]
    assert list(_lengths({7: {"dpo": drawn}})) == [
        {"policy": "dpo", "seed": 7, "n": 4, "empty": 2, "unfinished": 2, "mean_words": 1.0}
    ]


def test_the_same_text_is_a_tie() -> None:
    rewards = {"a": [1.0, 2.0, 5.0], "b": [0.0, 2.5, 1.0]}
    samples = {"a": [Sample("x", True)] * 3, "b": [Sample(t, True) for t in ("y", "y", "x")]}
    assert _gaps(rewards, samples, "a", "b") == [1.0, -0.5, 0.0]


def test_a_contrast_over_seeds_is_of_all_their_gaps() -> None:
    # Two prompts that disagree by far and three seeds that agree: the doubt is that of the prompts, which means over
    # prompts (0.5 for every seed) would not show.
    pooled = _contrast(np.array([[2.0, -1.0]] * 3))
    assert (pooled["win"], pooled["tie"], pooled["lose"]) == (0.5, 0.0, 0.5)
    assert pooled["mean_gap"]["value"] == 0.5
    assert (pooled["mean_gap"]["low"], pooled["mean_gap"]["high"]) == (-1.0, 2.0)


def test_gaps_that_are_all_alike_are_no_finding() -> None:
    """Policies that say the same on every prompt: nothing bounds a reward, so there is no interval to show."""
    alike = _contrast(np.zeros((1, 5)))["mean_gap"]
    assert alike["value"] == 0
    assert math.isnan(alike["low"])
    named = {"a": "dpo", "b": "base", "scorer": "reward", "seed": "all", "used_in_training": False}
    (note,) = notes({"contrasts": [{**named, "mean_gap": alike}]})
    assert note.startswith("dpo against base: by reward +0.000, without an interval")


def test_scorers_are_compared_on_the_same_comparisons(tmp_path: Path) -> None:
    # Two prompts of one and two comparisons, two seeds. The first scorer is right in 1 + 1 (of 3, d = 0 half) and
    # 0 + 2: 2 and 2 of 3. The second, read in both orders, in 1 + 2 and 1 + 2. A tie of the data never counts.
    said = {
        "one": [[1.0, -2.0, 1.5, 9.0], [-1.0, 3.0, 0.5, 9.0]],
        "two": [[1.0, 0.3, 0.3, -9.0], [1.0, 0.1, 2.0, -9.0]],
    }
    run = SimpleNamespace(
        recipe=SimpleNamespace(scorers=dict.fromkeys(said), seeds=(0, 1)), held_out={"test": (), "other": ()}
    )

    def stage(_: object, name: str, seed: int) -> SimpleNamespace:
        lines = [
            {"group": g, "d": d, "chosen_length": 1, "rejected_length": 1, "strength": s, "d_swapped": None}
            for g, d, s in zip("abbb", said[name][seed], (None, None, None, 0.0), strict=True)
        ]
        folder = tmp_path / f"{name}-{seed}"
        folder.mkdir(exist_ok=True)
        (folder / "comparisons.json").write_text(json.dumps({"test": lines, "other": lines[:1]}))
        return SimpleNamespace(folder=folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "evaluation_stage", stage)
        compared = results._compared(run)
    (own,) = results.agreements(compared["test", "one"])
    assert (own.right.tolist(), own.sizes.tolist(), own.graded) == ([[1, 1], [0, 2]], [1, 2], 1)
    found = {c["test"]: c for c in results._scorer_contrasts(run, compared)}
    assert found["test"]["spearman_gap"]["value"] is None  # ties alone are no strengths to go by
    assert (found["test"]["a"], found["test"]["b"]) == ("two", "one")
    assert found["test"]["gap"]["value"] == pytest.approx((6 - 4) / 6)
    assert found["other"]["gap"]["value"] == 0.5
