"""The reference's log-probabilities, read once before training, and what that costs."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rewarddiff.errors import TrainingError, UserError
from rewarddiff.forward import LogProbs, node_sums, switch_dropout_off
from rewarddiff.loop import sharding
from rewarddiff.loop.accelerator import accelerator_for
from rewarddiff.loop.filing import temporary_folder
from rewarddiff.loop.items import Filed, digest
from rewarddiff.loop.objective import TrainConfig
from rewarddiff.machine import Meter, freed_memory_is_kept
from rewarddiff.policies.items import PreferenceItem
from rewarddiff.policies.table import PreferenceTable
from rewarddiff.processes import from_every_process, shared
from rewarddiff.progress import task
from rewarddiff.ragged import Ragged, RaggedWriter
from rewarddiff.remembering import WRITE_SECONDS, remember
from rewarddiff.store import Store, fingerprint
from rewarddiff.trees import Tree, group_tree, microbatches

WINDOW = 2048
"""Items whose trees are in memory at a time while the reference is read."""

ANY_TREE = group_tree([0], [[0]])
"""What a process reads that has nothing left to read, where others compute with its weights."""


class Mismatched(Filed[PreferenceItem]):
    """Items with a response to another prompt beside each: KTO's z0 reads it.

    Args:
        rows: of every item, the place of the other one, and which of its responses it is.
    """

    def __init__(self, items: Sequence[PreferenceItem], rows: Ragged) -> None:
        self._items = items
        self._rows = rows
        self.sizes = sizes_of(items)

    def __len__(self) -> int:
        return len(self._items)

    def make(self, place: int) -> PreferenceItem:
        item = self._items[place]
        other, response = self._rows["mismatch"][place].tolist()
        tokens = self._items[other].tree.nodes[1 + response].tokens
        return replace(item, mismatch=group_tree(item.tree.nodes[0].tokens, [tokens]))

    def digest(self) -> str:
        return fingerprint(digest(self._items), self._rows.digest)


class Referred(Filed[PreferenceItem]):
    """Items with what the reference says of their responses.

    Args:
        rows: what `read_reference` has read.
        places: of the items that have a row, rising; the others have no reference.
        first: the row of the first of them.
    """

    def __init__(
        self, items: Sequence[PreferenceItem], rows: Ragged, places: Sequence[int], first: int = 0
    ) -> None:
        self._items = items
        self._rows = rows
        self._places = places
        self._first = first
        self.sizes = sizes_of(items)

    def __len__(self) -> int:
        return len(self._items)

    def make(self, place: int) -> PreferenceItem:
        item = self._items[place]
        number = bisect_left(self._places, place)
        if number == len(self._places) or self._places[number] != place:
            return item
        row = self._first + number
        mismatch = self._rows["mismatch"][row].tolist()
        return replace(
            item,
            reference=tuple(self._rows["reference"][row].tolist()),
            mismatch_reference=mismatch[0] if mismatch else 0.0,
        )

    def digest(self) -> str:
        return fingerprint(digest(self._items), self._rows.digest)


def sizes_of(items: Sequence[PreferenceItem]) -> Sequence[int]:
    """Return the tokens of every item."""
    return items.sizes if isinstance(items, Filed) else [len(item.tree) for item in items]


def with_mismatch(items: Sequence[PreferenceItem]) -> Sequence[PreferenceItem]:
    """Return items with a response to the next other prompt beside each: in files, if they are."""
    folder = temporary_folder()
    with RaggedWriter(Path(folder.name), {"mismatch": "q"}) as writer:
        for place in range(len(items)):
            other = _next_of_another_prompt(items, place)
            writer.add(mismatch=(other, place % _responses(items, other)))
    mismatched = Mismatched(items, Ragged(Path(folder.name), folder))
    return mismatched if isinstance(items, Filed) else list(mismatched)


def _next_of_another_prompt(items: Sequence[PreferenceItem], start: int) -> int:
    prompt = _prompt(items, start)
    for step in range(1, len(items)):
        other = (start + step) % len(items)
        if _prompt(items, other) != prompt:
            return other
    raise UserError("objective kto: all prompts are alike; z0 needs responses to another prompt")


def _prompt(items: Sequence[PreferenceItem], place: int) -> object:
    if isinstance(items, PreferenceTable):
        return items.prompt(place)
    return items[place].tree.nodes[0]


def _responses(items: Sequence[PreferenceItem], place: int) -> int:
    return items.responses(place) if isinstance(items, PreferenceTable) else items[place].responses


def with_reference(
    items: Sequence[PreferenceItem],
    policy: LogProbs,
    config: TrainConfig,
    *,
    weights: str,
    store: Store | None = None,
) -> list[PreferenceItem]:
    """Return items with log ρ, in memory; arguments as of `read_reference`."""
    rows = read_reference(items, policy, config, weights=weights, store=store)
    return list(Referred(items, rows, range(len(items))))


@shared()
def read_reference(
    items: Sequence[PreferenceItem],
    policy: LogProbs,
    config: TrainConfig,
    *,
    weights: str,
    store: Store | None = None,
    meter: ReferenceMeter | None = None,
) -> Ragged:
    """Return log ρ of every item's responses: one pass before training, in the precision of training.

    The reference is the policy as it is now, with a peft adapter switched off.

    Args:
        weights: fingerprint of the reference's weights; with the tokens and the precision it is the
            store's key.

    Returns:
        A row for each item: `reference`, its responses', and `mismatch`, its mismatched response's.
    """
    if meter is None:
        meter = ReferenceMeter()
    dtype = str(policy.trunk.inner.dtype)  # under adapters the frozen weights may be bf16

    def key(tree: Tree) -> str:
        nodes = [[list(node.tokens), node.parent] for node in tree.nodes]
        return fingerprint("logps", weights, config.precision, dtype, nodes)

    folder = temporary_folder()
    with RaggedWriter(Path(folder.name), {"reference": "d", "mismatch": "d"}) as writer:
        for start in range(0, len(items), WINDOW):
            window = items[start : start + WINDOW]
            part = Part(start // WINDOW, -(-len(items) // WINDOW))
            read = partial(_reference_pass, policy, config, meter, part)
            begin = partial(meter.begin, part)
            together = sharding.is_divided(policy)
            logps = iter(remember(store, _trees(window), key, read, begin=begin, together=together))
            for item in window:
                reference = next(logps)
                mismatch = [] if item.mismatch is None else next(logps)
                _require_finite(item, [*reference, *mismatch])
                writer.add(reference=reference, mismatch=mismatch)
    return Ragged(Path(folder.name), folder)


def _require_finite(item: PreferenceItem, logps: Sequence[float]) -> None:
    """Raise a TrainingError where the reference says no number of an item's responses."""
    if not all(map(math.isfinite, logps)):
        raise TrainingError(
            f"{item.id}: log-probabilities of the reference are {list(logps)}; stopped before the "
            "first update: the model's weights are damaged, or overflow in this precision"
        )


