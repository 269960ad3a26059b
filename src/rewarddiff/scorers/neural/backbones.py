"""Loading a body for a scorer, and finding out how it reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rewarddiff import models
from rewarddiff.errors import UserError

PADDING = "<|pad|>"
"""The padding token of a scorer whose backbone has none that could serve."""


@dataclass(frozen=True)
class Backbone:
    """A loaded model with its tokenizer.

    Attributes:
        model: a sequence classification model where the architecture has one, else the bare body.
        missing: weights that were not in the files (a fresh head).
        encoder: it reads in both directions.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    missing: frozenset[str]
    encoder: bool

    @property
    def classifies(self) -> bool:
        """Whether the model brings its own head."""
        return self.model.base_model is not self.model


def load_backbone(
    source: str, *, bare: bool = False, labels: int = 1, renamed: Mapping[str, str] | None = None
) -> Backbone:
    """Load weights (safetensors only) in float32 and the tokenizer.

    An adapter's weights are worked into its base's.

    Args:
        source: a short name, a folder, or a hub name.
        bare: load the body alone even where the architecture has a classification head.
        labels: of the classification head.
        renamed: what names of weights in the files are replaced by, by pattern.

    Raises:
        UserError: it is no model, one whose body is not all in its files, or one that cannot score
            (encoder-decoders).
    """
    config = models.load_config(source)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{source}: a {config.model_type} encodes and decodes; "
            "a scorer needs a decoder or an encoder"
        )
    options: dict[str, Any] = {"dtype": torch.float32}
    if renamed:
        options["key_mapping"] = dict(renamed)
    mapped = type(config) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if mapped and not bare:
        model, missing = models.load_model(
            AutoModelForSequenceClassification,
            source,
            fresh_head=True,
            num_labels=labels,
            **options,
        )
    else:
        model, missing = models.load_model(AutoModel, source, **options)
    tokenizer = models.saved_tokenizer(source)
    return Backbone(model, tokenizer, missing, reads_both_ways(model))


def reads_both_ways(model: PreTrainedModel) -> bool:
    """Whether an earlier token's state changes when only a later token does: an encoder's does."""
    high = min(model.config.get_text_config().vocab_size, 1000)
    ids = (torch.arange(1, 9) * 37 % high)[None].repeat(2, 1)
    ids[1, -1] = (ids[1, -1] + 1) % high
    training = model.training
    model.train(False)
    with torch.no_grad():
        states = model.base_model(input_ids=ids.to(model.device)).last_hidden_state.float()
    model.train(training)
    return bool((states[0, :-1] - states[1, :-1]).abs().max() > 1e-4 * states.abs().max())


def context(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, encoder: bool
) -> int | None:
    """Return the positions the model can read; None where it has no limit."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or not encoder:
        return limit
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            # RoBERTa counts positions from after the padding's index.
            limit -= padding + 1
            break
    return min(limit, tokenizer.model_max_length)


def fresh_head(model: PreTrainedModel, width: int = 1, *, bias: bool = False) -> nn.Linear:
    """Return a linear head on the body's states, small at first."""
    config = model.config.get_text_config()
    head = nn.Linear(config.hidden_size, width, bias=bias)
    nn.init.normal_(head.weight, std=getattr(config, "initializer_range", 0.02))
    return head


def use_distinct_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]
) -> None:
    """Give model and tokenizer a padding token that never ends a text and is no part of ordinary
    text.

    transformers reads a sequence classification model at the last token that is not padding; where
    padding is the end token (as in many chat models) it would read one token too early. An ordinary
    token would become a special one when it is loaded again, and texts that hold it would be cut
    otherwise than in training.
    """
    names: Any = tokenizer
    rows = models.embeddings(model)
    usable = [token for token in _special(tokenizer) if token not in ends and token < rows]
    pad = usable[0] if usable else _added_padding(model, tokenizer, ends)
    names.pad_token = names.convert_ids_to_tokens(pad)
    model.config.get_text_config().pad_token_id = pad


def _special(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokenizer's special tokens, those first that serve best as padding."""
    names: Any = tokenizer
    named = (names.pad_token_id, names.unk_token_id, names.bos_token_id)
    best = [token for token in named if token is not None]
    unnamed = [token for token, added in names.added_tokens_decoder.items() if added.special]
    return [*best, *sorted(names.all_special_ids), *sorted(unnamed)]


def _added_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]
) -> int:
    """Add a padding token, with an embedding (of zeros: padding is never read)."""
    names: Any = tokenizer
    if names.pad_token_id is None or names.pad_token_id in ends:
        names.add_special_tokens({"pad_token": PADDING})
    pad: int = names.pad_token_id
    rows = models.embeddings(model)
    if pad >= rows:
        table: Any = model.resize_token_embeddings(pad + 1, mean_resizing=False)
        table.weight.data[rows:] = 0
    return pad
