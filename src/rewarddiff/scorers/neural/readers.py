"""From readings to numbers: a Hugging Face body, and one linear head that reads it at the responses.

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

from rewarddiff.devices import on_device
from rewarddiff.forward import Trunk
from rewarddiff.scorers.neural.texts import EncoderTexts, Reading, Texts
from rewarddiff.steady import ROWS, is_steady
from rewarddiff.trees import Node, Tree, depth_first

CPU_TOKENS = 2048
"""Padded tokens that an encoder reads at once on a CPU: what its caches hold."""

DEVICE_TOKENS = 32768
"""Padded tokens that an encoder reads at once elsewhere."""


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
        if self.own_head is not None:
            return self.own_head
        score: Any = self.model.score
        return score  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        return self.model.device

    def forward(self, readings: Sequence[Reading]) -> Tensor:
        """Return float32 (readings,), or (readings, width) of more than one number each."""
        values = self.values(readings)
        counts = [self.places(reading) for reading in readings]
        if max(counts, default=1) == 1:
            return values
        places = on_device(counts, dtype=torch.long, device=values.device)
        first = places.cumsum(0) - places
        # A reading of one place subtracts nothing: the clamp only keeps the index inside.
        second = values[(first + 1).clamp(max=len(values) - 1)]
        has_second = (places > 1).reshape(-1, *(1 for _ in values.shape[1:]))
        return values[first] - torch.where(has_second, second, 0)

    def places(self, reading: Reading) -> int:
        """Return how many places a reading has. One without a prompt is of one response."""
        if not self.segments:
            return 1
        return max(1, len(reading) - 1)

    @abstractmethod
    def values(self, readings: Sequence[Reading]) -> Tensor:
        """Return what the head gives at every place, (places,) or (places, width).

        In the order of readings and of their responses.
        """

    @abstractmethod
    def cost(self, readings: Sequence[Reading]) -> int:
        """Count the tokens it takes to read these together."""

    @abstractmethod
    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        """Yield indices to read together within a budget of tokens.

        A reading beyond the budget goes alone.
        """

    def head_parameters(self) -> list[nn.Parameter]:
        """Return the head's parameters: all that are not the body's."""
        body = {id(parameter) for parameter in self.model.base_model.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in body]

    def _score(self, states: Tensor) -> Tensor:
        """Apply the head, in float32 whatever the body runs in: (…, hidden) → (…), or (…, width)."""
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
        # In a list, so that the model's parameters are registered once, by `Reader`.
        self._trunk = [Trunk(model)]

    def values(self, readings: Sequence[Reading]) -> Tensor:
        trunk = self._trunk[0]
        forest = Forest(readings)
        # Readings that share a response need not stand together; in the row their nodes have to, or the
        # whole tree is one block.
        ordered = [depth_first(tree) for tree in forest.trees()]
        packed = trunk.pack([tree for tree, _ in ordered])
        first_node = list(accumulate((len(tree.nodes) for tree, _ in ordered), initial=0))
        places: list[int] = []
        for reading, (tree, path) in zip(readings, forest.paths, strict=True):
            _, place_of = ordered[tree]
            places += [first_node[tree] + place_of[node] for node in path[-self.places(reading) :]]
        ends = packed.ends[on_device(places, dtype=torch.long, device=packed.ends.device)]
        return self._score(trunk(packed)[ends])

    def cost(self, readings: Sequence[Reading]) -> int:
        return Forest(readings).size

    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        """Yield indices within a budget; neighbours that begin alike stay together where they fit."""
        if self._trunk[0].plain:
            # There nothing is shared.
            yield from _rows_by_length(readings, budget)
            return
        forest = Forest()
        batch: list[int] = []
        for part in _parts(readings, range(len(readings)), 1, budget):
            added = [readings[i] for i in part]
            if batch and forest.size + forest.growth(added) > budget:
                yield batch
                forest = Forest()
                batch = []
            for reading in added:
                forest.add(reading)
            batch += part
        if batch:
            yield batch


def _parts(
    readings: Sequence[Reading], indices: Sequence[int], depth: int, budget: int
) -> Iterator[list[int]]:
    """Yield runs of readings that share their first `depth` parts.

    A run beyond the budget is cut into those that share more.
    """
    for _, run in groupby(indices, key=lambda i: readings[i][:depth]):
        part = list(run)
        of_part = [readings[i] for i in part]
        if depth >= len(of_part[0]) or Forest().growth(of_part) <= budget:
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
        self._places: dict[Reading, tuple[int, int]] = {}
        self.paths: list[tuple[int, list[int]]] = []
        self.size = 0
        for reading in readings:
            self.add(reading)

    def growth(self, readings: Sequence[Reading]) -> int:
        """Count the tokens that adding these readings would add."""
        new: set[Reading] = set()
        for reading in readings:
            new.update(_beginnings(reading))
        return sum(len(beginning[-1]) for beginning in new if beginning not in self._places)

    def add(self, reading: Reading) -> None:
        places = [self._place(beginning) for beginning in _beginnings(reading)]
        tree, _ = places[0]
        self.paths.append((tree, [node for _, node in places]))

    def _place(self, beginning: Reading) -> tuple[int, int]:
        """Return tree and node of the last part of a beginning whose earlier parts have a place."""
        if beginning in self._places:
            return self._places[beginning]
        if len(beginning) == 1:
            tree, parent = len(self._nodes), -1
            self._nodes.append([])
        else:
            tree, parent = self._places[beginning[:-1]]
        nodes = self._nodes[tree]
        part = beginning[-1]
        nodes.append(Node(part, parent))
        self.size += len(part)
        self._places[beginning] = (tree, len(nodes) - 1)
        return self._places[beginning]

    def trees(self) -> list[Tree]:
        return [Tree(tuple(nodes)) for nodes in self._nodes]


def _beginnings(reading: Reading) -> list[Reading]:
    """Return a reading's first part, its first two, and so on."""
    return [reading[:n] for n in range(1, len(reading) + 1)]


