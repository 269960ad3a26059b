"""Ways to learn from a reward, each by the project's own training, at equal samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from rewarddiff.lab.online.bench import Bench
from rewarddiff.lab.online.config import LearnConfig, WayName
from rewarddiff.lab.online.measuring import curve
from rewarddiff.lab.online.pairs import pairs
from rewarddiff.lab.online.results import Point, Trained
from rewarddiff.lab.online.world import LONGEST
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.schedule import total_steps
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.policies.online.config import OnlineConfig
from rewarddiff.policies.online.estimators import AdvantageConfig
from rewarddiff.policies.online.group_rewards import RewardConfig, RewardFunctions
from rewarddiff.policies.online.kl import KLConfig
from rewarddiff.policies.online.semi_config import SemiOnlineConfig
from rewarddiff.policies.online.train import train_online
from rewarddiff.policies.policy import PolicyConfig, train_policy
from rewarddiff.records import Group
from rewarddiff.rewards import ScaleConfig

MICROBATCH = 16_384
"""Tokens of a forward pass: all of a batch at once."""


@dataclass(frozen=True)
class Online:
    """A way that draws from the policy as it learns.

    Attributes:
        title: in words.
        k: stored responses of the start to each prompt.
        compares: rewards are made of differences, by one who reads both responses.
    """

    title: str
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    k: int = 0
    compares: bool = False

    def learn(self, bench: Bench, policy: PreTrainedModel) -> list[Point]:
        """Train a policy, and return its curve."""
        functions = bench.reader.comparing if self.compares else bench.reader.pointwise
        config = self.config(bench.config.learn)
        return _drawn_anew(bench, policy, bench.prompts(self.k), functions, config)

    def config(self, learn: LearnConfig) -> OnlineConfig:
        """Return the settings of online training."""
        return OnlineConfig(
            reward=self.reward,
            advantage=self.advantage,
            kl=KLConfig(kl_coef=learn.kl_coef),
            num_generations=learn.num_generations,
            max_new_tokens=LONGEST,
            sampling_batch_size=learn.prompts * learn.num_generations,
            num_mini_batches=learn.num_mini_batches,
            num_iterations=learn.num_iterations,
            epsilon=learn.epsilon,
            vf_coef=learn.vf_coef,
            train=_loop(
                lr=learn.lr,
                head_lr=learn.head_lr,
                batch_size=learn.batch_size,
                max_steps=learn.turns * learn.updates,
                epochs=float(learn.turns),  # more than enough: a turn is a part of an epoch
            ),
        )


@dataclass(frozen=True)
class Offline:
    """A way that learns from pairs of draws from the start, labelled by the reward.

    Attributes:
        weighted: a second reader's difference is each pair's coefficient.
    """

    title: str
    weighted: bool = False

    def learn(self, bench: Bench, policy: PreTrainedModel) -> list[Point]:
        """Train a policy, and return its curve."""
        return _offline(self, bench, policy)


@dataclass(frozen=True)
class SemiOnline:
    """A way that learns from pairs of draws from the policy, as it is at the start of each turn."""

    title: str

    def learn(self, bench: Bench, policy: PreTrainedModel) -> list[Point]:
        """Train a policy, and return its curve."""
        return _drawn_anew(
            bench, policy, bench.prompts(), bench.reader.pointwise, self.config(bench.config.learn)
        )

    def config(self, learn: LearnConfig) -> SemiOnlineConfig:
        """Return the settings of semi-online training: all pairs of a turn in each of its steps."""
        return SemiOnlineConfig(
            objective=DPO(beta=learn.beta),
            steps_per_generation=1,
            num_iterations=learn.num_iterations,
            num_generations=learn.num_generations,
            pairs="all",
            max_new_tokens=LONGEST,
            sampling_batch_size=learn.prompts * learn.num_generations,
            train=_loop(
                lr=learn.dpo_lr,
                batch_size=learn.prompts,
                max_steps=learn.turns * learn.num_iterations,
                epochs=float(learn.turns),
            ),
        )


def _contrastive(k: int, scale: ScaleConfig, words: str) -> Online:
    reward = RewardConfig("contrastive", scale=scale)
    return Online(f"PPO, contrastive, k = {k}{words}", reward=reward, k=k)


PAPER = ScaleConfig("absolute_mean")
REINFORCE = AdvantageConfig("reinforce")

ALL: dict[WayName, Online | Offline | SemiOnline] = {
    "ppo": Online("PPO"),
    "ppo_unit_std": Online(
        "PPO, rewards over their standard deviation",
        reward=RewardConfig(scale=ScaleConfig("unit_std")),
    ),
    "contrastive_1": _contrastive(1, PAPER, ""),
    "contrastive_3": _contrastive(3, PAPER, ""),
    "contrastive_5": _contrastive(5, PAPER, ""),
    "contrastive_10": _contrastive(10, PAPER, ""),
    "contrastive_3_constant": _contrastive(3, ScaleConfig(), ", λ = 1"),
    "contrastive_3_std": _contrastive(3, ScaleConfig("std"), ", λ by standard deviations"),
    "contrastive_difference": Online(
        "PPO, contrastive by difference, k = 3",
        reward=RewardConfig("contrastive_difference"),
        k=3,
        compares=True,
    ),
    "group_difference": Online(
        "PPO, group difference", reward=RewardConfig("group_difference"), compares=True
    ),
    "reinforce": Online("REINFORCE", advantage=REINFORCE),
    "reinforce_contrastive_3": Online(
        "REINFORCE, contrastive, k = 3",
        advantage=REINFORCE,
        reward=RewardConfig("contrastive", scale=PAPER),
        k=3,
    ),
    "rloo": Online("RLOO", advantage=AdvantageConfig("rloo")),
    "grpo": Online("GRPO", advantage=AdvantageConfig("grpo")),
    "dpo": Offline("DPO"),
    "weighted_dpo": Offline("DPO, weighted by a second reader", weighted=True),
    "semi_online_dpo": SemiOnline("DPO, semi-online"),
}


def trained(name: WayName, bench: Bench) -> Trained:
    """Return what becomes of a policy that learns in this way."""
    began = time.process_time()
    points = ALL[name].learn(bench, bench.policy())
    return Trained(name, bench.world.seed, tuple(points), time.process_time() - began)


def _drawn_anew(
    bench: Bench,
    policy: PreTrainedModel,
    prompts: Sequence[Group],
    functions: RewardFunctions,
    config: OnlineConfig | SemiOnlineConfig,
) -> list[Point]:
    """Train on draws of every turn, and return the curve."""
    updates = config.turns.updates
    per_turn = bench.config.learn.samples // bench.config.learn.turns
    samples = [(step // updates + 1) * per_turn for step in range(config.train.max_steps or 0)]
    with _measured(bench, policy, samples) as (points, folder):
        train_online(
            policy,
            prompts,
            functions,
            config,
            encoder=bench.encoder,
            output=folder,
            seed=bench.world.seed,
            name="",
        )
    return points


def _offline(way: Offline, bench: Bench, policy: PreTrainedModel) -> list[Point]:
    learn = bench.config.learn
    config = PolicyConfig(
        objective=DPO(beta=learn.beta),
        train=_loop(
            lr=learn.dpo_lr, batch_size=learn.prompts, epochs=learn.dpo_epochs, eval_every=None
        ),
    )
    items = pairs(bench, weighted=way.weighted)
    steps = total_steps(len(items), config.train)
    with _measured(bench, policy, [learn.samples] * steps) as (points, folder):
        train_policy(
            policy,
            items,
            config,
            output=folder,
            weights="",
            seed=bench.world.seed,
            name="",
        )
    return points


@contextmanager
def _measured(
    bench: Bench, policy: PreTrainedModel, samples: Sequence[int]
) -> Iterator[tuple[list[Point], Path]]:
    """Give the curve that a training draws while this is open, and a folder that it may fill.

    Args:
        samples: that have been learned from after each of its steps.
    """
    points = bench.config.points
    with (
        TemporaryDirectory() as folder,
        curve(bench.measure, policy, samples, points=points) as measured,
    ):
        yield measured, Path(folder)


def _loop(**settings: float | int | None) -> TrainConfig:
    """Return settings of the loop for a training of seconds."""
    whole = TrainConfig(
        schedule="linear",
        warmup=0.1,
        precision="fp32",
        microbatch_tokens=MICROBATCH,
        save_every=0,
    )
    return replace(whole, **settings)  # type: ignore[arg-type]
