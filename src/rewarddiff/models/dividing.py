"""A language model that is divided before its weights are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewarddiff.errors import UserError
from rewarddiff.models.reading import quiet

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig

Divide = Callable[["nn.Module"], None]
"""Divides a module in place; its weights are still on no device."""


def divided_lm(config: PreTrainedConfig, divide: Divide) -> Any:
    """Return the class of the language models with this configuration, each of them divided when it is made.

    transformers makes a model without weights, and then reads of every weight what the model holds: of a
    divided one the rows of this process. So no process ever holds more of it.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"), quiet():
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    known: Any = type(model)

    class Divided(known):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            # Weights that are one have to be divided as one; transformers makes them one after reading.
            self.divided_as_one = dict(self.all_tied_weights_keys)
            _tie(self, self.divided_as_one)
            divide(self)
            _call_as(type(self), known)  # dividing has given it another class

    _call_as(Divided, known)
    return Divided


def _tie(model: Any, names: Mapping[str, str]) -> None:
    """Let the weight of each first name be that of the second."""
    for name, other in names.items():
        module, _, own = name.rpartition(".")
        setattr(model.get_submodule(module), own, model.get_parameter(other))


def require_tied(model: Any, folder: Path) -> None:
    """Refuse a model whose files have two weights where its configuration says that they are one."""
    for name, other in model.divided_as_one.items():
        if model.get_parameter(name) is not model.get_parameter(other):
            raise UserError(
                f"{folder}: config.json says that {name} is {other}, and its files have two; set "
                "tie_word_embeddings to false there"
            )


def _call_as(kind: type, known: type) -> None:
    """Give a class the name of another one: by it transformers knows how weights are called in files."""
    kind.__name__ = known.__name__
    kind.__qualname__ = known.__qualname__
    kind.__module__ = known.__module__
