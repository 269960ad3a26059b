"""What the laboratory with a transformer can be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from rewarddiff.config import at_least, checked, positive
from rewarddiff.errors import UserError
from rewarddiff.lab.online.learned import RewardModelConfig
from rewarddiff.lab.online.policy import PretrainConfig
from rewarddiff.lab.online.world import LanguageConfig

WayName = Literal[
    "ppo",
    "ppo_unit_std",
    "contrastive_1",
    "contrastive_3",
    "contrastive_5",
    "contrastive_10",
    "contrastive_3_constant",
    "contrastive_3_std",
    "contrastive_difference",
    "group_difference",
    "reinforce",
    "reinforce_contrastive_3",
    "rloo",
    "grpo",
    "dpo",
    "weighted_dpo",
    "semi_online_dpo",
]
WAYS: tuple[WayName, ...] = get_args(WayName)


@checked
@dataclass(frozen=True)
class LearnConfig:
    """How a policy learns; the same for every way, as far as it has such an option.

    Attributes:
        turns: how often samples are drawn.
        batch_size: prompts of an optimizer step. num_mini_batches: steps in which all samples of a
            turn are seen once. num_iterations: how often all of them are seen.
        num_generations: responses to each prompt.
        lr: peak learning rate of online training. head_lr: of a value head.
        kl_coef: β of the KL in the reward. epsilon: bound of the probability ratio. vf_coef: weight
            of the value loss.
        beta: β of DPO. dpo_lr: peak learning rate of DPO. dpo_epochs: how often DPO sees its pairs.
    """

    turns: int = 24
    batch_size: int = 8
    num_mini_batches: int = 4
    num_iterations: int = 2
    num_generations: int = 4
    lr: float = 2e-3
    head_lr: float = 1e-2
    kl_coef: float = 0.02
    epsilon: float = 0.2
    vf_coef: float = 0.1
    beta: float = 0.1
    dpo_lr: float = 1e-3
    dpo_epochs: float = 2.0

    def __post_init__(self) -> None:
        at_least(self, 1, "turns", "batch_size", "num_mini_batches", "num_iterations")
        at_least(self, 2, "num_generations")
        at_least(self, 0, "kl_coef", "epsilon", "vf_coef")
        positive(self, "lr", "head_lr", "beta", "dpo_lr", "dpo_epochs")

    @property
    def updates(self) -> int:
        """Optimizer steps of one turn."""
        return self.num_mini_batches * self.num_iterations

    @property
    def prompts(self) -> int:
        """Prompts of one turn."""
        return self.batch_size * self.num_mini_batches

    @property
    def samples(self) -> int:
        """Responses that a way learns from."""
        return self.turns * self.prompts * self.num_generations


@checked
@dataclass(frozen=True)
class OnlineLabConfig:
    """How the laboratory with a transformer is run.

    Attributes:
        seeds: worlds, each with a language, a transformer, and noise of its own.
        noise: how often a failure is read as a success, and a success as a failure; 0: the true
            reward is learned from.
        noise_of_success: the second of these, where it is another.
        reward: what is learned from: the true reward as it is `misread`; or a reward model that has
            `learned` from comparisons by misread rewards. model: how that is trained.
        ways: of learning; each is trained in every world.
        language: of the world. pretrain: its transformer. learn: how that learns from the reward.
        best_of: n of best-of-n, from as many draws as the largest.
        draws: responses to each held-out prompt before and after training; half as many at the
            places of a curve in between. points: the places of a curve after the first.
        processes: that train side by side, each on one thread.
    """

    seeds: int = 6
    noise: float = 0.3
    noise_of_success: float | None = None
    reward: Literal["misread", "learned"] = "misread"
    ways: tuple[WayName, ...] = WAYS
    language: LanguageConfig = field(default_factory=LanguageConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    model: RewardModelConfig = field(default_factory=RewardModelConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    best_of: tuple[int, ...] = (1, 2, 4, 8, 16)
    draws: int = 4
    points: int = 6
    processes: int = 2

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds", "draws", "points", "processes")
        for name in ("noise", "noise_of_success"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}, should be from 0 to 1")
        if not self.ways:
            raise UserError("ways: name at least one")
        if len(set(self.ways)) < len(self.ways):
            raise UserError("ways: one is named twice; name each once")
        if not self.best_of or min(self.best_of) < 1:
            raise UserError(f"best_of: should be whole numbers of at least 1, is {self.best_of}")

    @property
    def c0(self) -> float:
        """How often a failure is read as a success."""
        return self.noise

    @property
    def c1(self) -> float:
        """How often a success is read as a failure."""
        return self.noise if self.noise_of_success is None else self.noise_of_success
