"""The scorer: what the reward model and the difference model have in common for those who use
them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from rewarddiff.coefficients import both_orders
from rewarddiff.data import prompt_hashes
from rewarddiff.designs import DesignConfig
from rewarddiff.errors import UserError
from rewarddiff.progress import task
from rewarddiff.records import Group, prompt_text
from rewarddiff.scorers.neural import heads
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.readers import Reader
from rewarddiff.scorers.neural.texts import Page, Reading
from rewarddiff.scorers.ranking import rank
from rewarddiff.store import Store, fingerprint, remember

Array = NDArray[np.float64]
Pair = tuple[int, int]
Shown = tuple[int, ...]
"""The responses of a reading, in their order."""

READ_TOKENS = 8192
"""Tokens read at a time outside training; changes memory and speed only. A group's comparisons are
read together where they are no more."""


class Scorer:
    """A trained (or fresh) scorer.

    Attributes:
        kind: "reward" or "difference".
        config: how it was made.
        reader: the module.
        temperature: T fitted on held-out comparisons (of a difference model on the mean of both
            orders): σ(d / T) is then the probability to be preferred. None where it was not.
        learned: what its loss learned beside the model: τ of ties, cut-points of grades.
        trained: whether its head ever was; a scorer that was not cannot be saved.
        data: fingerprint of what it was trained on.
        precision: of reading: fp32, or bf16 for speed.
        name: what errors call it: the folder it was loaded from, or its name in a recipe.
        prompts: hashes of the prompts it was trained on, as `data.prompt_hashes` makes them; None
            where not known.
    """

    def __init__(
        self, config: ScorerConfig, reader: Reader, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.config = config
        self.reader = reader
        self.tokenizer = tokenizer
        self.temperature: float | None = None
        self.learned: dict[str, list[float]] = {}
        self.trained = False
        self.data = ""
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.name = "the scorer"
        self.prompts: frozenset[str] | None = None

    def __repr__(self) -> str:
        head = f", head={self.config.head!r}" if self.kind == "difference" else ""
        state = "trained" if self.trained else "not trained"
        temperature = "" if self.temperature is None else f", T={self.temperature:.3g}"
        return (
            f"Scorer({self.kind!r}{head}, backbone={self.config.backbone!r}, {state}{temperature})"
        )

    @property
    def kind(self) -> Literal["reward", "difference"]:
        return self.config.kind

    def to(self, device: torch.device) -> Scorer:
        """Move the module; returns the scorer itself."""
        self.reader.to(device)
        return self

    def weigh(self, aspects: Mapping[str, float]) -> Scorer:
        """Give the aspects other weights; returns the scorer itself. A temperature fitted with
        others is forgotten.

        Raises:
            UserError: these are not the scorer's aspects.
        """
        known = self.config.aspects
        if set(aspects) != set(known):
            own = ", ".join(known) or "none"
            raise UserError(
                f"aspects: weights for {', '.join(aspects)}, but the scorer's aspects are: {own}"
            )
        if any(aspects[name] != weight for name, weight in known.items()):
            self.temperature = None
            self.config = replace(self.config, aspects={name: aspects[name] for name in known})
        return self

    def differences(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        *,
        orders: Literal["both", "one"] = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """d(x, a, b) in logits for the pairs (a, b) of each group; positive where a is better.

        A reward model gives r(a) − r(b), head general what it says, antisymmetric to the bit.
        Another difference model gives, for `orders` both, ½(d(a, b) − d(b, a)), which is so too and
        0 for a = b; for one, d(a, b) as read with a first.

        Args:
            comparisons: for every group, pairs of indices of its responses.
            store: where values are kept and found again.
            progress: name of the progress line; None: none.

        Returns:
            One array per group, in the order of its pairs.
        """
        found = self.by_head(groups, comparisons, orders=orders, store=store, progress=progress)
        return [heads.combined(values, self.config.head_weights) for values in found]

    def spreads(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        *,
        orders: Literal["both", "one"] = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """How sure the scorer is: the standard deviation of d over its heads, for the pairs of each
        group.

        Without a store everything is read for it again; `by_head` gives what this and `differences`
        are made of.

        Raises:
            UserError: the scorer has one head, or none that say the same thing.
        """
        self.require_spread()
        found = self.by_head(groups, comparisons, orders=orders, store=store, progress=progress)
        return [heads.spread(values) for values in found]

    def require_spread(self) -> None:
        """Raise a UserError unless the scorer has several heads for one thing."""
        if not self.config.spreads:
            cause = "a head for each aspect" if self.config.aspects else "one head"
            raise UserError(
                f"this scorer has {cause}, and so no spread: train one with heads, as in heads: 5"
            )

    def by_head(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        *,
        orders: Literal["both", "one"] = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """What every head says, in the order of `ScorerConfig.aspects`: d as in `differences`, but
        (pairs, heads)."""
        if orders == "one" and not self.config.pointwise:
            return self._one_order(groups, comparisons, store, progress)
        both = self._orders(groups, comparisons, store, progress)
        return [both_orders(values[:, 0], values[:, 1]) for values in both]

    def readings(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        *,
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """Both single orders, (pairs, 2) per group: d(a, b) as read, and d(b, a) as read, not
        oriented."""
        both = self._orders(groups, comparisons, store, progress)
        return [heads.combined(values, self.config.head_weights) for values in both]

    def scores(
        self,
        groups: Sequence[Group],
        *,
        design: DesignConfig | None = None,
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Array]:
        """One number per response, higher is better.

        A reward model gives r(x, y). A difference model has no score of a response alone: it gives
        the mean of d̄(y, y') over the group's other responses (a Borda count of differences; 0 in a
        group of one).

        Args:
            design: of a difference model: the comparisons to read instead of all in both orders.
                The scores are then the potentials, whose own differences come closest to those
                read; where all are read they are the Borda count times (k − 1)/k.
        """
        sizes = [len(group.responses) for group in groups]
        if self.kind == "reward":
            alone = [[(i,) for i in range(n)] for n in sizes]
            read = self._read(groups, self._pages(groups), alone, store, progress)
            return [self._rewards(values) for values in read]
        if design is not None:
            return [
                found.scores for found in rank(self, groups, design, store=store, progress=progress)
            ]
        pairs = [list(combinations(range(n), 2)) for n in sizes]
        differences = self.differences(groups, pairs, store=store, progress=progress)
        scores = []
        for n, own, d in zip(sizes, pairs, differences, strict=True):
            total = np.zeros(n)
            for (a, b), value in zip(own, d, strict=True):
                total[a] += value
                total[b] -= value
            scores.append(total / max(1, n - 1))
        return scores

    def measured(
        self, groups: Iterable[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[dict[str, Any]]:
        """Every labelled comparison with what the scorer says of it: the fields of
        `evaluation.ScoredComparison`.

        Ties are in, with strength 0. Lengths are in characters. Groups of one prompt have one
        `prompt`.
        """
        groups = list(groups)
        known = [list(group.known_comparisons()) for group in groups]
        pairs = [[(c.chosen, c.rejected) for c in comparisons] for comparisons in known]
        apart: list[dict[Shown, Array]] = [{} for _ in groups]
        if self.config.pointwise:
            apart = self._said(groups, self._pages(groups), pairs, store, progress)
            values = self._gaps(apart, pairs)
        else:
            values = self._orders(groups, pairs, store, progress)
        weights, aspects = self.config.head_weights, list(self.config.aspects)
        trained_on = [self.trained_on(group) for group in groups]
        return [
            {
                "group": group.id,
                "prompt": fingerprint(prompt_text(group.prompt)),
                "d": float(heads.combined(d[0], weights)),
                "d_swapped": None
                if self.config.pointwise
                else float(heads.combined(d[1], weights)),
                "spread": float(heads.spread(both_orders(d[0], d[1])))
                if self.config.spreads
                else None,
                "aspect": float(both_orders(d[0], d[1])[aspects.index(group.subset)])
                if group.subset in aspects
                else None,
                "strength": c.strength,
                "chosen_length": len(group.responses[c.chosen]),
                "rejected_length": len(group.responses[c.rejected]),
                "pair": (c.chosen, c.rejected),
                "rewards": self._rewards_of(own, c.chosen, c.rejected),
                "subset": group.subset,
                "styles": (group.styles[c.chosen], group.styles[c.rejected])
                if group.styles
                else None,
                "trained_on": seen,
            }
            for group, comparisons, read, own, seen in zip(
                groups, known, values, apart, trained_on, strict=True
            )
            for c, d in zip(comparisons, read, strict=True)
        ]

    def trained_on(self, group: Group) -> bool | None:
        """Whether the scorer was trained on the group's prompt; None where that is not known."""
        return None if self.prompts is None else not self.prompts.isdisjoint(prompt_hashes([group]))

    def cut(self, groups: Iterable[Group]) -> dict[str, int]:
        """Of how many groups a `prompt` or a `response` is read in part, for the limits of length
        or of the context."""
        counts = {"prompt": 0, "response": 0}
        texts = self.reader.texts
        for group in groups:
            page, found = texts.page(group), set[str]()
            for c in group.known_comparisons():
                pair = (c.chosen, c.rejected)
                for shown in zip(pair) if self.config.pointwise else (pair, pair[::-1]):
                    found |= page.cut | texts.cut(page, *shown)
            for part in found:
                counts[part] += 1
        return counts

    def shown(self, pairs: Iterable[Pair]) -> list[Shown]:
        """The responses of every reading that these comparisons of a group take, each comparison
        named once."""
        together = list(pairs)
        alone = [(i,) for i in sorted({i for pair in together for i in pair})]
        if self.config.pointwise:
            return [*alone]
        return [*together]

    @cached_property
    def fingerprint(self) -> str:
        """Of weights and settings: what a stored value depends on besides its text. Of the weights
        when first asked."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.reader.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return fingerprint(digest.hexdigest(), self.kind, self.reader.segments)

    def _rewards(self, values: Array) -> Array:
        """r of every response from what the heads give, (responses,) or (responses, heads)."""
        return heads.combined(values.reshape(len(values), -1), self.config.head_weights)

    def _rewards_of(self, read: Mapping[Shown, Array], *responses: int) -> tuple[float, ...] | None:
        """r of these responses; None of a difference model."""
        if self.kind != "reward":
            return None
        return tuple(self._rewards(np.stack([read[i,] for i in responses])).tolist())

    def _orders(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """What every head says of both orders, (pairs, 2, heads) per group, not oriented."""
        if self.config.pointwise:
            return self._gaps(
                self._said(groups, self._pages(groups), comparisons, store, progress), comparisons
            )
        twice = [[order for a, b in pairs for order in ((a, b), (b, a))] for pairs in comparisons]
        read = self._one_order(groups, twice, store, progress)
        return [values.reshape(-1, 2, self.config.head_count) for values in read]

    def _one_order(
        self,
        groups: Sequence[Group],
        comparisons: Sequence[Sequence[Pair]],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """What every head says of pairs as they stand, (pairs, heads) per group."""
        pages, count = self._pages(groups), self.config.head_count
        read = self._said(groups, pages, comparisons, store, progress)
        return [
            np.array([own[pair] for pair in pairs]).reshape(-1, count)
            for own, pairs in zip(read, comparisons, strict=True)
        ]

    def _gaps(
        self, apart: Sequence[Mapping[Shown, Array]], comparisons: Sequence[Sequence[Pair]]
    ) -> list[Array]:
        """The gap of every pair of responses that were read by themselves, and its negative: as
        `_orders`."""
        found = []
        for own, pairs in zip(apart, comparisons, strict=True):
            if not pairs:
                found.append(np.zeros((0, 2, self.config.head_count)))
                continue
            first, second = (
                torch.from_numpy(np.stack([own[pair[k],] for pair in pairs])) for k in (0, 1)
            )
            gap = heads.gaps(first, second, self.config.head_width).numpy()
            found.append(np.stack([gap, -gap], axis=1))
        return found

    def _pages(self, groups: Iterable[Group]) -> list[Page]:
        return [self.reader.texts.page(group) for group in groups]

    def _said(
        self,
        groups: Sequence[Group],
        pages: Sequence[Page],
        comparisons: Sequence[Sequence[Pair]],
        store: Store | None,
        progress: str | None,
    ) -> list[dict[Shown, Array]]:
        """Of each group, what the head gives for every reading that its comparisons take."""
        shown = [self.shown(pairs) for pairs in comparisons]
        values = self._read(groups, pages, shown, store, progress)
        return [
            dict(zip(own, found, strict=True)) for own, found in zip(shown, values, strict=True)
        ]

    def _read(
        self,
        groups: Sequence[Group],
        pages: Sequence[Page],
        responses: Sequence[Sequence[Shown]],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """Return the reader's numbers for each reading of each group; equal texts are read once.

        All that a scorer says is made of these numbers, so this is where one that is none is
        refused.

        Raises:
            UserError: a number is NaN or infinite.
        """
        texts = self.reader.texts
        readings: list[Reading] = [
            texts.reading(page, *indices)
            for page, own in zip(pages, responses, strict=True)
            for indices in own
        ]
        unique = sorted(set(readings))  # texts that begin alike stand together
        key = lambda reading: fingerprint("score", self.fingerprint, self.precision, reading)  # noqa: E731
        compute = lambda missing: self._compute(missing, progress)  # noqa: E731
        found = dict(zip(unique, remember(store, unique, key, compute), strict=True))
        values = iter([found[reading] for reading in readings])
        numbers = [np.array([next(values) for _ in own], dtype=np.float64) for own in responses]
        self._require_finite(groups, numbers)
        return numbers

    def _require_finite(self, groups: Sequence[Group], numbers: Sequence[Array]) -> None:
        """Raise a UserError where a reading has a number that is not finite.

        Args:
            numbers: of each group, (readings,) or (readings, numbers of the heads).
        """
        count = lacking = 0
        first = None
        for group, rows in zip(groups, numbers, strict=True):
            finite = np.isfinite(rows).all(axis=tuple(range(1, rows.ndim)))
            bad = int((~finite).sum())
            count, lacking = count + len(rows), lacking + bad
            if bad and first is None:
                first = group
        if first is None:
            return
        read = "responses" if self.config.pointwise else "readings"
        raise UserError(
            f"{self.name}: {lacking} of {count} {read} get no finite number, the first of them in "
            f"{first.source or first.id}: the model diverged, or its weights overflow in {self.precision}; "
            "train it again with a smaller lr"
        )

    def _values(self, readings: Sequence[Reading]) -> Array:
        """The reader's numbers for readings in one batch, (readings,) or (readings, numbers of the
        heads)."""
        autocast = torch.autocast(
            self.reader.device.type, torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.no_grad(), autocast:
            return np.array(self.reader(readings).tolist(), dtype=np.float64)

    def _compute(
        self, readings: Sequence[Reading], progress: str | None
    ) -> Iterator[tuple[int, float]]:
        reader = self.reader
        training = reader.training
        reader.eval()
        diverged = False
        try:
            with task(progress, len(readings)) if progress else nullcontext() as shown:
                for batch in reader.batches(readings, READ_TOKENS):
                    values = self._values([readings[i] for i in batch])
                    if not np.isfinite(values).all() and not diverged:
                        # NaN spreads to all that is read in one row: read by itself, each tells
                        # whose it is.
                        values = np.concatenate([self._values([readings[i]]) for i in batch])
                        diverged = not np.isfinite(values).any()
                    yield from zip(batch, values.tolist(), strict=True)
                    if shown is not None:
                        shown.advance(len(batch))
        finally:
            reader.train(training)
