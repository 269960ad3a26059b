"""A model over rows that grow by one token at a time."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rewarddiff.sampling.batches import left_padded


class Rows:
    """A model over rows that grow: each token is read once, by what the model caches.

    Call it without gradients, and on a model in eval mode.

    Args:
        model: a causal language model that keeps a cache (`keeps_cache`).
        prompts: the rows as they begin, token ids.
        pad: fills them up at the left.

    Attributes:
        logits: of every row's next token, (rows, vocabulary).
    """

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], pad: int) -> None:
        self.model: Any = model
        accepted = _parameters(model)
        self.takes_positions = "position_ids" in accepted
        self.keeps_logits = "logits_to_keep" in accepted
        self.cache: Any = None
        self.logits: Tensor
        ids, self.mask = left_padded(prompts, pad, model.device)
        self._read(ids)

    def select(self, places: Sequence[int]) -> None:
        """Go on with the rows at these places; a place may come several times, or not at all."""
        rows = torch.tensor(places, device=self.mask.device)
        self.cache.reorder_cache(rows)
        self.mask = self.mask[rows]
        self.logits = self.logits[rows]

    def append(self, tokens: Sequence[int]) -> None:
        """Make every row one token longer."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self._read(torch.tensor(tokens, device=self.mask.device)[:, None])

    def _read(self, ids: Tensor) -> None:
        options: dict[str, Any] = {}
        if self.takes_positions:
            positions = (self.mask.cumsum(1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -ids.shape[1] :]
        if self.keeps_logits:
            options["logits_to_keep"] = 1
        output = self.model(
            input_ids=ids,
            attention_mask=self.mask,
            past_key_values=self.cache,
            use_cache=True,
            **options,
        )
        self.cache = output.past_key_values
        self.logits = output.logits[:, -1]


def keeps_cache(model: PreTrainedModel) -> bool:
    """Return whether rows of the model can grow here; recurrent ones of some kinds cannot."""
    return "past_key_values" in _parameters(model)


def _parameters(model: Any) -> Sequence[str]:
    """Return the names of what the model's forward pass takes; an adapter passes on what it does not."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return list(inspect.signature(inner.forward).parameters)
