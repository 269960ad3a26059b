"""What is asked of language models behind servers: calls, tokens and their price."""

from __future__ import annotations

from dataclasses import dataclass

from rewarddiff.data import Groups
from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.pipeline.canaries import PROMPTS, TEXTS
from rewarddiff.pipeline.contrasts import compared_pairs
from rewarddiff.pipeline.planning.amounts import sampled
from rewarddiff.pipeline.recipe import Recipe
from rewarddiff.records import Group
from rewarddiff.scorers.judging.cost import CHARACTERS_PER_TOKEN, Estimate, estimate
from rewarddiff.scorers.judging.options import Judge


@dataclass(frozen=True)
class Calls:
    """Calls, tokens read and written, and the price; None where the options name none."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    price: float | None = None

    @classmethod
    def of(cls, asked: Estimate) -> Calls:
        """Return what an estimate says."""
        return cls(asked.calls, asked.prompt_tokens, asked.completion_tokens, asked.price)

    def __add__(self, other: Calls) -> Calls:
        prices = [price for price in (self.price, other.price) if price is not None]
        return Calls(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            sum(prices) if prices else None,
        )


NO_CALLS = Calls()


def of_groups(judge: Judge, groups: Groups, design: DesignConfig | None = None) -> Calls:
    """Return what asking about the comparisons of groups takes, from a sample of them."""
    sample = sampled(groups)
    messages: list[str] = []
    for group in sample:
        pairs = [(c.chosen, c.rejected) for c in group.known_comparisons()]
        if design is not None:
            pairs = comparisons(len(group.responses), design)
        messages += [_message(judge, group, a, b) for a, b in pairs]
    factor = _orders(judge) * len(groups) / max(1, len(sample))
    return Calls.of(estimate(messages, judge).times(factor))


def of_pairs(judge: Judge, prompt: float, new: float, pairs: float) -> Calls:
    """Return what asking about pairs of samples takes, were each as long as it may be.

    Args:
        prompt, new: tokens of a prompt and of a sample.
    """
    group = Group("", "x" * round(CHARACTERS_PER_TOKEN * prompt), ())
    sample = "x" * round(CHARACTERS_PER_TOKEN * new)
    message = judge.template.message(group.prompt, sample, sample, judge.instruction)
    return Calls.of(estimate([message], judge).times(_orders(judge) * pairs))


def of_verdicts(judge: Judge, recipe: Recipe, groups: Groups, prompts: int) -> Calls:
    """Return what comparing a recipe's policies takes, with the answers that should lose."""
    sample = sampled(groups)
    characters = [len(str(group.prompt)) for group in sample]
    prompt = sum(characters) / max(1, len(characters)) / CHARACTERS_PER_TOKEN
    pairs = len(compared_pairs(recipe)) * prompts + len(TEXTS) * min(PROMPTS, prompts)
    return of_pairs(judge, prompt, recipe.evaluation.sampling.max_new_tokens, pairs)


def of_samples(prompts: int, prompt: float, new: float) -> Calls:
    """Return what asking a server for samples takes."""
    return Calls(prompts, round(prompts * prompt), round(prompts * new))


def _message(judge: Judge, group: Group, a: int, b: int) -> str:
    first, second = group.responses[a], group.responses[b]
    return judge.template.message(group.prompt, first, second, judge.instruction)


def _orders(judge: Judge) -> int:
    return 2 if judge.orders == "both" else 1
