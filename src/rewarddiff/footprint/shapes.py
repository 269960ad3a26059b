"""The sizes of a model, from its configuration alone: no weight is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from rewarddiff import models
from rewarddiff.errors import UserError

Linear = tuple[str, int, int]
"""The last part of a layer's name, its inputs and its outputs."""


class LowRank(Protocol):
    """What adapters are made by, as `policies.policy.LoraConfig`: their rank, and the layers that get one."""

    @property
    def r(self) -> int: ...

    @property
    def targets(self) -> str | list[str]: ...


@dataclass(frozen=True)
class Shape:
    """How large a model is.

    Attributes:
        layers, hidden, intermediate, vocabulary: as its configuration says.
        heads: of attention. queries: width of all heads together. keys: of the keys' heads.
        weights: all of them; tied ones count once.
        body: those of the body. products: those that every token is multiplied by there; of experts
            only those that a token is sent to.
        largest: those of the largest tensor.
        linears: how many linear layers of each name and size the body has.
        encoder: whether it reads in both directions.
    """

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    heads: int
    queries: int
    keys: int
    weights: int
    body: int
    products: int
    largest: int
    linears: Mapping[Linear, int]
    encoder: bool

    @property
    def head(self) -> int:
        """Weights that a state is multiplied by to give logits."""
        return self.vocabulary * self.hidden

    def adapters(self, lora: LowRank) -> int:
        """Return the weights of low-rank adapters: r·(inputs + outputs) of each layer that has one.

        Source: Hu et al. 2021, arXiv 2106.09685, section 4.1.
        """
        widths = 0
        for (name, inputs, outputs), count in self.linears.items():
            if lora.targets == "all-linear" or name in lora.targets:
                widths += count * (inputs + outputs)
        return lora.r * widths


class Unplannable(UserError):
    """A model whose sizes cannot be told without loading it."""


@lru_cache(maxsize=16)
def shape_of(name: str) -> Shape:
    """Return the sizes of a model; of an adapter, its base's.

    Its layers are laid out without memory (torch's device "meta"), so that any architecture is counted
    as it is.

    Raises:
        Unplannable: its configuration does not tell.
    """
    config: Any = models.load_config(name)
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    auto: Any = AutoModel if encoder else AutoModelForCausalLM
    try:
        with torch.device("meta"), models.quiet():
            model = auto.from_config(config, trust_remote_code=False)
        return _measured(model, config.get_text_config(), encoder)
    except Exception as error:  # whatever foreign code raises means: it cannot be told
        first_line, *_ = [*str(error).splitlines(), ""]
        raise Unplannable(
            f"{name}: its configuration does not tell its sizes ({type(error).__name__}: {first_line}); "
            "it cannot be planned, run it as it is"
        ) from error


def shape_of_loaded(model: PreTrainedModel, *, encoder: bool) -> Shape | None:
    """Return the sizes of a model that is loaded; None where its configuration does not tell them."""
    config: Any = model.config
    try:
        return _measured(model, config.get_text_config(), encoder)
    except Exception:  # of foreign code, as in `shape_of`
        return None


def _measured(model: PreTrainedModel, config: Any, encoder: bool) -> Shape:
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    body: Any = model.base_model
    table = model.get_input_embeddings()
    sizes = [weight.numel() for weight in model.parameters()]
    wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        # Some architectures have a width for each layer (Gemma 3n).
        intermediate=max(wide) if isinstance(wide, (list, tuple)) else wide,
        vocabulary=config.vocab_size,
        heads=heads,
        queries=heads * width,
        keys=key_heads * width,
        weights=sum(sizes),
        body=sum(weight.numel() for weight in body.parameters()),
        products=_products(body, table, _share_of_experts(config)),
        largest=max(sizes),
        linears=_linears(body),
        encoder=encoder,
    )


def _products(body: nn.Module, table: Any, of_experts: float) -> int:
    """Return the weights of the body's matrices, but for embeddings, which are looked up."""
    embeddings = {
        id(module.weight) for module in body.modules() if isinstance(module, nn.Embedding)
    }
    embeddings.add(id(table.weight))
    products = 0.0
    for name, weight in body.named_parameters():
        if weight.ndim >= 2 and id(weight) not in embeddings:
            products += weight.numel() * (of_experts if ".experts." in name else 1.0)
    return round(products)


def _share_of_experts(config: Any) -> float:
    """Return the share of a layer's experts that a token is sent to; 1 where there are none."""
    used = getattr(config, "num_experts_per_tok", None)
    for name in ("num_local_experts", "num_experts", "n_routed_experts"):
        number = getattr(config, name, None)
        if used and number:
            return float(used / number)
    return 1.0


def _linears(body: nn.Module) -> Counter[Linear]:
    linears: Counter[Linear] = Counter()
    for name, module in body.named_modules():
        if isinstance(module, nn.Linear):
            linears[name.rpartition(".")[2], module.in_features, module.out_features] += 1
    return linears
