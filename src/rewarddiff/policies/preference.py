"""What policies are trained on: items with one coefficient per comparison, and the reference's
log-probabilities.

The baseline is this same code with every coefficient at 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress, zip_longest
from typing import Any

import torch

from rewarddiff.data.ledger import Ledger, Reason
from rewarddiff.encoding import Encoded, Encoder
from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs, node_sums, switch_dropout_off
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.loop.train import accelerator_for
from rewarddiff.machine import Meter
from rewarddiff.policies.objectives import PolicyObjective
from rewarddiff.progress import task
from rewarddiff.rankings import potentials
from rewarddiff.records import Comparison, Group
from rewarddiff.store import WRITE_SECONDS, Store, fingerprint, remember
from rewarddiff.trees import Tree, group_tree, microbatches


@dataclass(frozen=True)
class Pairs:
    """Comparisons of one group with their columns.

    Attributes:
        coefficients: one weight each.
        strengths: by how much the chosen response is better, signed; () where no objective asks.
    """

    comparisons: tuple[Comparison, ...]
    coefficients: tuple[float, ...]
    strengths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("coefficients", "strengths"):
            column = getattr(self, name)
            if len(column) != len(self.comparisons) and (column or name == "coefficients"):
                raise ValueError(f"{len(self.comparisons)} comparisons, {len(column)} {name}")

    @classmethod
    def unweighted(cls, comparisons: Sequence[Comparison]) -> Pairs:
        """Every comparison at 1: the baseline."""
        return cls(tuple(comparisons), (1.0,) * len(comparisons))

    def where(self, keep: Sequence[bool]) -> Pairs:
        return Pairs(
            tuple(compress(self.comparisons, keep)),
            tuple(compress(self.coefficients, keep)),
            tuple(compress(self.strengths, keep)),
        )

    def cut(self, size: int) -> Iterator[Pairs]:
        """In parts of at most `size`, in order."""
        for start in range(0, len(self.comparisons), size):
            part = slice(start, start + size)
            yield Pairs(self.comparisons[part], self.coefficients[part], self.strengths[part])


@dataclass(frozen=True)
class PreferenceItem:
    """A group as a tree and the comparisons trained on, with one coefficient for each.

    Attributes:
        comparisons: places of chosen and rejected among the tree's responses.
        strengths: by how much the chosen one is better, signed; () where no objective asks.
        scores: of every response of the tree, higher is better; () where unknown.
        labels: responses labelled by themselves: place, whether desirable, coefficient.
        reference: log ρ(y|x) of every response in nats, summed over its tokens, once it has been
            computed.
        mismatch: the prompt with a response to another prompt; its own log ρ is
            `mismatch_reference`.
    """

    id: str
    tree: Tree
    comparisons: tuple[tuple[int, int], ...]
    coefficients: tuple[float, ...]
    strengths: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    labels: tuple[tuple[int, bool, float], ...] = ()
    reference: tuple[float, ...] = ()
    mismatch: Tree | None = None
    mismatch_reference: float = 0.0

    def __post_init__(self) -> None:
        if len(self.comparisons) != len(self.coefficients):
            raise ValueError(
                f"{self.id}: {len(self.comparisons)} comparisons, {len(self.coefficients)} coefficients"
            )

    @property
    def responses(self) -> int:
        return len(self.tree.nodes) - 1

    @property
    def best(self) -> int:
        """The response of the highest score, or the one that wins most often; of several, the
        first."""
        value = list(self.scores) or [0.0] * self.responses
        if not self.scores:
            for chosen, rejected in self.comparisons:
                value[chosen] += 1
                value[rejected] -= 1
        return max(range(self.responses), key=value.__getitem__)


ITEM_COMPARISONS = 8
"""A group with more comparisons, or labels, is cut into items of so many: a batch is never one
group's alone."""

Labels = Sequence[tuple[int, bool]]
"""Responses labelled by themselves, and whether each is desirable."""


def preference_items(
    encoded: Encoded, pairs: Pairs, *, whole: bool = False
) -> list[PreferenceItem]:
    """Items from a group, with its labels; a response is in the tree of an item only if the item
    says something of it.

    Args:
        whole: leave the group in one item: it is a list.
    """
    labels = encoded.labelled()
    if whole:
        return [_item(encoded, pairs, labels)] if pairs.comparisons or labels else []
    cut = (
        labels[start : start + ITEM_COMPARISONS]
        for start in range(0, len(labels), ITEM_COMPARISONS)
    )
    parts = zip_longest(pairs.cut(ITEM_COMPARISONS), cut)
    return [_item(encoded, part or Pairs.unweighted(()), own or ()) for part, own in parts]


