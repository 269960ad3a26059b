"""How much there is to read: tokens of a sample of the data, and how training cuts them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from rewarddiff import models
from rewarddiff.data import Groups, Ledger
from rewarddiff.designs import DesignConfig, comparisons
from rewarddiff.encoding import Encoder, LengthConfig
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.schedule import total_steps
from rewarddiff.pipeline.planning.work import NOTHING, Tokens
from rewarddiff.pipeline.policy_recipe import PolicyRecipe
from rewarddiff.policies.items import Pairs, PreferenceItem
from rewarddiff.records import Comparison, Group
from rewarddiff.scorers.neural.config import ScorerConfig, Segments
from rewarddiff.scorers.neural.objectives import objective
from rewarddiff.scorers.neural.objectives.base import Batch
from rewarddiff.scorers.neural.readers import Forest
from rewarddiff.scorers.neural.texts import DecoderTexts, EncoderTexts, Reading, Texts
from rewarddiff.trees import Tree, microbatches

SAMPLED = 512
"""Prompts whose texts are tokenised; of larger data what they hold is scaled up."""


@dataclass(frozen=True)
class Amount:
    """What is read of some groups once.

    Attributes:
        items: of training, or groups.
        tokens: of all of them.
        sizes: tokens of each item of the sample. attended: pairs attended to in each.
    """

    items: float = 0.0
    tokens: Tokens = NOTHING
    sizes: tuple[int, ...] = ()
    attended: tuple[float, ...] = ()

    @cached_property
    def mean(self) -> float:
        """Tokens of an item."""
        return self.tokens.read / self.items if self.items else 0.0


@dataclass(frozen=True)
class Schedule:
    """How often what is trained on.

    Attributes:
        steps: of the optimizer. passes: forward passes in each.
        epochs: how often an item is read.
        largest: tokens of the largest forward pass. squares: pairs attended to in it.
        dev: how often the dev split is read.
    """

    steps: int
    passes: float
    epochs: float
    largest: int
    squares: float
    dev: float


def schedule(amount: Amount, config: TrainConfig, *, cuts_items: bool) -> Schedule:
    """Return the schedule of a training, from the sizes of the sampled items.

    Args:
        cuts_items: whether an item beyond `microbatch_tokens` is read in parts.
    """
    items = max(1, round(amount.items))
    steps = total_steps(items, config)
    if config.max_tokens is not None:
        of_a_step = max(1.0, amount.mean * config.batch_size)
        steps = max(1, min(steps, int(config.max_tokens // of_a_step)))
    epochs = min(steps * config.batch_size / items, steps / -(-items // config.batch_size))
    passes, largest, squares = _cut(amount, config)
    if cuts_items and largest > config.pass_tokens:
        squares *= config.pass_tokens / largest
        largest = config.pass_tokens
    dev = 0.0
    if config.eval_every is not None:
        dev = 2.0 + (steps // config.eval_every if config.eval_every else 0)
    return Schedule(steps, passes, epochs, largest, squares, dev)


def _cut(amount: Amount, config: TrainConfig) -> tuple[float, int, float]:
    """Return the mean number of forward passes of a step, and tokens and pairs of the largest one."""
    order = np.random.default_rng(0).permutation(len(amount.sizes)).tolist()
    passes: list[int] = []
    largest = (0, 0.0)
    for start in range(0, len(order), config.batch_size):
        batch = sorted(order[start : start + config.batch_size], key=lambda i: amount.sizes[i])
        cuts = list(microbatches([amount.sizes[i] for i in batch], config.pass_tokens))
        passes.append(len(cuts))
        for cut in cuts:
            tokens = sum(amount.sizes[batch[k]] for k in cut)
            squares = sum(amount.attended[batch[k]] for k in cut)
            largest = max(largest, (tokens, squares))
    return float(np.mean(passes)) if passes else 1.0, *largest


def sampled(groups: Groups, most: int = SAMPLED) -> Groups:
    """Return some groups, evenly spread over the data; all where they are few."""
    step = max(1, len(groups) // most)
    return groups.select(list(range(0, len(groups), step))[:most])


# --- policies -------------------------------------------------------------------------------------


def of_policy(policy: PolicyRecipe, encoder: Encoder, groups: Groups, most: int) -> Amount:
    """Return what an objective reads of groups: trees, and the logits of responses."""
    sample = sampled(groups, most)
    stream = policy.objective.stream(with_pairs(policy, sample), encoder, Ledger())
    trees = [_tree(item) for item in stream]
    predicted = sum(len(tree) - len(tree.nodes[0].tokens) for tree in trees)
    return _scaled(trees, predicted, len(groups) / max(1, len(sample)))


def _tree(item: PreferenceItem) -> Tree:
    return item.tree


def with_pairs(policy: PolicyRecipe, groups: Iterable[Group]) -> Iterator[tuple[Group, Pairs]]:
    """Yield groups with comparisons, as if a scorer had given what the policy asks for."""
    for group in groups:
        if policy.order is not None:
            scores = tuple(map(float, range(len(group.responses))))
            group = replace(group, scores=scores)
        decided = [comparison for comparison in group.known_comparisons() if not comparison.tie]
        pairs = Pairs.unweighted(decided)
        if policy.reads_strength:
            pairs = replace(pairs, strengths=(1.0,) * len(decided))
        yield group, pairs


def _scaled(trees: Sequence[Tree], predicted: float, factor: float) -> Amount:
    sizes = tuple(map(len, trees))
    attended = tuple(map(attended_in, trees))
    tokens = Tokens(sum(sizes), predicted, sum(attended)).times(factor)
    return Amount(factor * len(trees), tokens, sizes, attended)


def attended_in(tree: Tree) -> float:
    """Return the pairs attended to: each token looks at those before it in its node, and on the path to it.

    >>> from rewarddiff.trees import group_tree
    >>> attended_in(group_tree([1, 2, 3, 4], [[5, 6], [7, 8]]))  # 4²/2, and twice 2·4 + 2²/2
    28.0
    """
    before: list[int] = []
    pairs = 0.0
    for node in tree.nodes:
        above = 0
        if node.parent >= 0:
            above = before[node.parent] + len(tree.nodes[node.parent].tokens)
        before.append(above)
        pairs += len(node.tokens) * (above + len(node.tokens) / 2)
    return pairs


# --- scorers --------------------------------------------------------------------------------------


class _Counting(nn.Module):
    """What stands in for a reader: it has texts and counts tokens, and no weight."""

    def __init__(self, texts: Texts, *, segments: bool, encoder: bool) -> None:
        super().__init__()
        self.texts = texts
        self.segments = segments
        self.encoder = encoder
        self.learned = nn.ParameterDict()
        self.beside: nn.Linear | None = None

    def cost(self, readings: Sequence[Reading]) -> int:
        if self.encoder:
            return sum(len(part) for reading in readings for part in reading)
        return Forest(readings).size

    def attended(self, readings: Sequence[Reading]) -> float:
        if self.encoder:
            return float(sum(sum(map(len, reading)) ** 2 for reading in readings))
        return sum(map(attended_in, Forest(readings).trees()))


def counting(config: ScorerConfig, source: str, *, encoder: bool) -> Any:
    """Return the objective of a scorer on a reader without weights."""
    tokenizer = models.saved_tokenizer(source)
    joint = not config.reads_apart
    room = models.context_length(source)
    kind: Any = EncoderTexts if encoder else DecoderTexts
    segments = not joint or isinstance(config.head, Segments)
    reader: Any = _Counting(
        kind(tokenizer, config.lengths, room, joint=joint), segments=segments, encoder=encoder
    )
    return objective(reader, replace(config, odin=None))


def of_scorer(
    trained: Any,
    groups: Groups,
    most: int,
    *,
    design: DesignConfig | None = None,
    both: bool = False,
) -> Amount:
    """Return what a scorer reads of groups.

    Args:
        trained: as `counting` gives it.
        design: read the comparisons of a design in place of the data's.
        both: read each pair in both orders, as scorers are asked.
    """
    sample = sampled(groups, most)
    read: list[Group] = list(sample)
    if design is not None:
        read = [_designed(group, design) for group in sample]
    sizes: list[int] = []
    attended: list[float] = []
    for tokens_of_item, pairs in passes(trained, read):
        sizes.append(tokens_of_item)
        attended.append(pairs)
    factor = len(groups) / max(1, len(sample))
    head = trained.config.head
    if both and not trained.config.reads_apart and getattr(head, "orders", "both") == "one":
        factor *= 2
    tokens = Tokens(sum(sizes), 0.0, sum(attended)).times(factor)
    return Amount(factor * len(sizes), tokens, tuple(sizes), tuple(attended))


def passes(trained: Any, groups: Sequence[Group]) -> Iterator[tuple[int, float]]:
    """Yield the tokens of each item of groups, and the pairs attended to in it; see `of_scorer`."""
    for item in trained.items(groups, Ledger()):
        batch = Batch()
        trained.collect(batch, item)
        yield item.tokens, trained.module.attended(batch.readings)


def _designed(group: Group, design: DesignConfig) -> Group:
    """Return a group with the comparisons that a design asks for; a lone response has none."""
    count = len(group.responses)
    if count < 2:
        return group
    pairs = {tuple(sorted(pair)) for pair in comparisons(count, design)}
    return replace(group, comparisons=tuple(Comparison(a, b, 1.0) for a, b in sorted(pairs)))


# --- samples --------------------------------------------------------------------------------------


def mean_prompt(encoder: Encoder, groups: Groups, most: int) -> float:
    """Return the mean number of tokens of a prompt."""
    sample = sampled(groups, most)
    lengths = [len(encoder.prompt(group.prompt)) for group in sample]
    return float(np.mean(lengths)) if lengths else 0.0


def encoder_of(model: str, lengths: LengthConfig) -> Encoder:
    """Return what writes a policy's texts as tokens."""
    return Encoder(models.load_tokenizer(model), lengths, models.context_length(model))
