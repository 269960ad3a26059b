"""Which attention an encoder runs with: on a CPU, plain products where bf16 is trained, else the
model's own."""

from __future__ import annotations

import numpy as np
import torch

from rewarddiff.data.ledger import Ledger
from rewarddiff.scorers.neural.build import save_scorer
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.ranking import scores

from .conftest import make


def test_training_in_bf16_changes_the_kernel_and_reading_changes_it_back(
    folders, groups, tmp_path
) -> None:
    scorer = make(folders["encoder"])
    config, before = scorer.reader.model.config, scores(scorer, groups)
    own = config._attn_implementation
    assert own != "eager"
    trained = objective(scorer.reader, scorer.config)
    items = trained.items(groups, Ledger())
    exact = trained.loss(scorer.reader, items).loss.item()
    assert config._attn_implementation == own  # float32 keeps it
    with torch.autocast("cpu", torch.bfloat16):
        loss = trained.loss(scorer.reader, items).loss
    assert config._attn_implementation == "eager"
    loss.backward()
    assert abs(loss.item() - exact) < 0.02 * exact
    for a, b in zip(before, scores(scorer, groups), strict=True):
        np.testing.assert_array_equal(a, b)
    assert config._attn_implementation == own
    scorer.trained = True
    save_scorer(scorer, tmp_path / "m")
    assert "eager" not in (tmp_path / "m" / "config.json").read_text()
