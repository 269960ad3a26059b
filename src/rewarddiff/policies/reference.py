"""The reference's log-probabilities, read once before training, and what that costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from rewarddiff.errors import UserError
from rewarddiff.forward import LogProbs, node_sums, switch_dropout_off
from rewarddiff.loop.accelerator import accelerator_for
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.machine import Meter
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.progress import task
from rewarddiff.remembering import WRITE_SECONDS, remember
from rewarddiff.store import Store, fingerprint
from rewarddiff.trees import Tree, group_tree, microbatches


def with_mismatch(items: Sequence[PreferenceItem]) -> list[PreferenceItem]:
    """Return items with a response to the next other prompt beside them: KTO's z0 reads it."""
    mismatched = []
    for i, item in enumerate(items):
        prompt = item.tree.nodes[0].tokens
        other = _next_of_another_prompt(items, i)
        response = other.tree.nodes[1 + i % other.responses]
        mismatched.append(replace(item, mismatch=group_tree(prompt, [response.tokens])))
    return mismatched


def _next_of_another_prompt(items: Sequence[PreferenceItem], start: int) -> PreferenceItem:
    prompt = items[start].tree.nodes[0]
    for step in range(1, len(items)):
        other = items[(start + step) % len(items)]
        if other.tree.nodes[0] != prompt:
            return other
    raise UserError("objective kto: all prompts are alike; z0 needs responses to another prompt")


def with_reference(
    items: Sequence[PreferenceItem],
    policy: LogProbs,
    config: TrainConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: ReferenceMeter | None = None,
) -> list[PreferenceItem]:
    """Return items with log ρ: one pass before training, in the precision of training.

    The reference is the policy as it is now, with a peft adapter switched off.

    Args:
        weights: fingerprint of the reference's weights; with the tokens and the precision it is the
            store's key.
    """
    if meter is None:
        meter = ReferenceMeter()
    dtype = str(policy.trunk.inner.dtype)  # under adapters the frozen weights may be bf16

    def key(tree: Tree) -> str:
        nodes = [[list(node.tokens), node.parent] for node in tree.nodes]
        return fingerprint("logps", weights, config.precision, dtype, nodes)

    trees = []
    for item in items:
        trees.append(item.tree)
        if item.mismatch is not None:
            trees.append(item.mismatch)
    read = partial(_reference_pass, policy, config, meter)
    logps = iter(remember(store, trees, key, read))
    items_with_reference = []
    for item in items:
        response_logps = tuple(next(logps))
        mismatch_logp = 0.0
        if item.mismatch is not None:
            mismatch_logp = next(logps)[0]
        items_with_reference.append(
            replace(item, reference=response_logps, mismatch_reference=mismatch_logp)
        )
    return items_with_reference


class ReferenceMeter(Meter):
    """What the reference pass of one training costs, also where it was interrupted.

    Its tokens are counted once, when it begins: what was read before a kill is in the store, and
    is neither read nor counted again.

    Args:
        store: where the cost is kept; None: nowhere.
        key: of what determines the training; under it the cost is kept in the store.
    """

    def __init__(self, store: Store | None = None, key: str = "") -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._kept_at = time.monotonic()
        if store is not None:
            earlier = store.get([key])
            if earlier:
                self.go_on(earlier[key])

    def __enter__(self) -> ReferenceMeter:
        super().__enter__()
        return self

    def begin(self, tokens: int) -> None:
        """Take notice that so many tokens are going to be read."""
        if not self.tokens:
            self.tokens = tokens
        self.keep()

    def keep(self, *, every: float = 0.0) -> None:
        """Write the cost until now to the store, at most once in `every` seconds."""
        if self._store is not None and time.monotonic() - self._kept_at >= every:
            self._store.put({self._key: self.so_far()})
            self._kept_at = time.monotonic()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.keep()


def _reference_pass(
    policy: LogProbs, config: TrainConfig, meter: ReferenceMeter, trees: Sequence[Tree]
) -> Iterator[tuple[int, list[float]]]:
    """Yield the place of every tree with log ρ of its responses, short trees first."""
    total = sum(map(len, trees))
    meter.begin(total)
    accelerator = accelerator_for(config)
    policy.to(accelerator.device)
    switch_dropout_off(policy)
    model: Any = policy.model
    adapter_off = model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
    by_length = sorted(range(len(trees)), key=lambda i: len(trees[i]))
    sizes = [len(trees[i]) for i in by_length]
    with task("reference", total) as progress, torch.no_grad(), adapter_off:
        for cut in microbatches(sizes, config.microbatch_tokens):
            indices = [by_length[k] for k in cut]
            packed = policy.pack([trees[i] for i in indices])
            with accelerator.autocast():
                sums = node_sums(packed, policy(packed)).tolist()
            roots = [*packed.first.tolist(), packed.nodes]
            for place, i in enumerate(indices):
                yield i, sums[roots[place] + 1 : roots[place + 1]]
            progress.advance(sum(len(trees[i]) for i in indices))
            meter.keep(every=WRITE_SECONDS)
