"""Loading a body for a scorer, from a plain model or from a trained scorer's folder, and finding out how it reads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rewarddiff.errors import UserError
from rewarddiff.models import quiet, resolve


@dataclass(frozen=True)
class Backbone:
    """A loaded model with its tokenizer.

    Attributes:
        model: a sequence classification model of one label where the architecture has one, else the bare body.
        missing: weights that were not in the files (a fresh head).
        encoder: it reads in both directions.
        labels: of a sequence classification model, how many its files declare; None for other models.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    missing: frozenset[str]
    encoder: bool
    labels: int | None = None

    @property
    def classifies(self) -> bool:
        """Whether the model brings its own head."""
        return self.model.base_model is not self.model


def load_backbone(source: str, *, bare: bool = False) -> Backbone:
    """Load weights (safetensors only) in float32 and the tokenizer beside them.

    Args:
        source: a short name, a folder, or a hub name.
        bare: load the body alone even where the architecture has a classification head.

    Raises:
        UserError: it is no model, or one that cannot score (encoder-decoders).
    """
    place = resolve(source)
    try:
        config = AutoConfig.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{source}: cannot be loaded as a model ({_first_line(error)})") from error
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{source}: a {config.model_type} encodes and decodes; a scorer needs a decoder or an encoder")
    mapped = type(config) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    cls: Any = AutoModelForSequenceClassification if mapped and not bare else AutoModel
    extra = {"num_labels": 1, "ignore_mismatched_sizes": True} if cls is AutoModelForSequenceClassification else {}
    try:
        with quiet():
            model, info = cls.from_pretrained(
                place, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **extra
            )
            tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"{source}: cannot be loaded as a model ({_first_line(error)})") from error
    missing = frozenset(info["missing_keys"]) | frozenset(key for key, *_ in info.get("mismatched_keys", ()))
    model.train(False)
    names = config.architectures or []
    labels = config.num_labels if any(name.endswith("ForSequenceClassification") for name in names) else None
    return Backbone(model, tokenizer, missing, reads_both_ways(model), labels)


def reads_both_ways(model: PreTrainedModel) -> bool:
    """Whether an earlier token's state changes when only a later token does: an encoder's, not a decoder's."""
    high = min(model.config.get_text_config().vocab_size, 1000)
    ids = (torch.arange(1, 9) * 37 % high)[None].repeat(2, 1)
    ids[1, -1] = (ids[1, -1] + 1) % high
    training = model.training
    model.train(False)
    with torch.no_grad():
        states = model.base_model(input_ids=ids.to(model.device)).last_hidden_state.float()
    model.train(training)
    return bool((states[0, :-1] - states[1, :-1]).abs().max() > 1e-4 * states.abs().max())


def context(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, encoder: bool) -> int | None:
    """Positions the model can read; of an encoder, those its table has from the first on that it uses."""
    limit: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if encoder and limit is not None:
        table = next((m for name, m in model.named_modules() if name.endswith("position_embeddings")), None)
        offset = getattr(table, "padding_idx", None)  # RoBERTa counts positions from after the padding's index
        limit = limit if offset is None else limit - offset - 1
        limit = min(limit, tokenizer.model_max_length)
    return limit


def fresh_head(model: PreTrainedModel, width: int = 1) -> nn.Linear:
    """A linear head on the body's states, small at first."""
    config = model.config.get_text_config()
    head = nn.Linear(config.hidden_size, width, bias=False)
    nn.init.normal_(head.weight, std=getattr(config, "initializer_range", 0.02))
    return head


def use_distinct_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Collection[int]) -> None:
    """Give model and tokenizer a padding token that never ends a text.

    transformers reads a sequence classification model at the last token that is not padding; where padding is the
    end token (as in many chat models) it would read one token too early.
    """
    names: Any = tokenizer
    candidates = (names.pad_token_id, names.unk_token_id, names.bos_token_id, *names.all_special_ids, 0)
    pad = next(token for token in candidates if token is not None and token not in ends)
    names.pad_token = names.convert_ids_to_tokens(pad)
    model.config.get_text_config().pad_token_id = pad


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
