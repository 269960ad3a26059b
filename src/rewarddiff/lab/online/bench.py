"""What all ways share in the world of one seed: the start, the reward, what is measured."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
from transformers import LlamaForCausalLM, PreTrainedModel

from rewarddiff import files
from rewarddiff.differences import Array
from rewarddiff.encoding import Encoder
from rewarddiff.evaluation import best_of_n
from rewarddiff.lab.online.config import OnlineLabConfig
from rewarddiff.lab.online.learned import Learned, reward_model
from rewarddiff.lab.online.measuring import Measure, Responses
from rewarddiff.lab.online.policy import encoder, pretrained
from rewarddiff.lab.online.results import BestOf, Start
from rewarddiff.lab.online.rewards import NoiseConfig, Reader
from rewarddiff.lab.online.world import LONGEST, World, best
from rewarddiff.records import Group
from rewarddiff.sampling.batches import padding
from rewarddiff.sampling.generate import sample_tokens

STORED = 10
"""Responses of the start to each prompt, of which a baseline takes the first k."""


@dataclass(frozen=True)
class Bench:
    """One world with all that policies are trained and measured with.

    Attributes:
        start: the pretrained transformer; ways train copies of it.
    """

    config: OnlineLabConfig
    world: World
    reader: Reader | Learned
    encoder: Encoder
    start: PreTrainedModel
    measure: Measure

    def policy(self) -> PreTrainedModel:
        """Return a policy to train."""
        return copy.deepcopy(self.start)

    def prompts(self, k: int = 0) -> list[Group]:
        """Return the prompts to train on, each with k responses of the start, at most `STORED`.

        Those of a larger k begin with those of a smaller one.
        """
        if not k:
            return [asked.group for asked in self.world.prompts]
        return [group.with_responses(group.responses[:k]) for group in self._stored]

    @cached_property
    def _stored(self) -> list[Group]:
        return self.answered(self.prompts(), STORED, "stored")

    def answered(self, groups: Sequence[Group], k: int, draw: str) -> list[Group]:
        """Return groups with k responses of the start to each prompt.

        Args:
            draw: names what they are drawn for: others are drawn for something else.
        """
        prompts = [str(group.prompt) for group in groups]
        ends = self.encoder.ends(prompts)
        read = [self.encoder.prompt(prompt) for prompt in prompts]
        rows = list(product(range(len(groups)), range(k)))
        drawn = sample_tokens(
            self.start,
            [read[i] for i, _ in rows],
            [(self.world.seed, draw, i, j) for i, j in rows],
            temperature=1.0,
            max_new_tokens=LONGEST,
            ends=ends,
            pad=padding(self.encoder.tokenizer, ends),
        )
        texts = [self.encoder.text(tokens) for tokens in drawn]
        return [group.with_responses(texts[i * k : (i + 1) * k]) for i, group in enumerate(groups)]


def bench(config: OnlineLabConfig, seed: int, folder: Path) -> Bench:
    """Return the world of a seed; its start is kept in `folder`, and taken from there."""
    world = World(config.language, seed)
    reads = encoder()
    kept = folder / f"start-{seed}"
    files.recover(kept)
    if not kept.exists():
        model = pretrained(config.pretrain, world, reads)
        fresh = files.begin(kept)
        model.save_pretrained(fresh)
        reads.tokenizer.save_pretrained(fresh)
        files.replace(fresh, kept)
    # Read again also where it has just been made: every process then begins alike.
    start = LlamaForCausalLM.from_pretrained(kept)
    misread = Reader(NoiseConfig(config.c0, config.c1), seed)
    measure = Measure(world, misread, reads, start, config.draws)
    made = Bench(config, world, misread, reads, start, measure)
    if config.reward == "misread":
        return made
    draws = made.answered(made.prompts(), config.model.responses, "compared")
    learned = reward_model(config.model, kept, draws, misread, folder / f"scorer-{seed}")
    measure = Measure(world, learned, reads, start, config.draws)
    return replace(made, reader=learned, measure=measure)


def start_of(bench: Bench) -> Start:
    """Return what the world is like before anything is learned from a reward."""
    began = time.process_time()
    config = bench.config
    measure = bench.measure
    draws = measure.responses(bench.start, max(config.best_of))
    return Start(
        seed=bench.world.seed,
        best=best(bench.world.held_out),
        prompts=len(bench.world.prompts),
        held_out=len(bench.world.held_out),
        start=measure.start_point,
        misread=_misread(bench, draws),
        accuracy=accuracy(draws.reward, draws.gold),
        correlation=correlation(draws.reward),
        correlation_gold=correlation(draws.gold),
        best_of=tuple(_best_of(draws, n, measure) for n in config.best_of),
        seconds=time.process_time() - began,
    )


def _misread(bench: Bench, draws: Responses) -> float:
    if isinstance(bench.reader, Learned):
        return math.nan
    return float((draws.reward != draws.gold).mean())


def accuracy(rewards: Array, golds: Array) -> float:
    """Return how often a success has the higher reward of two draws to a prompt, a tie half.

    NaN where no prompt has a success and a failure.

    Args:
        rewards, golds: (prompts, draws).

    >>> accuracy(np.array([[0.0, 1.0, 1.0]]), np.array([[0.0, 1.0, 0.0]]))
    0.75
    """
    ahead = np.sign(rewards[:, :, None] - rewards[:, None, :])
    is_better = golds[:, :, None] > golds[:, None, :]
    if not is_better.any():
        return math.nan
    return float((ahead[is_better] + 1).mean() / 2)


def correlation(rewards: Array) -> float:
    """Return the correlation of a response's reward with that of another to the same prompt.

    It is taken over prompts, by all ordered pairs of their draws: cov(r, r′) over the variance of
    r. NaN where all rewards are equal, or of one draw.

    Args:
        rewards: (prompts, draws).

    >>> correlation(np.array([[0.0, 0.0], [1.0, 1.0]]))
    1.0
    """
    prompts, draws = rewards.shape
    centred = rewards - rewards.mean()
    variance = float(np.square(centred).mean())
    if draws < 2 or variance == 0:
        return float("nan")
    # Σ_{j≠k} r_j·r_k of a prompt is the square of its sum less the sum of its squares.
    products = np.square(centred.sum(1)) - np.square(centred).sum(1)
    return float(products.sum() / (prompts * draws * (draws - 1)) / variance)


def _best_of(draws: Responses, n: int, measure: Measure) -> BestOf:
    picked = best_of_n.expected(draws.reward, draws.gold, n)
    return BestOf(
        n=n,
        kl=float(best_of_n.kl(n)),
        gold=float(picked.mean()),
        easy=float(picked[measure.easy].mean()),
        hard=float(picked[measure.hard].mean()),
    )
