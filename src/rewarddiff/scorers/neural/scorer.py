"""A trained scorer: a body and heads that are read at a prompt's responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from rewarddiff.differences import Array, Differences, Pair, by_group, weighed
from rewarddiff.errors import UserError
from rewarddiff.footprint.refusing import require_room
from rewarddiff.footprint.shapes import Shape, shape_of_loaded
from rewarddiff.hashing import digest
from rewarddiff.losses.scoring import general_gap
from rewarddiff.progress import task
from rewarddiff.records import Group
from rewarddiff.remembering import remember
from rewarddiff.scorers.neural.config import ScorerConfig
from rewarddiff.scorers.neural.readers import Reader, RowReader
from rewarddiff.scorers.neural.texts import Reading
from rewarddiff.scorers.protocol import Orders
from rewarddiff.steady import steady
from rewarddiff.store import Store, fingerprint

Shown = tuple[int, ...]
"""The responses of a reading, in their order."""

READ_TOKENS = 8192
"""Tokens read at a time outside training; changes memory and speed only.

A group's comparisons are read together where they are no more.
"""


class NeuralScorer:
    """A trained (or fresh) reward model or difference model.

    Attributes:
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
        self.prompts: Set[str] | None = None

    def __repr__(self) -> str:
        parts = [repr(self.kind), f"backbone={self.config.backbone!r}"]
        if self.kind == "difference":
            parts.insert(1, f"head={self.config.head.name!r}")
        parts.append("trained" if self.trained else "not trained")
        if self.temperature is not None:
            parts.append(f"T={self.temperature:.3g}")
        return f"Scorer({', '.join(parts)})"

    @property
    def kind(self) -> Literal["reward", "difference"]:
        return self.config.kind

    def to(self, device: torch.device) -> Self:
        """Move the module; return the scorer itself."""
        self.reader.to(device)
        return self

    def weigh(self, aspects: Mapping[str, float]) -> None:
        """Give the aspects other weights; a temperature fitted with others is forgotten.

        Raises:
            UserError: these are not the scorer's aspects.
        """
        earlier = self.config.aspects
        if set(aspects) != set(earlier):
            names = ", ".join(earlier) or "none"
            raise UserError(
                f"aspects: weights for {', '.join(aspects)}, but the scorer's aspects are: {names}"
            )
        weights = {name: aspects[name] for name in earlier}
        if weights != dict(earlier):
            self.temperature = None
            self.config = replace(self.config, aspects=weights)

    def differences(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        *,
        orders: Orders = "both",
        store: Store | None = None,
        progress: str | None = None,
    ) -> list[Differences]:
        """Return d(x, a, b) in logits for the pairs (a, b) of each group: see `protocol.Scorer`.

        A reward model gives r(a) − r(b), and head general what its rewards and vectors say.
        """
        if self.config.reads_apart:
            return self._apart(groups, pairs, store, progress)
        return self._together(groups, pairs, orders, store, progress)

    def cut(self, groups: Iterable[Group]) -> dict[str, int]:
        """Count the groups of which a `prompt` or a `response` is read in part.

        What is longer than the limits, or than the model's context, is cut. A group without
        comparisons is read a response at a time, where the scorer can.
        """
        counts = {"prompt": 0, "response": 0}
        texts = self.reader.texts
        for group in groups:
            page = texts.page(group)
            pairs = [(c.chosen, c.rejected) for c in group.known_comparisons()]
            shown = self.shown(pairs, "both")
            if not shown and self.config.reads_apart:
                shown = [(response,) for response in range(len(group.responses))]
            parts = set[str]()
            for responses in shown:
                parts |= page.cut | texts.cut(page, *responses)
            for part in parts:
                counts[part] += 1
        return counts

    def untemplated(self, groups: Iterable[Group]) -> int:
        """Count the groups whose prompt is a text, where the model has a template for conversations."""
        if not self.reader.texts.has_template:
            return 0
        return sum(isinstance(group.prompt, str) for group in groups)

    def shown(self, pairs: Sequence[Pair], orders: Orders) -> list[Shown]:
        """Return the responses of every reading that comparisons of a group take."""
        if self.config.reads_apart:
            return [(response,) for response in _compared(pairs)]
        if orders == "one":
            return list(pairs)
        readings: list[Shown] = []
        for a, b in pairs:
            readings += [(a, b), (b, a)]
        return readings

    def tokens(self, group: Group, pairs: Sequence[Pair]) -> int:
        """Count the tokens that these comparisons take, read as they stand.

        What they share counts once where it is read once.
        """
        texts = self.reader.texts
        page = texts.page(group)
        readings = {texts.reading(page, *responses) for responses in self.shown(pairs, "one")}
        return self.reader.cost(sorted(readings))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of weights and settings: what a stored value depends on besides its text.

        It is that of the weights when first asked.
        """
        return fingerprint(digest(self._weights()), self.kind, self.reader.segments)

    def _weights(self) -> Iterator[bytes]:
        """Yield the name and the bytes of every tensor of the reader."""
        for name, tensor in sorted(self.reader.state_dict().items()):
            yield name.encode()
            yield tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    def _apart(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        store: Store | None,
        progress: str | None,
    ) -> list[Differences]:
        """Return the gaps between responses that are read by themselves."""
        shown = [self.shown(group_pairs, "both") for group_pairs in pairs]
        numbers = self._read(groups, shown, store, progress)
        differences = []
        for group_pairs, read in zip(pairs, numbers, strict=True):
            row = {response: place for place, response in enumerate(_compared(group_pairs))}
            first = read[[row[a] for a, _ in group_pairs]]
            second = read[[row[b] for _, b in group_pairs]]
            gap = general_gap(torch.from_numpy(first), torch.from_numpy(second)).numpy()
            rewards = None
            if self.kind == "reward":
                rewards = np.stack([self._rewards(first), self._rewards(second)], axis=1)
            differences.append(self._stated(group_pairs, gap, apart=True, rewards=rewards))
        return differences

    def _together(
        self,
        groups: Sequence[Group],
        pairs: Sequence[Sequence[Pair]],
        orders: Orders,
        store: Store | None,
        progress: str | None,
    ) -> list[Differences]:
        """Return what the heads say of pairs that are read together."""
        shown = [self.shown(group_pairs, orders) for group_pairs in pairs]
        numbers = self._read(groups, shown, store, progress)
        differences = []
        for group_pairs, read in zip(pairs, numbers, strict=True):
            d = read[..., 0]
            if orders == "one":
                differences.append(self._stated(group_pairs, d))
            else:
                differences.append(self._stated(group_pairs, d[::2], backward=d[1::2]))
        return differences

    def _stated(
        self,
        pairs: Sequence[Pair],
        forward: Array,
        *,
        backward: Array | None = None,
        apart: bool = False,
        rewards: Array | None = None,
    ) -> Differences:
        config = self.config
        return Differences(
            pairs=tuple(pairs),
            forward=forward,
            backward=backward,
            weights=config.head_weights,
            ensemble=config.heads > 1,
            aspects=tuple(config.aspects),
            apart=apart,
            rewards=rewards,
        )

    def _rewards(self, numbers: Array) -> Array:
        """Return r of every response from the heads' numbers, as `_read` gives them."""
        return weighed(numbers[..., 0], self.config.head_weights)

    def _read(
        self,
        groups: Sequence[Group],
        shown: Sequence[Sequence[Shown]],
        store: Store | None,
        progress: str | None,
    ) -> list[Array]:
        """Return the heads' numbers for each reading of each group; equal texts are read once.

        All that a scorer says is made of these numbers, so this is where one that is none is
        refused.

        Returns:
            (readings, heads, numbers of a head) for each group.

        Raises:
            UserError: a number is NaN or infinite.
        """
        texts = self.reader.texts
        readings: list[Reading] = []
        group_of: list[Group] = []
        for group, responses in zip(groups, shown, strict=True):
            page = texts.page(group)
            readings += [texts.reading(page, *some) for some in responses]
            group_of += [group] * len(responses)

        def key(reading: Reading) -> str:
            return fingerprint("score", self.fingerprint, self.precision, reading)

        def compute(missing: Sequence[Reading]) -> Iterator[tuple[int, float]]:
            return self._compute(missing, progress)

        def begin(missing: Sequence[Reading]) -> None:
            longest = max(missing, key=_length)
            self._require_room(longest, group_of[readings.index(longest)])

        unique = sorted(set(readings))  # texts that begin alike stand together
        values = dict(zip(unique, remember(store, unique, key, compute, begin=begin), strict=True))
        shape = (-1, self.config.head_count, self.config.head_width)
        numbers = np.array([values[reading] for reading in readings], dtype=np.float64)
        by_reading = by_group(numbers.reshape(shape), map(len, shown))
        self._require_finite(groups, by_reading)
        return by_reading

    def _require_room(self, reading: Reading, group: Group) -> None:
        """Raise a UserError where a reading, which is never cut in two, has no room on a CPU."""
        if self._shape is not None and self.reader.device.type == "cpu":
            require_room(self._shape, _length(reading), group.source or group.id, self.name)

    @cached_property
    def _shape(self) -> Shape | None:
        return shape_of_loaded(self.reader.model, encoder=isinstance(self.reader, RowReader))

    def _require_finite(self, groups: Sequence[Group], numbers: Sequence[Array]) -> None:
        """Raise a UserError where a reading has a number that is not finite."""
        lacking = 0
        first_lacking = None
        for group, rows in zip(groups, numbers, strict=True):
            finite = np.isfinite(rows).all(axis=(1, 2))
            lacking += int((~finite).sum())
            if first_lacking is None and not finite.all():
                first_lacking = group
        if first_lacking is None:
            return
        read = "responses" if self.config.reads_apart else "readings"
        raise UserError(
            f"{self.name}: {lacking} of {sum(map(len, numbers))} {read} get no finite number, the "
            f"first of them in {first_lacking.source or first_lacking.id}: the model diverged, or "
            f"its weights overflow in {self.precision}; train it again with a smaller lr"
        )

    def _compute(
        self, readings: Sequence[Reading], progress: str | None
    ) -> Iterator[tuple[int, float]]:
        """Read texts in batches; yield the place and the numbers of each."""
        reader = self.reader
        was_training = reader.training
        reader.eval()
        diverged = False
        try:
            with task(progress, len(readings)) if progress else nullcontext() as line:
                for batch in reader.batches(readings, READ_TOKENS):
                    values = self._values([readings[i] for i in batch])
                    if not np.isfinite(values).all() and not diverged:
                        # NaN spreads to all that is read in one row: read by itself, each tells
                        # whose it is.
                        values = np.concatenate([self._values([readings[i]]) for i in batch])
                        diverged = not np.isfinite(values).any()
                    yield from zip(batch, values.tolist(), strict=True)
                    if line is not None:
                        line.advance(len(batch))
        finally:
            reader.train(was_training)

    def _values(self, readings: Sequence[Reading]) -> Array:
        """Return the reader's numbers for one batch, (readings,) or (readings, all numbers)."""
        device = self.reader.device
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.no_grad(), autocast, steady(device):
            return np.array(self.reader(readings).tolist(), dtype=np.float64)


def _length(reading: Reading) -> int:
    """Count the tokens of a reading."""
    return sum(map(len, reading))


class RewardModel(NeuralScorer):
    """A scorer that scores each response by itself: r(x, y)."""

    def rewards(
        self, groups: Sequence[Group], *, store: Store | None = None, progress: str | None = None
    ) -> list[Array]:
        """Return r(x, y) of every response of each group: see `protocol.Pointwise`."""
        shown = [[(i,) for i in range(len(group.responses))] for group in groups]
        numbers = self._read(groups, shown, store, progress)
        return [self._rewards(read) for read in numbers]


def scorer_of(
    config: ScorerConfig, reader: Reader, tokenizer: PreTrainedTokenizerBase
) -> NeuralScorer:
    """Return a scorer of the kind that a configuration names."""
    kind = RewardModel if config.kind == "reward" else NeuralScorer
    return kind(config, reader, tokenizer)


def _compared(pairs: Iterable[Pair]) -> list[int]:
    """Return the responses that stand in these pairs, each once."""
    return sorted({response for pair in pairs for response in pair})
