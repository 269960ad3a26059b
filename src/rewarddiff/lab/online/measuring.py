"""A policy on held-out prompts: its true reward, and how far it is from where it started."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import PreTrainedModel

from rewarddiff.differences import Array
from rewarddiff.encoding import Encoder
from rewarddiff.lab.online.learned import Learned
from rewarddiff.lab.online.results import Point
from rewarddiff.lab.online.rewards import NoiseConfig, Reader
from rewarddiff.lab.online.world import LONGEST, World
from rewarddiff.records import Group
from rewarddiff.sampling.batches import Tokens, padding
from rewarddiff.sampling.generate import sample_tokens

TRUTH = Reader(NoiseConfig(0.0, 0.0), 0)


@dataclass(frozen=True)
class Responses:
    """Responses to the held-out prompts of a world.

    Attributes:
        gold: true rewards, (prompts, draws). reward: as they are read.
        kl: of the states that the draws came through, nats, (prompts, draws).
    """

    gold: Array
    reward: Array
    kl: Array


class Measure:
    """Draws from policies on the held-out prompts of one world, always by the same random numbers.

    Args:
        start: as it was pretrained; a copy of it is kept.
        draws: responses to each prompt at the ends of training; half as many in between.
    """

    def __init__(
        self,
        world: World,
        reader: Reader | Learned,
        encoder: Encoder,
        start: PreTrainedModel,
        draws: int,
    ) -> None:
        self.encoder = encoder
        self.reader = reader
        self.start = copy.deepcopy(start).requires_grad_(False).eval()
        self.texts = [asked.text for asked in world.held_out]
        self.prompts = [encoder.prompt(text) for text in self.texts]
        self.easy, self.hard = world.thirds(world.held_out)
        self.draws = draws

    @cached_property
    def start_point(self) -> Point:
        """What the start is worth."""
        return self.point(self.start, 0, self.draws)

    def point(self, policy: PreTrainedModel, samples: int, draws: int) -> Point:
        """Return what a policy is worth that has learned from so many samples."""
        responses = self.responses(policy, draws)
        by_prompt = responses.gold.mean(1)
        return Point(
            samples=samples,
            gold=float(by_prompt.mean()),
            easy=float(by_prompt[self.easy].mean()),
            hard=float(by_prompt[self.hard].mean()),
            kl=float(responses.kl.mean()),
            reward=float(responses.reward.mean()),
        )

    def responses(self, policy: PreTrainedModel, draws: int) -> Responses:
        """Return so many draws for each prompt."""
        tokens = self._drawn(policy, draws)
        responses = [self.encoder.text(drawn) for drawn in tokens]
        groups = []
        for place, prompt in enumerate(self.texts):
            of_prompt = responses[place * draws : (place + 1) * draws]
            groups.append(Group(prompt, prompt, tuple(of_prompt)))
        return Responses(
            gold=np.array(TRUTH.scores(groups)),
            reward=np.array(self.reader.scores(groups)),
            kl=self._kl(policy, tokens, draws).reshape(len(groups), draws),
        )

    def _drawn(self, policy: PreTrainedModel, draws: int) -> list[Tokens]:
        prompts = list(chain.from_iterable(repeat(prompt, draws) for prompt in self.prompts))
        ends = self.encoder.ends(self.texts)
        return sample_tokens(
            policy,
            prompts,
            [("measured", number) for number in range(len(prompts))],
            temperature=1.0,
            max_new_tokens=LONGEST,
            ends=ends,
            pad=padding(self.encoder.tokenizer, ends),
        )

    @torch.no_grad()
    def _kl(self, policy: PreTrainedModel, responses: Sequence[Tokens], draws: int) -> Array:
        r"""Return Σ_t KL(π(·|s_t) ‖ ρ(·|s_t)) over the states s_t of each response.

        Its mean over draws of π is KL(π ‖ ρ) of whole responses, by the chain rule, and it spreads
        less than Σ log π/ρ of the drawn tokens, whose expectation it is at each state.
        """
        rows = []
        for number, response in enumerate(responses):
            rows.append(torch.tensor([*self.prompts[number // draws], *response]))
        ids = pad_sequence(rows, batch_first=True)
        begin = len(self.prompts[0]) - 1  # the state that predicts the first token
        lengths = torch.tensor([len(response) for response in responses])
        is_state = torch.arange(ids.shape[1] - begin) < lengths[:, None]
        policy_logps = _logps(policy, ids)[:, begin:]
        start_logps = _logps(self.start, ids)[:, begin:]
        kl = (policy_logps.exp() * (policy_logps - start_logps)).sum(-1)
        return torch.where(is_state, kl, 0.0).sum(-1).double().numpy()


def _logps(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Return log-probabilities of every next token, (rows, columns, vocabulary).

    Rows are filled up at their end, which nothing before it reads.
    """
    call: Any = model
    logits: Tensor = call(ids, use_cache=False).logits
    return logits.float().log_softmax(-1)


@contextmanager
def curve(
    measure: Measure, policy: PreTrainedModel, samples: Sequence[int], *, points: int
) -> Iterator[list[Point]]:
    """Measure a policy between the optimizer steps that any loop makes while this is open.

    Args:
        samples: that have been learned from after each step, in the order of steps.
        points: how often, evenly; the last time after the last step.
    """
    curve = [measure.start_point]
    last = len(samples)
    places = {round(last * number / points) for number in range(1, points + 1)}
    steps = 0

    def note(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps in places:
            draws = measure.draws
            if steps < last:
                draws = max(1, draws // 2)
            curve.append(measure.point(policy, samples[steps - 1], draws))

    handle = register_optimizer_step_post_hook(note)
    try:
        yield curve
    finally:
        handle.remove()