def group_items(
    group: Group, pairs: Pairs, encoder: Encoder, ledger: Ledger, *, whole: bool = False
) -> list[PreferenceItem]:
    """Items from a group's text: its comparisons with their columns, and its labels, where the
    responses fit."""
    if not pairs.comparisons and not any(group.known_labels()):
        return []
    encoded = encoder.group(replace(group, comparisons=pairs.comparisons), ledger)
    if encoded is None:
        return []
    return preference_items(
        encoded, pairs.where([encoded.usable(c) for c in pairs.comparisons]), whole=whole
    )


def policy_items(
    groups: Iterable[tuple[Group, Pairs]],
    encoder: Encoder,
    ledger: Ledger,
    objective: PolicyObjective,
) -> list[PreferenceItem]:
    """Items of groups and the comparisons they are trained on; groups with nothing for the
    objective are counted.

    Raises:
        UserError: the objective reads strengths, and a group's comparisons have none.
    """
    items: list[PreferenceItem] = []
    for group, pairs in groups:
        if "strength" in objective.reads and pairs.comparisons and not pairs.strengths:
            raise UserError(
                f"{group.source or group.id}: objective {objective.name} reads by how much a response is better, and "
                "no strength is given: train by a recipe with `strength`, or use one that reads the order alone"
            )
        read = group if "labels" in objective.reads else replace(group, labels=())
        if not any(read.known_labels()) and all(c.tie for c in group.known_comparisons()):
            detail = (
                "labelled, not compared"
                if any(group.known_labels())
                else "no comparison, or only ties"
            )
            ledger.change(Reason.NO_ORDER, group, f"{detail}: not trained on")
        if objective.positive_strength and not all(kept := [s > 0 for s in pairs.strengths]):
            detail = f"{kept.count(False)} comparisons without a positive strength left out"
            ledger.change(Reason.NO_ORDER, group, detail)
            pairs = pairs.where(kept)
        items += group_items(read, pairs, encoder, ledger, whole=objective.whole_lists)
    return items


def check_groups(groups: Iterable[Group], objective: PolicyObjective) -> None:
    """Look at the groups before an objective is trained on them.

    Raises:
        UserError: they have labels only where it needs comparisons, or all labels are the same.
    """
    labels: set[bool] = set()
    for group in groups:
        if any(not c.tie for c in group.known_comparisons()):
            return
        labels.update(label for _, label in group.known_labels())
    if labels and "labels" not in objective.reads:
        raise UserError(
            f"objective {objective.name} needs comparisons, the data has single labelled responses: use objective kto"
        )
    if len(labels) == 1:
        one, other = ("desirable", "undesirable") if labels.pop() else ("undesirable", "desirable")
        raise UserError(
            f"objective {objective.name} learns from desirable and undesirable responses, here all are {one}: "
            f"bring {other} ones as well"
        )


def _item(encoded: Encoded, pairs: Pairs, labels: Labels) -> PreferenceItem:
    used = sorted(
        {i for c in pairs.comparisons for i in (c.chosen, c.rejected)} | {i for i, _ in labels}
    )
    place = {old: new for new, old in enumerate(used)}
    tree = group_tree(encoded.prompt, [encoded.responses[i] for i in used])
    places = tuple((place[c.chosen], place[c.rejected]) for c in pairs.comparisons)
    return PreferenceItem(
        encoded.group.id,
        tree,
        places,
        pairs.coefficients,
        pairs.strengths,
        _scores(encoded.group, pairs, used, places),
        tuple((place[i], label, 1.0) for i, label in labels),
    )


def _scores(
    group: Group, pairs: Pairs, used: Sequence[int], places: Sequence[tuple[int, int]]
) -> tuple[float, ...]:
    """The data's own scores, or those that explain the comparisons best; () where nothing is known
    of the order.

    Scores that contradict a comparison, as where coefficients flip it, are not used.
    """
    scores = group.scores
    if scores is not None and all(
        scores[c.chosen] >= scores[c.rejected] for c in pairs.comparisons
    ):
        return tuple(scores[i] for i in used)
    if not pairs.comparisons:
        return ()
    stated = [1.0 if c.strength is None else c.strength for c in pairs.comparisons]
    return tuple(potentials(len(used), places, pairs.strengths or stated).tolist())


