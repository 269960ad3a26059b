"""Makers of TRL's trainers on tiny models in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer
from trl_examples import SETTINGS, Make, policy, reward_model

from rewarddiff.scorers.neural.build import new_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig


@pytest.fixture
def dpo(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Make:
    """A DPO trainer of a class, on rows, with settings of TRL's."""

    def make(trainer: type[DPOTrainer], data: Any, **settings: Any) -> DPOTrainer:
        further = {key: settings.pop(key) for key in ("eval_dataset",) if key in settings}
        model = settings.pop("model", None) or policy(0)
        reference = settings.pop("reference", policy(1))
        return trainer(
            model=model,
            ref_model=reference,
            args=DPOConfig(
                output_dir=str(tmp_path / "out"), **{**SETTINGS, "beta": 0.3, **settings}
            ),
            train_dataset=Dataset.from_list(data) if isinstance(data, list) else data,
            processing_class=tiny_tokenizer,
            **further,
        )

    return make


@pytest.fixture
def reward(tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Make:
    """A reward trainer of a class, on rows, with settings of TRL's."""

    def make(trainer: type[RewardTrainer], data: list[dict[str, Any]], **settings: Any) -> Any:
        further = {key: settings.pop(key) for key in ("eval_dataset",) if key in settings}
        return trainer(
            model=reward_model(),
            args=RewardConfig(output_dir=str(tmp_path / "out"), **{**SETTINGS, **settings}),
            train_dataset=Dataset.from_list(data),
            processing_class=tiny_tokenizer,
            **further,
        )

    return make


def saved(kind: Literal["reward", "difference"], backbone: Path, folder: Path) -> Path:
    """A scorer's folder, as if it had been trained."""
    scorer = new_scorer(ScorerConfig(kind=kind, backbone=str(backbone)), seed=1)
    scorer.trained = True
    save_scorer(scorer, folder)
    return folder


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    return saved("reward", policy_folder, tmp_path_factory.mktemp("scorers") / "reward")


@pytest.fixture(scope="session")
def difference_folder(tmp_path_factory: pytest.TempPathFactory, policy_folder: Path) -> Path:
    return saved("difference", policy_folder, tmp_path_factory.mktemp("scorers") / "difference")
