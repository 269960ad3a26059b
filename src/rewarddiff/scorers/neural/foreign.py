"""Reward models as other toolkits save them: heads under other names, and heads of two labels.

A linear head that reads each token's state is a *value head*. It lies among a language model's
weights, or in a file beside them:

    v_head.summary   TRL's AutoModelForCausalLMWithValueHead; LLaMA-Factory, in value_head.safetensors
    v_head           DeepSpeed-Chat
    value_head       OpenRLHF, earlier
    score            OpenRLHF, and transformers' own sequence classification

OpenRLHF writes a mean and a spread of rewards into config.json, and whether they are to be taken
out of each reward.

A classifier of two labels scores by r = logit of the better label − logit of the other, which is
the log-odds that it states.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from rewarddiff import model_files, models
from rewarddiff.errors import UserError

logger = logging.getLogger(__name__)

VALUE_HEADS = ("v_head.summary", "v_head", "value_head")
"""How a value head is called, besides `score`."""

BETTER = frozenset(
    ("chosen", "preferred", "accepted", "better", "good", "positive", "helpful", "safe", "true", "yes")
)  # fmt: skip
WORSE = frozenset(
    ("rejected", "worse", "bad", "negative", "unhelpful", "unsafe", "harmful", "toxic", "false", "no")
)  # fmt: skip
"""Names of labels that tell which of two is the better one."""


@dataclass(frozen=True)
class Tensors:
    """Which weights a folder holds, and where.

    Attributes:
        files: of every weight, its file.
    """

    files: Mapping[str, Path]

    def find(self, name: str) -> str | None:
        """Return the weight of this name, whatever modules stand around it; None: not there."""
        for key in self.files:
            if key == name or key.endswith(f".{name}"):
                return key
        return None

    def read(self, key: str) -> Tensor:
        """Return one weight, in float32."""
        with models.explained(self.files[key]), safe_open(self.files[key], framework="pt") as file:
            tensor: Tensor = file.get_tensor(key)
        return tensor.float()

    def rows(self, key: str) -> int:
        """Return the first size of one weight."""
        with models.explained(self.files[key]), safe_open(self.files[key], framework="pt") as file:
            rows: int = file.get_slice(key).get_shape()[0]
        return rows


def tensors_of(folder: Path) -> Tensors:
    """Return which weights a model's folder holds. They are not read."""
    files = {}
    for path in model_files.weight_files(folder):
        with models.explained(path), safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  (a file is no mapping)
                files[key] = path
    return Tensors(files)


def renamed(source: str) -> dict[str, str]:
    """Return how a model's weights are called otherwise than in transformers, as its key_mapping.

    DeepSpeed-Chat holds the bare body as `rwtransformer`, or `rwtranrsformer`.
    """
    for key in tensors_of(models.lineage(source)[-1]).files:
        if key.startswith("rwtran"):
            return {r"^rwtran\w+\.": ""}
    return {}


def declared_labels(source: str) -> int | None:
    """Return how many labels a classifier's folder declares; None of what is no classifier.

    An adapter's own head tells more than its base's configuration.
    """
    folders = models.lineage(source)
    for adapter in folders[:-1]:
        tensors = tensors_of(adapter)
        for name in ("score.weight", "classifier.weight", "out_proj.weight"):
            key = tensors.find(name)
            if key is not None:
                return tensors.rows(key)
    config = models.load_config(source)
    for name in config.architectures or ():
        if name.endswith("ForSequenceClassification"):
            labels: int | None = config.num_labels
            return labels
    return None


def is_language_model(source: str) -> bool:
    """Tell whether a model has no head to score with, and a chat template by which to be asked.

    Raises:
        UserError: there is no such model.
    """
    folders = models.lineage(source)
    config = models.load_config(source)
    names = config.architectures or ()
    if not any(name.endswith("ForCausalLM") for name in names):
        return False
    for folder in folders:
        tensors = tensors_of(folder)
        heads = [tensors.find(f"{name}.weight") for name in (*VALUE_HEADS, "score")]
        beside = (model_files.ABOUT, "value_head.bin")
        if any(heads) or any((folder / name).exists() for name in beside):
            return False
    return models.saved_tokenizer(source).chat_template is not None


