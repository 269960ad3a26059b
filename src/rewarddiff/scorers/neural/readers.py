"""From readings to numbers: a Hugging Face body, and one linear head that reads it at the
responses.

A reading's *places* are where the head reads it: every response's segment, or the text as a whole.

Two ways to run the body, one meaning: decoders read token trees, in which readings share what they
begin with; encoders read plain rows of similar length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from rewarddiff.forward import Trunk
from rewarddiff.scorers.neural.texts import EncoderTexts, Reading, Texts, Tokens
from rewarddiff.trees import Node, Tree

CHUNK_TOKENS = {"cpu": 2048}
"""Padded tokens an encoder reads at once: on a CPU what its caches hold, elsewhere
`CHUNK_ELSEWHERE`."""
CHUNK_ELSEWHERE = 32768


class Reader(nn.Module, ABC):
    """One number per reading: r(x, y) of a single response, d(x, y1, y2) of two.

    Args:
        model: the body, in a sequence classification model or bare.
        head: linear without bias, hidden → 1 (or more: head general, several heads); None where
            `model` brings its own.
        segments: read each response at its own segment and take f(y1) − f(y2); otherwise read the
            text once.

    Attributes:
        learned: what the loss learns beside the model, in training; no reading depends on it.
        beside: a second head of one number, in training; its numbers stand behind the first's.
    """

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear | None, texts: Texts, *, segments: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.own_head = head
        self.texts = texts
        self.segments = segments
        self.learned = nn.ParameterDict()
        self.beside: nn.Linear | None = None

    @property
    def head(self) -> nn.Linear:
        """The linear head: its own, or the model's."""
        found: Any = self.own_head if self.own_head is not None else self.model.score
        return found  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, readings: Sequence[Reading]) -> Tensor:
        """float32 (readings,), or (readings, width) where there is more than one number of each."""
        values = self.values(readings)
        counts = [self.places(reading) for reading in readings]
        if max(counts, default=1) == 1:
            return values
        places = torch.tensor(counts, device=values.device)
        first = places.cumsum(0) - places
        second = values[(first + 1).clamp(max=len(values) - 1)]
        several = (places > 1).reshape(-1, *(1 for _ in values.shape[1:]))
        return values[first] - torch.where(several, second, 0)

    def places(self, reading: Reading) -> int:
        """How many places a reading has. One without a prompt is of one response."""
        return max(1, len(reading) - 1) if self.segments else 1

    @abstractmethod
    def values(self, readings: Sequence[Reading]) -> Tensor:
        """What the head gives at every place, (places,) or (places, width).

        In the order of readings and of their responses."""

    @abstractmethod
    def cost(self, readings: Sequence[Reading]) -> int:
        """Tokens it takes to read these together."""

    @abstractmethod
    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        """Indices to read together within a budget of tokens (one reading beyond it goes alone)."""

    def head_parameters(self) -> list[nn.Parameter]:
        """The head's: all that is not the body's."""
        body = {id(p) for p in self.model.base_model.parameters()}
        return [p for p in self.parameters() if id(p) not in body]

    def _score(self, states: Tensor) -> Tensor:
        """The head in float32 whatever the body runs in: (…, hidden) → (…), or (…, width)."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.to(self.head.weight.dtype)
            scores: Tensor = self.head(states)
            if self.beside is not None:
                scores = torch.cat([scores, self.beside(states)], -1)
        return scores.squeeze(-1).float()


class TreeReader(Reader):
    """A decoder, read at the last token of the text, or of each response."""

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear | None, texts: Texts, *, segments: bool
    ) -> None:
        super().__init__(model, head, texts, segments=segments)
        self._trunk = [Trunk(model)]  # in a list: the model's parameters are registered once, above

    def values(self, readings: Sequence[Reading]) -> Tensor:
        trunk = self._trunk[0]
        forest = Forest(readings)
        packed = trunk.pack(forest.trees())
        first = packed.first.tolist()
        places = []
        for reading, (tree, path) in zip(readings, forest.paths, strict=True):
            places += [first[tree] + node for node in path[-self.places(reading) :]]
        states = trunk(packed)[packed.ends[torch.tensor(places, device=packed.ends.device)]]
        return self._score(states)

    def cost(self, readings: Sequence[Reading]) -> int:
        return Forest(readings).size

    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        """Neighbours that begin alike are kept together as far as the budget allows: a tree is
        whole where it fits."""
        if self._trunk[0].plain:  # there nothing is shared
            yield from _rows_by_length(readings, budget)
            return
        forest, batch = Forest(), list[int]()
        for part in _parts(readings, range(len(readings)), 1, budget):
            own = [readings[i] for i in part]
            if batch and forest.size + forest.growth(*own) > budget:
                yield batch
                forest, batch = Forest(), []
            for reading in own:
                forest.add(reading)
            batch += part
        if batch:
            yield batch


def _parts(
    readings: Sequence[Reading], indices: Sequence[int], depth: int, budget: int
) -> Iterator[list[int]]:
    """Runs of readings that share their first `depth` parts; where one is beyond the budget, those
    that share more."""
    for _, run in groupby(indices, key=lambda i: readings[i][:depth]):
        part = list(run)
        own = [readings[i] for i in part]
        if depth >= len(own[0]) or Forest().growth(*own) <= budget:
            yield part
        else:
            yield from _parts(readings, part, depth + 1, budget)


class Forest:
    """Readings as token trees, merged where they begin alike.

    Attributes:
        paths: of every reading, its tree and the nodes of its parts.
        size: tokens in all trees.
    """

    def __init__(self, readings: Sequence[Reading] = ()) -> None:
        self._nodes: list[list[Node]] = []
        self._index: dict[Reading, tuple[int, int]] = {}
        self.paths: list[tuple[int, list[int]]] = []
        self.size = 0
        for reading in readings:
            self.add(reading)

    def growth(self, *readings: Reading) -> int:
        """Tokens that adding the readings would add."""
        beginnings = {reading[:n] for reading in readings for n in range(1, len(reading) + 1)}
        return sum(len(beginning[-1]) for beginning in beginnings if beginning not in self._index)

    def add(self, reading: Reading) -> None:
        path = [self._place(reading[:n]) for n in range(1, len(reading) + 1)]
        self.paths.append((path[0][0], [node for _, node in path]))

    def _place(self, beginning: Reading) -> tuple[int, int]:
        """Tree and node of the last part of a beginning whose earlier parts have a place."""
        if beginning not in self._index:
            part: Tokens = beginning[-1]
            if len(beginning) == 1:
                self._nodes.append([])
            tree, parent = (
                self._index[beginning[:-1]] if len(beginning) > 1 else (len(self._nodes) - 1, -1)
            )
            self._nodes[tree].append(Node(part, parent))
            self._index[beginning] = (tree, len(self._nodes[tree]) - 1)
            self.size += len(part)
        return self._index[beginning]

    def trees(self) -> list[Tree]:
        return [Tree(tuple(nodes)) for nodes in self._nodes]


class RowReader(Reader):
    """An encoder, read by the mean over a response's or the whole text's tokens, or by its own
    classification head."""

    texts: EncoderTexts

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear | None, texts: Texts, *, segments: bool
    ) -> None:
        super().__init__(model, head, texts, segments=segments)
        unread = getattr(model, "pooler", None) if head is not None else None
        if unread is not None:
            unread.requires_grad_(
                False
            )  # processes wait for the gradient of every weight that asks for one
        self._attention: str = model.config._attn_implementation

    def values(self, readings: Sequence[Reading]) -> Tensor:
        budget = CHUNK_TOKENS.get(self.device.type, CHUNK_ELSEWHERE)
        batches = list(self.batches(readings, budget))
        values = torch.cat([self._rows([readings[i] for i in batch]) for batch in batches])
        ends = list(accumulate(map(self.places, readings), initial=0))
        order = [place for batch in batches for i in batch for place in range(ends[i], ends[i + 1])]
        return values[torch.tensor(order, device=values.device).argsort()]

    def _attend(self) -> None:
        """Choose the attention: a CPU's kernel for bf16 has a slow backward pass, plain products
        beat it."""
        slow = (
            self.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.is_grad_enabled()
        )
        wanted = "eager" if slow else self._attention
        if self.model.config._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)

    def _rows(self, readings: Sequence[Reading]) -> Tensor:
        lengths = pad_sequence(
            [torch.tensor([len(part) for part in reading]) for reading in readings], True
        )
        total, width = lengths.sum(1), int(lengths.sum(1).max())
        ids = torch.zeros(len(readings), width, dtype=torch.long)
        for row, reading in zip(ids, readings, strict=True):
            tokens = [token for part in reading for token in part]
            row[: len(tokens)] = torch.tensor(tokens)
        column = torch.arange(width)
        inputs = {"input_ids": ids, "attention_mask": (column < total[:, None]).long()}
        if any(self.texts.types):
            before, after = self.texts.types
            inputs["token_type_ids"] = torch.where(column < lengths[:, :1], before, after)
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        self._attend()
        if self.own_head is None:
            logits: Tensor = self.model(**inputs).logits
            return logits.float()[:, 0]
        states: Tensor = self.model.base_model(**inputs).last_hidden_state
        ends = lengths.cumsum(1)
        starts = (
            (ends - lengths)[:, 1:]
            if self.segments
            else torch.zeros(len(readings), 1, dtype=torch.long)
        )
        ends = ends[:, 1:] if self.segments else ends[:, -1:]
        inside = (column >= starts[..., None]) & (column < ends[..., None])
        weights = (inside / inside.sum(-1, keepdim=True).clamp(min=1)).to(states.device)
        with torch.autocast(states.device.type, enabled=False):
            pooled = (
                weights.to(states.dtype) @ states
                if states.dtype == torch.float64
                else weights @ states.float()
            )
        known = torch.arange(pooled.shape[1]) < torch.tensor(
            [[self.places(reading)] for reading in readings]
        )
        return self._score(pooled)[known.to(states.device)]

    def cost(self, readings: Sequence[Reading]) -> int:
        return sum(len(part) for reading in readings for part in reading)

    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        yield from _rows_by_length(readings, budget)


def _rows_by_length(readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
    """Padded rows of similar length."""
    sizes = [sum(map(len, reading)) for reading in readings]
    batch: list[int] = []
    for i in sorted(range(len(readings)), key=lambda i: sizes[i]):
        if (
            batch and sizes[i] * (len(batch) + 1) > budget
        ):  # the longest comes last and sets the width
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
