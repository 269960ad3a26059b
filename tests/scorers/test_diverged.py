"""Training that ends with finite weights, and with a scorer that reads nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rewarddiff.encoding import LengthConfig
from rewarddiff.errors import TrainingError
from rewarddiff.loop.train import TrainResult
from rewarddiff.records import Group
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.train import train_scorer


@pytest.fixture
def trained_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[nn.Module], None]], None]:
    """Have training leave what a function makes of the weights."""

    def use(spoils: Callable[[nn.Module], None]) -> None:
        def train(objective: Any, *_: Any, **__: Any) -> TrainResult:
            with torch.no_grad():
                spoils(objective.module)
            return TrainResult(1, {}, {})

        monkeypatch.setattr("rewarddiff.scorers.neural.train.train", train)

    return use


def silence(module: nn.Module, part: str) -> None:
    """Set every weight whose name holds this to 0."""
    names = [name for name, _ in module.named_parameters() if part in name]
    assert names
    for name, parameter in module.named_parameters():
        if part in name:
            parameter.zero_()


@pytest.mark.parametrize("backbone", ["decoder", "encoder"])
@pytest.mark.parametrize("kind", ["reward", "difference"])
def test_a_scorer_that_gives_all_responses_one_number_is_refused(
    folders: dict[str, Path],
    groups: list[Group],
    tmp_path: Path,
    backbone: str,
    kind: str,
    trained_as: Any,
) -> None:
    config = ScorerConfig(
        kind=kind, backbone=str(folders[backbone]), lengths=LengthConfig(max_response=64)
    )  # type: ignore[arg-type]
    part = "score" if backbone == "decoder" and kind == "reward" else "head"
    trained_as(lambda module: silence(module, part))
    with pytest.raises(
        TrainingError, match=f"^{kind} model: after training all responses have the same score: "
    ):
        train_scorer(config, groups, output=tmp_path)


def test_an_encoder_whose_tokens_see_no_others_is_refused(
    folders: dict[str, Path], groups: list[Group], tmp_path: Path, trained_as: Any
) -> None:
    # Its responses still differ, by their own tokens; loaded again it would be taken for a decoder.
    config = ScorerConfig(backbone=str(folders["encoder"]), lengths=LengthConfig(max_response=64))
    trained_as(lambda module: silence(module, "attention.output.dense"))
    with pytest.raises(
        TrainingError, match="after training no token of the encoder sees another one"
    ):
        train_scorer(config, groups, output=tmp_path)


def test_a_scorer_that_tells_responses_apart_is_given_back(
    folders: dict[str, Path], groups: list[Group], tmp_path: Path, trained_as: Any
) -> None:
    config = ScorerConfig(backbone=str(folders["encoder"]), lengths=LengthConfig(max_response=64))
    trained_as(lambda module: None)
    scorer, _ = train_scorer(config, groups, output=tmp_path)
    assert scorer.trained
