"""Draws from the start, compared by their rewards: what is learned from offline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rewarddiff.coefficients import CoefficientConfig, weigh
from rewarddiff.data.ledger import Ledger
from rewarddiff.lab.online.bench import Bench
from rewarddiff.lab.online.learned import compared
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.policies.objectives.pairs import DPO
from rewarddiff.records import Group


def pairs(bench: Bench, *, weighted: bool) -> list[PreferenceItem]:
    """Return as many draws from the start as online ways learn from, with what is preferred."""
    groups = labelled(bench)
    columns = [Pairs.unweighted(group.comparisons) for group in groups]
    if weighted:
        columns = _weighted(groups, bench)
    return DPO().items(zip(groups, columns, strict=True), bench.encoder, Ledger())


def labelled(bench: Bench) -> list[Group]:
    """Return draws from the start in groups, compared by their rewards; equal ones are not."""
    learn = bench.config.learn
    prompts = bench.world.prompts
    drawn = learn.samples // learn.num_generations
    # More than there are prompts come round again, each time with other draws.
    groups = []
    for number in range(drawn):
        asked = prompts[number % len(prompts)]
        groups.append(replace(asked.group, id=f"draw:{number}"))
    return compared(bench.answered(groups, learn.num_generations, "offline"), bench.reader)


def _weighted(groups: Sequence[Group], bench: Bench) -> list[Pairs]:
    """Return the comparisons with the coefficients that a second reader's differences make."""
    chosen = [[(c.chosen, c.rejected) for c in group.comparisons] for group in groups]
    differences = bench.reader.differences(groups, chosen)
    weights = weigh(differences, CoefficientConfig()).weights
    pairs = []
    for group, of_group in zip(groups, weights, strict=True):
        pairs.append(Pairs(group.comparisons, tuple(of_group.tolist())))
    return pairs
