"""A reward model on the transformer's own body that has learned from comparisons, many of them wrong.

What it is shown are draws from the start, two and two, of which the misread rewards differ: with a
misreading of 30 % either way, a success beside a failure is preferred in 0.49 of 0.58 such pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rewarddiff.config import at_least, checked, positive
from rewarddiff.differences import Differences, Pair
from rewarddiff.errors import UserError
from rewarddiff.lab.online.rewards import Reader
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.online.group_rewards import RewardFunctions
from rewarddiff.records import Group
from rewarddiff.scorers.neural.build import load_scorer, save_scorer
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.scorer import RewardModel
from rewarddiff.scorers.neural.train import train_scorer


@checked
@dataclass(frozen=True)
class RewardModelConfig:
    """What a reward model learns from.

    Attributes:
        responses: draws from the start to each prompt; all of whose misread rewards differ are
            compared.
        epochs: how often it sees them. batch_size: prompts at a time. lr: peak learning rate.
    """

    responses: int = 8
    epochs: float = 3.0
    batch_size: int = 32
    lr: float = 1e-3

    def __post_init__(self) -> None:
        at_least(self, 2, "responses")
        at_least(self, 1, "batch_size")
        positive(self, "epochs", "lr")


@dataclass(frozen=True)
class Learned:
    """The rewards of a reward model; differences are differences of them."""

    scorer: RewardModel

    def scores(self, groups: Sequence[Group]) -> list[list[float]]:
        """Return the reward of every response of each group."""
        return [rewards.tolist() for rewards in self.scorer.rewards(groups)]

    def differences(
        self, groups: Sequence[Group], pairs: Sequence[Sequence[Pair]]
    ) -> list[Differences]:
        """Return the differences of the pairs of each group."""
        differences = []
        for rewards, of_group in zip(self.scores(groups), pairs, strict=True):
            differences.append(Differences.of_rewards(rewards, list(of_group)))
        return differences

    @property
    def pointwise(self) -> RewardFunctions:
        """What scores responses by themselves."""
        return RewardFunctions(self.scores)

    @property
    def comparing(self) -> RewardFunctions:
        """What compares two responses: it knows of no more than their rewards."""
        return RewardFunctions(self.scores)


def compared(groups: Sequence[Group], reader: Reader | Learned) -> list[Group]:
    """Return the groups with every pair of responses whose rewards differ; others are left out."""
    with_pairs = []
    for group, rewards in zip(groups, reader.scores(groups), strict=True):
        by_reward = replace(group, scores=tuple(rewards))
        comparisons = [c for c in by_reward.known_comparisons() if not c.tie]
        if comparisons:
            with_pairs.append(replace(group, comparisons=tuple(comparisons)))
    return with_pairs


def reward_model(
    config: RewardModelConfig, start: Path, draws: Sequence[Group], reader: Reader, folder: Path
) -> Learned:
    """Return a reward model that has learned from draws; it is kept in `folder`.

    Args:
        start: the folder of its body.
        reader: misreads what is compared.
    """
    if not folder.exists():
        settings = ScorerConfig(
            kind="reward",
            backbone=str(start),
            train=TrainConfig(
                lr=config.lr,
                head_lr=config.lr,
                epochs=config.epochs,
                batch_size=config.batch_size,
                microbatch_tokens=16_384,
                precision="fp32",
                save_every=0,
                eval_every=None,
            ),
        )
        with TemporaryDirectory() as beside:
            scorer, _ = train_scorer(
                settings, compared(draws, reader), output=Path(beside), seed=reader.seed, name=""
            )
        save_scorer(scorer, folder)
    kept = load_scorer(folder)
    if not isinstance(kept, RewardModel):
        raise UserError(f"{folder}: holds no reward model; remove it, and start again")
    return Learned(kept)
