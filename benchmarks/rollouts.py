"""Rollouts with HH's lengths for the online benchmark, and the rows that they are elsewhere."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import rows
from rewarddiff.encoding import Encoder
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.policies.online.objective import Online
from rewarddiff.policies.online.rollouts import Rollout, read
from rewarddiff.trees import Packed, group_tree

SAMPLES = 4
Lengths = int | None
"""Tokens of every response; None: spread as HH's."""


def make_rollouts(prompts: int, lengths: Lengths, encoder: Encoder) -> list[Rollout]:
    """Make rollouts of random words with prompts of HH's lengths, and drawn advantages.

    Their log-probabilities are still to be read.
    """
    rng = random.Random(0)
    prompt_sizes = rows.lengths(rows.PROMPT_TOKENS, prompts, rng)
    sizes = [lengths or 0] * prompts * SAMPLES
    if lengths is None:
        sizes = rows.lengths(rows.RESPONSE_TOKENS, prompts * SAMPLES, rng)
    rollouts = []
    for i, prompt_size in enumerate(prompt_sizes):
        prompt = rows.question(prompt_size, rng)
        of_group = sizes[i * SAMPLES : (i + 1) * SAMPLES]
        responses = [encoder.response(prompt, rows.text(size - 1, rng)) for size in of_group]
        advantages: list[float] = []
        for response in responses:
            advantages += [rng.gauss(0, 1)] * len(response)
        rollouts.append(
            Rollout(
                id=str(i),
                tree=group_tree(encoder.prompt(prompt), responses),
                ended=(True,) * SAMPLES,
                trained=(True,) * SAMPLES,
                advantages=tuple(advantages),
            )
        )
    return rollouts


def with_logps(objective: Online, rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Return rollouts with the log-probabilities that the policy has now."""
    policy = objective.module.policy

    def forward(packed: Packed) -> list[Tensor]:
        return [policy(packed)]

    with torch.no_grad():
        columns = read(rollouts, policy.pack, forward, TrainConfig().microbatch_tokens)
    complete = []
    for rollout, column in zip(rollouts, columns, strict=True):
        complete.append(rollout.having(["logps"], column))
    return complete


@dataclass(frozen=True)
class Sample:
    """One response as one row."""

    prompt: Sequence[int]
    response: Sequence[int]
    logps: Sequence[float]
    advantage: float


def samples_of(rollouts: Sequence[Rollout]) -> list[Sample]:
    samples = []
    for rollout in rollouts:
        prompt = rollout.tree.nodes[0].tokens
        start = 0
        for response in rollout.responses:
            stop = start + len(response)
            samples.append(
                Sample(prompt, response, rollout.logps[start:stop], rollout.advantages[start])
            )
            start = stop
    return samples