def _trees(items: Iterable[PreferenceItem]) -> list[Tree]:
    """Return the trees that are read of items, in their order."""
    trees = []
    for item in items:
        trees.append(item.tree)
        if item.mismatch is not None:
            trees.append(item.mismatch)
    return trees


class Part(NamedTuple):
    """Which of how many parts of the items is read."""

    number: int
    of: int

    @property
    def name(self) -> str:
        """What the progress line calls it."""
        return "reference" if self.of == 1 else f"reference, part {self.number + 1} of {self.of}"


class ReferenceMeter(Meter):
    """What the reference pass of one training costs, also where it was interrupted.

    The tokens of each part are counted once, when it begins: what was read before a kill is in the
    store, and is neither read nor counted again.

    Args:
        store: where the cost is kept; None: nowhere.
        key: of what determines the training; under it the cost is kept in the store.
    """

    def __init__(self, store: Store | None = None, key: str = "") -> None:
        super().__init__()
        self._store = store
        self._key = key
        self._kept_at = time.monotonic()
        self._begun = 0  # parts
        if store is not None:
            earlier = store.get([key])
            if earlier:
                self.go_on(earlier[key])

    def __enter__(self) -> ReferenceMeter:
        super().__enter__()
        return self

    def begin(self, part: Part, trees: Sequence[Tree]) -> None:
        """Take notice of all that is going to be read of a part, by whichever process."""
        if part.number >= self._begun:
            self.tokens += sum(map(len, trees))
            self._begun = part.number + 1
        self.keep()

    def so_far(self) -> dict[str, float | int | None]:
        return {**super().so_far(), "parts": self._begun}

    def go_on(self, earlier: Mapping[str, Any]) -> None:
        super().go_on(earlier)
        self._begun = int(earlier.get("parts", 1))

    def keep(self, *, every: float = 0.0) -> None:
        """Write the cost until now to the store, at most once in `every` seconds."""
        if self._store is not None and time.monotonic() - self._kept_at >= every:
            self._store.put({self._key: self.so_far()})
            self._kept_at = time.monotonic()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.keep()


def _reference_pass(
    policy: LogProbs, config: TrainConfig, meter: ReferenceMeter, part: Part, trees: Sequence[Tree]
) -> Iterator[tuple[int, list[float]]]:
    """Yield the place of every tree with log ρ of its responses, short trees first.

    Of a divided policy every process makes as many passes as the others.
    """
    total = sum(map(len, trees))
    accelerator = accelerator_for(config)
    policy.to(accelerator.device)
    switch_dropout_off(policy)
    model: Any = policy.model
    adapter_off = model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
    by_length = sorted(range(len(trees)), key=lambda i: len(trees[i]))
    sizes = [len(trees[i]) for i in by_length]
    cuts = list(microbatches(sizes, config.pass_tokens))

    def logps_of(places: Sequence[int]) -> list[list[float]]:
        packed = policy.pack([trees[i] for i in places])
        with accelerator.autocast():
            sums = node_sums(packed, policy(packed)).tolist()
        roots = [*packed.first.tolist(), packed.nodes]
        return [sums[root + 1 : end] for root, end in pairwise(roots)]

    idle = 0
    is_divided = sharding.is_divided(policy)
    if is_divided:
        idle = max(from_every_process(len(cuts))) - len(cuts)
    with (
        nullcontext() if is_divided else freed_memory_is_kept(),
        task(part.name, total) as progress,
        torch.no_grad(),
        adapter_off,
        sharding.read_only(policy),
    ):
        for cut in cuts:
            indices = [by_length[k] for k in cut]
            logps = logps_of(indices)
            is_finite = all(map(math.isfinite, chain.from_iterable(logps)))
            if not is_finite and not is_divided:
                # NaN spreads to all that is read in one row: read by itself, each tells whose it is.
                logps = [of_tree for i in indices for of_tree in logps_of([i])]
            yield from zip(indices, logps, strict=True)
            progress.advance(sum(len(trees[i]) for i in indices))
            meter.keep(every=WRITE_SECONDS)
        for _ in range(idle):
            policy(policy.pack([ANY_TREE]))
