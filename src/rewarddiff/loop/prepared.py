"""What is trained, as the processes and the precision of a training want it: a module and its optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate import Accelerator
from torch import nn
from transformers import PreTrainedModel

from rewarddiff.errors import UserError
from rewarddiff.forward import switch_dropout_off
from rewarddiff.loop import sharding
from rewarddiff.loop.job import Job
from rewarddiff.loop.objective import LossOutput
from rewarddiff.loop.optimizers import hold, optimizer_for


class Prepared:
    """An objective's module and its optimizer, from before the first step until after the last.

    Attributes:
        module: wrapped, as gradients are to be made with it.
        whole: the objective's module as it was handed in.
        divided: whether weights are divided over the processes; a copy of `whole` is trained then.
    """

    def __init__(self, job: Job, accelerator: Accelerator) -> None:
        objective, config = job.objective, job.config
        self.objective, self.accelerator = objective, accelerator
        self.whole = objective.module
        self.divided = sharding.is_wanted(config)
        if self.divided:
            self._set_module(sharding.divided(self.whole))
        groups = objective.parameter_groups(config)
        hold(groups[0]["params"], config)  # the body's; those of a new head stay as they are
        optimizer = optimizer_for(objective.module, groups, config, job.seed)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        if self.divided:
            self.module: nn.Module = objective.module
            self.optimizer = accelerator.prepare(optimizer)
        else:
            self.module, self.optimizer = accelerator.prepare(objective.module, optimizer)

    def _set_module(self, module: nn.Module) -> None:
        objective: Any = self.objective
        objective.module = module

    @property
    def unwrapped(self) -> nn.Module:
        """The module as it is in this process; a process may call it alone."""
        module: nn.Module = self.accelerator.unwrap_model(self.module)
        return module

    def loss(self, module: nn.Module, items: Sequence[Any]) -> LossOutput:
        """Return the losses of items in the precision of the training."""
        with self.accelerator.autocast():
            return self.objective.loss(module, items)

    def set_rate(self, scale: float) -> float:
        """Multiply every learning rate by a factor; return that of the body."""
        for group, base in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = base * scale
        rate: float = self._rates[0] * scale
        return rate

    def gradients_kept(self) -> AbstractContextManager[Any]:
        """Let gradients of this process wait for its last pass of the step."""
        if self.divided:  # kept, they would be whole
            return nullcontext()
        kept: AbstractContextManager[Any] = self.accelerator.no_sync(self.module)
        return kept

    def give_back(self) -> None:
        """Let the objective have its own module again, with the weights that were trained."""
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)
        if self.objective.module is not self.whole:  # a divided copy
            self._set_module(self.whole)
            sharding.bring_back(self.module, self.whole)
        switch_dropout_off(self.objective.module)


def checkpoint_layers(module: nn.Module) -> None:
    """Let a model keep its layers' inputs alone for the backward pass, and compute the rest again."""
    for child in module.modules():
        if isinstance(child, PreTrainedModel):
            # Before transformers 5.23 it had the older name alone, and vLLM asks for such a version.
            enable = getattr(child, "activation_checkpointing_enable", None)
            (enable or child.gradient_checkpointing_enable)()
            child.enable_input_require_grads()
            return
    raise UserError("gradient_checkpointing: this model has none; set it to false")