# --- value heads ------------------------------------------------------------------------------------------------


def value_head(source: str, config: PreTrainedConfig) -> nn.Linear | None:
    """Return the value head that lies in a model's folder, or in that of its base; None: no such.

    Raises:
        UserError: it is there, but pickled, or is no head of one number.
    """
    names: tuple[str, ...] = VALUE_HEADS
    mapped = type(config) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if not mapped or getattr(config, "normalize_reward", False):
        names = (*names, "score")
    for folder in models.lineage(source):
        tensors = tensors_of(folder)
        for name in names:
            key = tensors.find(f"{name}.weight")
            if key is not None:
                return _normalised(_linear(tensors, key), config)
        model_files.refuse_pickled_head(folder)
    return None


def _linear(tensors: Tensors, key: str) -> nn.Linear:
    weight = tensors.read(key)
    if weight.ndim != 2 or len(weight) != 1:
        raise UserError(
            f"{tensors.files[key]}: {key} has shape {tuple(weight.shape)}; a reward is one number, "
            "of a head of shape (1, hidden size)"
        )
    bias_key = f"{key.removesuffix('weight')}bias"
    head = nn.Linear(weight.shape[1], 1, bias=bias_key in tensors.files)
    head.weight.data = weight
    if bias_key in tensors.files:
        head.bias.data = tensors.read(bias_key)
    return head


def _normalised(head: nn.Linear, config: PreTrainedConfig) -> nn.Linear:
    """Work OpenRLHF's mean and spread of rewards into a head: r = (w·h + b − mean) / spread."""
    if not getattr(config, "normalize_reward", False) or not hasattr(config, "std"):
        return head
    mean, spread = float(config.mean), float(config.std)
    normalised = nn.Linear(head.in_features, 1)
    bias = head.bias.data if head.bias is not None else torch.zeros(1)
    normalised.weight.data = head.weight.data / spread
    normalised.bias.data = (bias - mean) / spread
    return normalised


# --- two labels -------------------------------------------------------------------------------------------------


def better_label(source: str, names: Mapping[int, str]) -> int:
    """Return which of two labels is the better one, by their names; say so where they do not tell."""
    for better in (0, 1):
        if _is(names[better], BETTER) or _is(names[1 - better], WORSE):
            return better
    logger.warning(
        "%s: two labels, %s and %s, of which nothing says which is better; r is the logit of %s "
        "minus that of %s (other names in id2label of config.json, as rejected and chosen, tell)",
        source, names[0], names[1], names[1], names[0],
    )  # fmt: skip
    return 1


def _is(name: str, words: frozenset[str]) -> bool:
    return name.lower() in words


def join_labels(model: PreTrainedModel, better: int, source: str) -> None:
    """Make of a classifier's head of two labels one of their gap, in place."""
    name, old = _projection(model, source)
    gap = nn.Linear(old.in_features, 1, bias=old.bias is not None)
    gap.weight.data = (
        old.weight.data[better : better + 1] - old.weight.data[1 - better : 2 - better]
    )
    if old.bias is not None:
        gap.bias.data = old.bias.data[better : better + 1] - old.bias.data[1 - better : 2 - better]
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, gap)
    model.config.num_labels = 1
    settings: Any = model
    settings.num_labels = 1


def _projection(model: PreTrainedModel, source: str) -> tuple[str, nn.Linear]:
    """Return the layer of a classifier that gives its two logits, and its name."""
    body = set(map(id, model.base_model.modules()))
    layers = list(_linear_layers(model, body))
    if len(layers) != 1:
        raise UserError(
            f"{source}: a {type(model).__name__} of two labels, of which the last layer cannot be told; "
            "save it with one label"
        )
    return layers[0]


def _linear_layers(model: PreTrainedModel, body: set[int]) -> Iterator[tuple[str, nn.Linear]]:
    for name, module in model.named_modules():
        is_head = isinstance(module, nn.Linear) and module.out_features == 2
        if is_head and id(module) not in body:
            yield name, module