def with_mismatch(items: Sequence[PreferenceItem]) -> list[PreferenceItem]:
    """Items with a response to the next prompt beside them: what KTO's z0 is read on."""
    found = []
    for i, item in enumerate(items):
        others = (items[(i + step) % len(items)] for step in range(1, len(items)))
        other = next((o for o in others if o.tree.nodes[0] != item.tree.nodes[0]), None)
        if other is None:
            raise UserError(
                "objective kto: all prompts are alike; z0 needs responses to another prompt"
            )
        response = other.tree.nodes[1 + i % other.responses]
        found.append(
            replace(item, mismatch=group_tree(item.tree.nodes[0].tokens, [response.tokens]))
        )
    return found


def with_reference(
    items: Sequence[PreferenceItem],
    policy: LogProbs,
    config: TrainConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: ReferenceMeter | None = None,
) -> list[PreferenceItem]:
    """Items with log ρ filled in: one pass before training, in the precision of training.

    The reference is the policy as it is now, with a peft adapter switched off.

    Args:
        weights: fingerprint of the reference's weights; with the tokens and the precision it is the
            store's key.
    """
    dtype = str(policy.trunk.inner.dtype)  # under adapters the frozen weights may be bf16

    def key(tree: Tree) -> str:
        return fingerprint(
            "logps",
            weights,
            config.precision,
            dtype,
            [[list(n.tokens), n.parent] for n in tree.nodes],
        )

    trees = [tree for item in items for tree in (item.tree, item.mismatch) if tree is not None]
    values = iter(
        remember(store, trees, key, partial(_reference_pass, policy, config, meter=meter))
    )
    known = [
        replace(item, reference=tuple(next(values))) for item in items if item.mismatch is None
    ]
    return known or [
        replace(i, reference=tuple(next(values)), mismatch_reference=next(values)[0]) for i in items
    ]


class ReferenceMeter(Meter):
    """What the reference pass of one training costs, also where it was interrupted and the store
    has what was read.

    Its tokens are counted when it begins, once: what was read before a kill is neither read nor
    counted again.

    Args:
        key: of what determines the training; under it the cost is kept in the store.
    """

    def __init__(self, store: Store | None = None, key: str = "") -> None:
        super().__init__()
        self._store, self._key, self._kept = store, key, time.monotonic()
        earlier = {} if store is None else store.get([key])
        if earlier:
            self.go_on(earlier[key])

    def begin(self, tokens: int) -> None:
        """Take notice that so many tokens are going to be read."""
        self.tokens = self.tokens or tokens
        self.keep()

    def keep(self, *, every: float = 0.0) -> None:
        """Write the cost until now to the store, at most once in `every` seconds."""
        if self._store is not None and time.monotonic() - self._kept >= every:
            self._store.put({self._key: self.so_far()})
            self._kept = time.monotonic()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.keep()


def _reference_pass(
    policy: LogProbs, config: TrainConfig, trees: Sequence[Tree], meter: ReferenceMeter | None
) -> Iterator[tuple[int, list[float]]]:
    if meter is not None:
        meter.begin(sum(map(len, trees)))
    accelerator = accelerator_for(config)
    policy.to(accelerator.device)
    switch_dropout_off(policy)
    model: Any = policy.model
    order = sorted(range(len(trees)), key=lambda i: len(trees[i]))
    off = model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
    with task("reference", sum(map(len, trees))) as progress, torch.no_grad(), off:
        for cut in microbatches([len(trees[i]) for i in order], config.microbatch_tokens):
            indices = [order[k] for k in cut]
            packed = policy.pack([trees[i] for i in indices])
            with accelerator.autocast():
                sums = node_sums(packed, policy(packed)).tolist()
            starts = [*packed.first.tolist(), packed.nodes]
            for place, i in enumerate(indices):
                yield i, sums[starts[place] + 1 : starts[place + 1]]
            progress.advance(sum(len(trees[i]) for i in indices))
            if meter is not None:
                meter.keep(every=WRITE_SECONDS)
