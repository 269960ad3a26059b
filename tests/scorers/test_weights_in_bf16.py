"""A scorer that is trained with weights in bfloat16 is read as it is saved: in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rewarddiff.encoding import LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.train import train_scorer

GROUPS = [
    Group(f"g{i}", f"Say {i}", ("yes yes", f"no {i}"), comparisons=(Comparison(0, 1),))
    for i in range(8)
]


@pytest.mark.parametrize("backbone", ["decoder", "encoder"])
def test_it_says_the_same_once_it_is_loaded(
    folders: dict[str, Path], tmp_path: Path, backbone: str
) -> None:
    config = ScorerConfig(
        kind="reward",
        backbone=str(folders[backbone]),
        train=TrainConfig(lr=3e-3, epochs=4, weights="bf16", eval_every=None),
        lengths=LengthConfig(max_response=16),
    )
    scorer, result = train_scorer(config, GROUPS, output=tmp_path / "run")
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    weights = scorer.reader.model.base_model.parameters()
    body = [weight for weight in weights if weight.requires_grad]
    assert {weight.dtype for weight in scorer.reader.parameters()} == {torch.float32}
    assert all(torch.equal(weight, weight.bfloat16().float()) for weight in body)
    save_scorer(scorer, tmp_path / "model")
    ours = np.concatenate(scorer.rewards(GROUPS))
    theirs = np.concatenate(load_scorer(tmp_path / "model").rewards(GROUPS))
    assert np.array_equal(ours, theirs)
