"""What a policy draws and reads that learns from its own samples, were each as long as it may be."""

from __future__ import annotations

from typing import NamedTuple

from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.schedule import turns_within
from rewarddiff.pipeline.planning.amounts import Amount
from rewarddiff.pipeline.planning.work import Tokens
from rewarddiff.pipeline.policy_recipe import AnyOnline, OnlineRecipe


class Rollouts(NamedTuple):
    """What a policy draws that learns from its own samples.

    Attributes:
        steps: of the optimizer.
        prompts: for which responses are drawn, over all turns. responses: to each.
        new: tokens of one.
        reads: how often training reads a sample.
    """

    steps: int
    prompts: float
    responses: int
    new: int
    reads: float

    @property
    def drawn(self) -> float:
        """All responses that are drawn."""
        return self.prompts * self.responses

    def amount(self, prompt: float, of_a_batch: int) -> Amount:
        """Return what training reads of the samples once.

        Args:
            prompt: tokens of one. of_a_batch: prompts whose samples an optimizer step takes.
        """
        written = self.responses * self.new
        attended = prompt**2 / 2 + written * (prompt + self.new / 2)
        tokens = Tokens(prompt + written, written, attended).times(self.prompts)
        sizes = (round(prompt + written),) * of_a_batch
        return Amount(self.prompts, tokens, sizes, (attended,) * of_a_batch)


def rollouts(online: AnyOnline, config: TrainConfig, prompts: int) -> Rollouts:
    """Return what is drawn in a training on so many prompts."""
    turns = online.turns
    steps = turns_within(prompts, config, turns)
    drawn = steps / turns.iterations * config.batch_size
    responses = online.num_generations
    reads = float(turns.iterations)
    if isinstance(online, OnlineRecipe) and online.baseline is not None:
        responses += online.baseline.k if online.baseline.file is None else 0
    return Rollouts(steps, drawn, responses, online.max_new_tokens, reads)