class RowReader(Reader):
    """An encoder, read by the mean over a response's or the whole text's tokens.

    Or by its own classification head, where it has one and no other is given.
    """

    texts: EncoderTexts

    def __init__(
        self, model: PreTrainedModel, head: nn.Linear | None, texts: Texts, *, segments: bool
    ) -> None:
        super().__init__(model, head, texts, segments=segments)
        pooler = getattr(model, "pooler", None)
        if head is not None and pooler is not None:
            # It is not read: processes would wait for the gradient of every weight that asks for one.
            pooler.requires_grad_(False)
        self._attention: str = model.config._attn_implementation

    def values(self, readings: Sequence[Reading]) -> Tensor:
        budget = CPU_TOKENS if self.device.type == "cpu" else DEVICE_TOKENS
        values: list[Tensor] = [torch.empty(0)] * len(readings)
        for batch in self.batches(readings, budget):
            of_batch = [readings[i] for i in batch]
            counts = list(map(self.places, of_batch))
            for i, of_reading in zip(batch, self._rows(of_batch).split(counts), strict=True):
                values[i] = of_reading
        return torch.cat(values)

    def _attend(self) -> None:
        """Choose the attention: a CPU's kernel for bf16 has a slow backward pass, products beat it."""
        on_cpu = self.device.type == "cpu"
        is_slow = on_cpu and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()
        wanted = "eager" if is_slow else self._attention
        if self.model.config._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)

    def _rows(self, readings: Sequence[Reading]) -> Tensor:
        """Read one padded batch: what the head gives at every place."""
        lengths = pad_sequence(
            [torch.tensor(list(map(len, reading))) for reading in readings], True
        )
        total = lengths.sum(1)
        width = _width(int(total.max()))
        ids = torch.zeros(len(readings), width, dtype=torch.long)
        for row, reading in zip(ids, readings, strict=True):
            tokens = torch.tensor([token for part in reading for token in part])
            row[: len(tokens)] = tokens
        column = torch.arange(ids.shape[1])
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
        return self._score(self._pooled(states, lengths, readings))

    def _pooled(self, states: Tensor, lengths: Tensor, readings: Sequence[Reading]) -> Tensor:
        """Return the mean state at every place, (places, hidden).

        Args:
            states: (readings, tokens, hidden).
            lengths: of every part of each reading, (readings, parts).
        """
        ends = lengths.cumsum(1)
        if self.segments:
            starts, ends = (ends - lengths)[:, 1:], ends[:, 1:]
        else:
            starts, ends = torch.zeros(len(readings), 1, dtype=torch.long), ends[:, -1:]
        column = torch.arange(states.shape[1])
        inside = (column >= starts[..., None]) & (column < ends[..., None])
        weights = (inside / inside.sum(-1, keepdim=True).clamp(min=1)).to(states.device)
        precision = torch.float64 if states.dtype == torch.float64 else torch.float32
        with torch.autocast(states.device.type, enabled=False):
            pooled = weights.to(precision) @ states.to(precision)
        # Of readings with fewer places than others the last ones are padding.
        counts = torch.tensor([[self.places(reading)] for reading in readings])
        is_place = torch.arange(pooled.shape[1]) < counts
        return pooled[is_place.to(states.device)]

    def cost(self, readings: Sequence[Reading]) -> int:
        return sum(map(_length, readings))

    def batches(self, readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
        yield from _rows_by_length(readings, budget)


def _length(reading: Reading) -> int:
    return sum(map(len, reading))


def _width(tokens: int) -> int:
    """Return how wide the row of a text is.

    A steady number must not hang on the length of the texts beside it, so only texts of one width
    are read together, and that is a multiple of `ROWS`.
    """
    return tokens + -tokens % ROWS if is_steady() else tokens


def _rows_by_length(readings: Sequence[Reading], budget: int) -> Iterator[list[int]]:
    """Yield indices of rows of similar length, whose padded tokens are within a budget."""
    widths = [_width(_length(reading)) for reading in readings]
    batch: list[int] = []
    for i in sorted(range(len(readings)), key=lambda i: widths[i]):
        # The longest comes last and sets the width.
        is_full = widths[i] * (len(batch) + 1) > budget
        is_wider = is_steady() and batch and widths[i] > widths[batch[0]]
        if batch and (is_full or is_wider):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
